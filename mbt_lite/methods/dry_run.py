"""The gold dry-run before step one: does the reward prefer a right completion to broken ones?

A reward that is constant, or that pays for losing the answer, costs a night of training before anyone sees it. So of
each question one completion that deserves the best reward, and four that do not, are rewarded first, as the token ids
that the trainer will hand over.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite.methods.asked import trace_for
from mbt_lite.methods.method import Batch, Encode, Rewarded
from mbt_lite.records import Question
from mbt_lite.rewards.law import Terms
from mbt_lite.rewards.scorer import Scorer
from mbt_lite.rewards.terms import RewardLimits
from mbt_lite.text.completion import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN
from mbt_lite.text.normalize import words

# So many questions are scored in one go; each is five completions.
QUESTIONS_AT_ONCE = 64


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    """A completion that is to be rewarded, and what it got: `parts` are the weighed terms and the extras, by name."""

    name: str
    ids: Sequence[int]
    reward: float = 0.0
    parts: Mapping[str, float] = dataclasses.field(default_factory=dict)
    terms: Terms = dataclasses.field(default_factory=dict)


def gold_findings(
    questions: Sequence[Question],
    reward: Callable[[Batch], Rewarded],
    weights: Mapping[str, float],
    scorer: Scorer,
    encode: Encode,
) -> list[str]:
    """Reward gold completions beside broken ones; give each thing that is wrong with the reward, [] if nothing is.

    The broken ones: a wrong answer, no answer, an unclosed think block, a completion cut off. Each has to earn less
    than the gold one. The thinking is a sentence: what does not fit into the limit so never will. A tokenizer that
    loses the tags, because they are special tokens in it, is found first: every reward would be that of an empty
    answer. `weights` are those of the law's terms in the reward, to tell which part is to blame.
    """
    tags = THINK_OPEN + THINK_CLOSE + ANSWER_OPEN + ANSWER_CLOSE
    if (back := scorer.decode(encode(tags))) != tags:
        return [f"the tokenizer does not give {tags} back (got {back!r}); take one in which they are no special tokens"]
    findings: list[str] = []
    for start in range(0, len(questions), QUESTIONS_AT_ONCE):
        asked = questions[start : start + QUESTIONS_AT_ONCE]
        groups = [_samples(question, scorer, encode) for question in asked]
        for question, group in zip(asked, rewarded(asked, groups, reward, weights, scorer), strict=True):
            findings.extend(_judge(question, group, scorer.limits))
    return findings


def _samples(question: Question, scorer: Scorer, encode: Encode) -> list[Sample]:
    """Give the gold sample, then the broken ones."""
    trace = trace_for(question, question.answer, question.bridges, sure=100)
    opening = "" if scorer.prefilled_think else "<think>\n"
    thinking = f"{opening}{trace}\n</think>\n\n"
    wrong = wrong_answer(question)
    stopped = {
        "the gold completion": f"{thinking}<answer>{question.answer}</answer>",
        "a wrong answer": f"{thinking}<answer>{wrong}</answer>",
        "a completion without an answer": thinking,
        "an unclosed think block": f"{opening}{trace}\n\n<answer>{question.answer}</answer>",
    }
    stop_id = min(scorer.stop_ids)
    return [
        *(Sample(name, [*encode(text), stop_id]) for name, text in stopped.items()),
        Sample("a truncated completion", encode(f"{opening}{trace[: len(trace) // 2]}")),
    ]


def wrong_answer(question: Question) -> str:
    """Give a wrong answer: a word longer than every gold word, so it shares no word with any gold, or no number."""
    if question.answer_rule == "number":
        return "not known"
    return "not" + "".join(words(" ".join(question.golds)))


def rewarded(
    questions: Sequence[Question],
    groups: Sequence[Sequence[Sample]],
    reward: Callable[[Batch], Rewarded],
    weights: Mapping[str, float],
    scorer: Scorer,
) -> list[list[Sample]]:
    """Reward the samples of each question as a group; every token counts as certain."""
    size = len(groups[0])
    samples = [sample for group in groups for sample in group]
    ids = [sample.ids for sample in samples]
    owners = [question for question in questions for _ in range(size)]
    golds = [list(question.golds) for question in owners]
    scored = scorer.score(ids, golds)
    columns: dict[str, list[Any]] = {"question_id": [question.question_id for question in owners], "golds": golds}
    certain = [[0.0] * len(row) for row in ids]
    batch = Batch(
        ids, scored.texts, scored.stopped, scored.terms, columns, size, 1, certain,
        prefilled_think=scorer.prefilled_think, questions=owners, decode=scorer.decode,
    )  # fmt: skip
    found = reward(batch)
    rewarded = [
        dataclasses.replace(
            sample,
            reward=found.rewards[row],
            terms=scored.terms[row],
            parts={f"term `{name}`": weight * scored.terms[row][name] for name, weight in weights.items()}
            | {f"extra `{name}`": column[row] or 0.0 for name, column in found.extras.items()},
        )
        for row, sample in enumerate(samples)
    ]
    return [rewarded[start : start + size] for start in range(0, len(rewarded), size)]


def _judge(question: Question, samples: Sequence[Sample], limits: RewardLimits) -> list[str]:
    """Say what is wrong with the rewards of a question's samples, the gold one first."""
    where = f"reward of question {question.question_id}"
    gold, *broken = samples
    findings = [
        f"{where}: the gold answer scores below 1 on `{name}` (got {gold.terms[name]:g} for {question.answer!r}); "
        "mend the question or leave it out"
        for name in ("answer", "exact")
        if gold.terms[name] != 1.0
    ]
    if len(gold.ids) > limits.max_completion_tokens:
        findings.append(
            f"{where}: the gold completion does not fit (got {len(gold.ids)} tokens, "
            f"max_completion_tokens {limits.max_completion_tokens}); raise max_completion_tokens"
        )
    return [*findings, *(f"{where}: {preference(sample, gold)}" for sample in broken if sample.reward >= gold.reward)]


def preference(broken: Sample, gold: Sample) -> str:
    """Say that a broken completion scores no less than the gold one, and which part of the reward is to blame."""
    gains = {part: value - gold.parts[part] for part, value in broken.parts.items()}
    blamed = max(gains, key=lambda part: gains[part], default=None)
    if blamed is None or gains[blamed] <= 0:
        cause = "no term tells them apart; give `answer` or `exact` a positive weight"
    else:
        cause = f"the {blamed} prefers it (by {gains[blamed]:g}); lower its weight"
    rewards = f"got {broken.reward:g} against {gold.reward:g}"
    return f"{broken.name} scores no less than {gold.name} ({rewards}); {cause}"
