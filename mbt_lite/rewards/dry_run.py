"""The gold dry-run before step one: does the recipe's reward prefer a right completion to broken ones?

A reward that is constant, or that pays for losing the answer, costs a night of training before anyone sees it. So one
completion that deserves the best reward, and four that do not, are scored by the law under the recipe's weights first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.records import Question
from mbt_lite.rewards.law import RewardLimits, Terms, score, total
from mbt_lite.text.normalize import words


@dataclasses.dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    text: str
    stopped: bool
    completion_tokens: int


def gold_findings(
    question: Question,
    weights: RewardWeights | Mapping[str, float],
    limits: RewardLimits,
    *,
    trace: str | None = None,
    prefilled_think: bool = False,
    count_tokens: Callable[[str], int] = lambda text: len(text.split()),
) -> list[str]:
    """Score a gold completion against broken ones; give each thing that is wrong with the reward, [] if nothing is.

    The broken ones: a wrong answer, no answer, an unclosed think block, a completion cut off at the limit. Each has to
    score less than the gold one. `trace` is the gold completion's thinking, by default a few short sentences that reach
    the gold. `count_tokens` measures a text, by default in white-space words: fewer than tokens, so a lower bound.
    """
    where = f"reward of question {question.question_id}"
    thinking = _short_trace(question.answer) if trace is None else trace
    gold, *broken = _samples(question, thinking, prefilled_think, limits, count_tokens)
    scored = _score(gold, question, limits, prefilled_think)
    findings = [
        f"{where}: the gold answer scores below 1 on `{name}` (got {getattr(scored, name):g} for {question.answer!r}); "
        "mend the question or leave it out"
        for name in ("answer", "exact")
        if getattr(scored, name) != 1.0
    ]
    if gold.completion_tokens > limits.max_completion_tokens:
        findings.append(
            f"{where}: the gold completion does not fit (got {gold.completion_tokens} tokens, "
            f"max_completion_tokens {limits.max_completion_tokens}); raise max_completion_tokens"
        )
    for sample in broken:
        other = _score(sample, question, limits, prefilled_think)
        if total(other, weights) >= total(scored, weights):
            findings.append(f"{where}: {_preference(sample.name, other, scored, weights)}")
    return findings


def _short_trace(answer: str) -> str:
    """Write five sentences of thinking, a phase each, that reach the answer."""
    return (
        "The question asks for one thing, and we set aside what does not lead to it.\n\n"
        "First we need the link between the facts.\n\n"
        f"According to document 1 and the next one, this follows: {answer}.\n\n"
        "Wait, could it be another one? No, the evidence names just this.\n\n"
        "Let us check: every condition is met."
    )


def _samples(
    question: Question, trace: str, prefilled_think: bool, limits: RewardLimits, count_tokens: Callable[[str], int]
) -> tuple[_Sample, ...]:
    """Give the gold sample, then the broken ones."""
    opening = "" if prefilled_think else "<think>\n"
    thinking = f"{opening}{trace}\n</think>\n\n"
    # Longer than every gold word, so it shares no word with any gold.
    wrong = "not" + "".join(words(" ".join(question.golds)))
    stopped = {
        "the gold completion": f"{thinking}<answer>{question.answer}</answer>",
        "a wrong answer": f"{thinking}<answer>{wrong}</answer>",
        "a completion without an answer": thinking,
        "an unclosed think block": f"{opening}{trace}\n\n<answer>{question.answer}</answer>",
    }
    truncated = f"{opening}{trace[: len(trace) // 2]}"
    return (
        *(_Sample(name, text, True, count_tokens(text)) for name, text in stopped.items()),
        _Sample("a truncated completion", truncated, False, limits.max_completion_tokens),
    )


def _score(sample: _Sample, question: Question, limits: RewardLimits, prefilled_think: bool) -> Terms:
    return score(
        sample.text,
        stopped=sample.stopped,
        completion_tokens=sample.completion_tokens,
        golds=question.golds,
        limits=limits,
        prefilled_think=prefilled_think,
    )


def _preference(name: str, broken: Terms, gold: Terms, weights: RewardWeights | Mapping[str, float]) -> str:
    """Say that a broken completion scores no less than the gold one, and which term is to blame."""
    named = weights.model_dump() if isinstance(weights, RewardWeights) else weights
    gains = {term: weight * (getattr(broken, term) - getattr(gold, term)) for term, weight in named.items()}
    blamed = max(gains, key=lambda term: gains[term], default=None)
    if blamed is None or gains[blamed] <= 0:
        cause = "no term tells them apart; give `answer` or `exact` a positive weight"
    else:
        cause = f"the term `{blamed}` prefers it (by {gains[blamed]:g}); lower its weight"
    rewards = f"got {total(broken, weights):g} against {total(gold, weights):g}"
    return f"{name} scores no less than the gold completion ({rewards}); {cause}"
