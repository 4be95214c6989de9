"""What the steps of completions found, for runs that ask for steps: how many there are, how many are right.

A step is right if it names a gold bridge of its question (`rewards/spans.py` says which steps count).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mbt_lite.metrics.aggregate import Estimate, by_question, estimates, question_means
from mbt_lite.records import Prediction, Question
from mbt_lite.rewards.spans import find_bridges, find_spans, is_right
from mbt_lite.text.completion import parse_completion
from mbt_lite.text.result_lines import read_steps


def count_spans(
    predictions: Sequence[Prediction],
    questions: Mapping[str, Question],
    *,
    prefilled_think: bool,
    samples: int,
    seed: int,
) -> dict[str, Estimate] | None:
    """Give `has_steps` (share of completions with a result line), `spans` a completion, share `right_spans`.

    The last two are of questions with bridges. None where no question asks for steps.
    """
    if not any(one.ask_for == "steps" for one in questions.values()):
        return None

    def has_steps(row: Prediction) -> float:
        trace = parse_completion(row.text, prefilled_think=prefilled_think).trace or ""
        return float(any(not line.is_plan for line in read_steps(trace)))

    def truths(row: Prediction) -> list[bool] | None:
        question = questions[row.question_id]
        bridges = find_bridges(question)
        spans = find_spans(row.text, question, row.answer, prefilled_think=prefilled_think)
        return [is_right(span, bridges) for span in spans] if bridges else None

    def count(row: Prediction) -> float | None:
        return None if (found := truths(row)) is None else len(found)

    def right(row: Prediction) -> float | None:
        return sum(found) / len(found) if (found := truths(row)) else None

    rows = by_question(predictions)
    measures = {"has_steps": has_steps, "spans": count, "right_spans": right}
    columns = {name: question_means(rows, measure) for name, measure in measures.items()}
    reasons = {"spans": "no question has gold bridges", "right_spans": "no completion has a step that could be right"}
    return estimates(columns, samples=samples, seed=seed, counts=["spans"], reasons=reasons)
