"""The gold dry-run before step one: does the recipe's reward prefer a right completion to broken ones?

A reward that is constant, or that pays for losing the answer, costs a night of training before anyone sees it. So one
completion that deserves the best reward, and four that do not, are scored under the recipe's weights first: as text by
the law (`gold_findings`), or, before training, as the token ids that the trainer will hand over (`reward_findings`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

from mbt_lite.recipe.schema import RewardWeights
from mbt_lite.records import Question
from mbt_lite.rewards.law import RewardLimits, Terms, score, total
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.text.completion import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from mbt_lite.text.normalize import words

Weights = RewardWeights | Mapping[str, float]

# So many questions are scored in one go; each is five completions.
_QUESTIONS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, slots=True)
class _Sample:
    name: str
    text: str
    stopped: bool
    completion_tokens: int


def gold_findings(
    question: Question,
    weights: Weights,
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
    thinking = _short_trace(question.answer) if trace is None else trace
    samples = _samples(question, thinking, prefilled_think, limits, count_tokens)
    scored = [_score(sample, question, limits, prefilled_think) for sample in samples]
    return _judge(question, samples, scored, weights, limits)


def reward_findings(
    questions: Sequence[Question], weights: Weights, scorer: Scorer, encode: Callable[[str], Sequence[int]]
) -> list[str]:
    """Do the same for the completions as token ids, through the scorer that training will use.

    `encode` gives a text's tokens, special ones neither added nor left out. The thinking is a sentence: what does not
    fit into the limit so never will. A tokenizer that loses the tags, because
    they are special tokens in it, is found first: every reward would be that of an empty answer.
    """
    tags = THINK_OPEN + THINK_CLOSE + ANSWER_OPEN + ANSWER_CLOSE
    if (back := scorer.decode(encode(tags))) != tags:
        return [f"the tokenizer does not give {tags} back (got {back!r}); take one in which they are no special tokens"]
    findings: list[str] = []
    for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
        findings.extend(_batch_findings(questions[start : start + _QUESTIONS_AT_ONCE], weights, scorer, encode))
    return findings


def _batch_findings(
    questions: Sequence[Question], weights: Weights, scorer: Scorer, encode: Callable[[str], Sequence[int]]
) -> list[str]:
    stop_id = min(scorer.stop_ids)
    limits, prefilled_think = scorer.limits, scorer.prefilled_think
    samples_of = [
        _samples(question, f"It is {question.answer}.", prefilled_think, limits, lambda text: len(encode(text)) + 1)
        for question in questions
    ]
    ids = [[*encode(sample.text), *[stop_id] * sample.stopped] for samples in samples_of for sample in samples]
    golds = [question.golds for question, samples in zip(questions, samples_of, strict=True) for _ in samples]
    terms = iter(scorer.score(ids, golds).terms)
    return [
        finding
        for question, samples in zip(questions, samples_of, strict=True)
        for finding in _judge(question, samples, [next(terms) for _ in samples], weights, limits)
    ]


def _judge(
    question: Question, samples: Sequence[_Sample], terms: Sequence[Terms], weights: Weights, limits: RewardLimits
) -> list[str]:
    """Say what is wrong with the terms of the samples, the gold one first."""
    where = f"reward of question {question.question_id}"
    gold, scored = samples[0], terms[0]
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
    for sample, other in zip(samples[1:], terms[1:], strict=True):
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


def _preference(name: str, broken: Terms, gold: Terms, weights: Weights) -> str:
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
