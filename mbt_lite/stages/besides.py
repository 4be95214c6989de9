"""What eval asks and reads beside the answers: forecasts, questions without evidence, how sure a student is."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite import prompts
from mbt_lite.files import write_jsonl
from mbt_lite.generation.local_rounds import read_beside, read_journal
from mbt_lite.metrics import scorecard
from mbt_lite.metrics.confidences import (
    Readings,
    calibrated_steps,
    calibrations,
    stated_confidences,
    stated_elsewhere,
    without_evidence,
)
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.recipe.schema import Eval, Variant
from mbt_lite.records import AnswerProbability, Message, Prediction, Question, StepConfidences, to_row
from mbt_lite.stages.exam import Exam
from mbt_lite.strategies import single
from mbt_lite.strategies.rounds import Answers, Place, Played, play
from mbt_lite.strategies.strategy import Settings

# Readings of `eval.confidence` that only the rollout of a completion tells, by how their files end.
TOLD_BY_ROLLOUTS = {"answer_probability": "probabilities", "steps": "steps"}


def settings_of(eval_: Eval, variant: Variant) -> Settings:
    """Say how a variant is asked."""

    def messages(question: Question) -> tuple[Message, ...]:
        return tuple(prompts.student_messages(question, metacognitive=variant.is_metacognitive))

    return Settings(messages, eval_.temperature, eval_.max_completion_tokens)


@dataclasses.dataclass(frozen=True)
class Further:
    """What a variant is asked once a question besides: the stem of its file, what replies count as, how it is asked."""

    name: str
    kind: str
    what: str
    questions: Sequence[Question]
    settings: Settings

    def ask(self, answers: Answers, folder: Path) -> Played:
        """Ask, and write what was answered."""
        played = play(single.STRATEGY, self.questions, self.settings, 1, answers)
        write_jsonl(self.file(folder), (to_row(one) for _, one in sorted(played.completions.items())))
        return played

    def file(self, folder: Path) -> Path:
        """Name its file in the folder of a variant."""
        return folder / f"{self.name}.jsonl"


def asked_besides(eval_: Eval, variant: Variant, exam: Exam) -> Iterator[Further]:
    """Give what a variant is asked besides: a greedy forecast, the question without what supports its answer."""

    def messages(question: Question) -> tuple[Message, ...]:
        return tuple(prompts.meta_messages(question, metacognitive=variant.is_metacognitive))

    if eval_.foresight:
        settings = Settings(messages, 0.0, eval_.max_completion_tokens)
        yield Further("forecasts", "forecast", "forecasts", exam.questions, settings)
    if eval_.without_evidence:
        what, questions = "completions without evidence", exam.without_evidence
        yield Further("without_evidence", "without_evidence", what, questions, settings_of(eval_, variant))


def completions_file(folder: Path, name: str) -> Path:
    """Name the journal of a variant's answers."""
    return folder / name / "completions.jsonl"


def beside_file(journal: Path, reading: str) -> Path:
    """Name the journal of a reading that rollouts tell, beside one of completions."""
    stem = "answer" if journal.stem == "completions" else journal.stem
    return journal.with_name(f"{stem}_{TOLD_BY_ROLLOUTS[reading]}.jsonl")


def sureness(
    eval_: Eval, exam: Exam, folder: Path, predictions: Mapping[str, Sequence[Prediction]]
) -> dict[str, dict[str, Any]] | None:
    """Give, by variant, how sure it is and what it says without evidence; None if neither is asked for."""
    if not eval_.confidence and not eval_.without_evidence:
        return None
    drawing: dict[str, Any] = {"samples": scorecard.BOOTSTRAP_SAMPLES, "seed": eval_.seed}
    found: dict[str, dict[str, Any]] = {}
    for variant, rows in predictions.items():
        journal, card = completions_file(folder, variant), found.setdefault(variant, {})
        readings = _readings(eval_, exam, rows, journal)
        if eval_.confidence:
            card["calibration"] = calibrations(rows, readings, **drawing)
        if "stated" in eval_.confidence:
            card["calibration"]["stated"]["elsewhere"] = stated_elsewhere(rows, readings["stated"])
        if "steps" in eval_.confidence:
            steps = read_beside(beside_file(journal, "steps"), StepConfidences)
            card["calibration"]["steps"] = calibrated_steps(rows, steps, **drawing)
        if eval_.without_evidence:
            file = folder / variant / "without_evidence.jsonl"
            without = _predictions_without(exam, file, variant)
            others = _readings(eval_, exam, without, file)
            both = {name: (readings[name], others[name]) for name in readings}
            card["without_evidence"] = without_evidence(exam.questions, rows, without, both, **drawing)
    return found


def _predictions_without(exam: Exam, file: Path, variant: str) -> list[Prediction]:
    completions, prefilled = read_journal(file, is_one_call=True), exam.counts.prefills_think
    return [
        score_completion(one, completions[Place(one.question_id, 0)], variant, prefilled_think=prefilled)
        for one in exam.without_evidence
    ]


def _readings(eval_: Eval, exam: Exam, rows: Sequence[Prediction], journal: Path) -> dict[str, Readings]:
    """Read how sure completions are of their answers in the ways that the recipe names."""

    def probabilities() -> Readings:
        told = read_beside(beside_file(journal, "answer_probability"), AnswerProbability)
        # those of several calls have none
        keys = dict.fromkeys((row.question_id, row.rollout_index) for row in rows)
        return keys | {key: one.answer_probability for key, one in told.items()}

    read: dict[str, Callable[[], Readings]] = {
        "stated": lambda: stated_confidences(rows, prefilled_think=exam.counts.prefills_think),
        "answer_probability": probabilities,
    }
    return {name: read[name]() for name in eval_.confidence if name in read}
