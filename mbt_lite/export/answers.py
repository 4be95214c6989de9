"""Hold answers against answers: questions of eval, asked greedily of the trained student and of what was exported.

Logits that agree at nearly every position can still answer otherwise: one other token early in a trace is another
trace. So the exported files are read back and answer, and what they lose is told on the card.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mbt_lite import prompts
from mbt_lite.errors import ModelError
from mbt_lite.export import llama_cpp
from mbt_lite.files import read_jsonl
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import generate
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.recipe import schema
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion, FinishReason, Message, Prediction, Question, from_row
from mbt_lite.run_dir import RunDir
from mbt_lite.stages.exam import set_exam
from mbt_lite.student.chat_template import prefills_think, prompt_ids
from mbt_lite.student.loading import load_student

# More is another model: points of exact match and of answered, percent of the tokens. A greedy answer that meets a near
# tie goes elsewhere, so this many questions more or less are chance.
POINTS, PERCENT, CHANCE = 3.0, 5.0, 2


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What both are asked: N questions, the student's prompts for them and the longest completion."""

    questions: tuple[Question, ...]
    max_completion_tokens: int
    batch_size: int

    @property
    def messages(self) -> list[list[Message]]:
        """The prompts, in the order of the questions."""
        return [prompts.student_messages(question) for question in self.questions]

    def scored(self, completions: Sequence[Completion], *, prefills_think: bool) -> Answered:
        """Score one completion of each question."""
        by_id = {completion.question_id: completion for completion in completions}
        return Answered(
            tuple(
                score_completion(question, by_id[question.question_id], "export", prefilled_think=prefills_think)
                for question in self.questions
            )
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Answered:
    """How the questions were answered, in their order."""

    predictions: tuple[Prediction, ...]

    def mean(self, measure: str) -> float:
        """Give the mean of a number that each prediction has."""
        return float(sum(getattr(one, measure) for one in self.predictions)) / len(self.predictions)

    def __str__(self) -> str:
        rates = f"EM {100 * self.mean('exact_match'):.1f} %, answered {100 * self.mean('answered'):.1f} %"
        return f"{rates}, {self.mean('completion_tokens'):.0f} tokens"


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """The same questions answered by the trained student and by the export."""

    student: Answered
    export: Answered

    @property
    def n(self) -> int:
        """How many questions."""
        return len(self.student.predictions)

    @property
    def equal(self) -> float:
        """The share of equal answers in percent."""
        pairs = zip(self.student.predictions, self.export.predictions, strict=True)
        return 100 * sum(one.answer == other.answer for one, other in pairs) / self.n

    @property
    def holds(self) -> bool:
        """Whether the export is the model that was trained."""
        points = max(POINTS, 100 * CHANCE / self.n + 1e-9)
        apart = max(100 * abs(self._sum(measure, 0)) / self.n for measure in ("exact_match", "answered"))
        longer = 100 * abs(self._sum("completion_tokens", CHANCE)) / (self.n * self.student.mean("completion_tokens"))
        return apart <= points and longer <= PERCENT

    def _sum(self, measure: str, left_out: int) -> int:
        """Sum the differences without those of the questions that differ most."""
        pairs = zip(self.student.predictions, self.export.predictions, strict=True)
        differences = sorted((getattr(other, measure) - getattr(one, measure) for one, other in pairs), key=abs)
        return sum(differences[: max(self.n - left_out, 0)])

    def __str__(self) -> str:
        return (
            f"{self.n} questions of eval, answered greedily: the trained student {self.student}; "
            f"what was exported, read back, {self.export}; {self.equal:.1f} % of the answers are equal"
        )


def read_trial(recipe: Recipe, run_dir: RunDir, count: int) -> Trial:
    """Give the first questions of eval as it asks them: those it has asked in this run, else those it would ask."""
    path = run_dir.stage_dir("eval") / "questions.jsonl"
    rows = read_jsonl(path)[:count]
    if rows:
        questions = tuple(from_row(Question, row, f"{path}:{number}") for number, row in enumerate(rows, 1))
    else:
        questions = set_exam(recipe).questions[:count]
    return Trial(questions, recipe.eval.max_completion_tokens, recipe.eval.batch_size)


def answers_of_student(model: schema.Model, adapter: Path | None, trial: Trial) -> Answered:
    """Ask a student in this process; unsloth would answer with kernels of its own, so it is transformers."""
    student = load_student(model.model_copy(update={"backend": "transformers"}), adapter)
    rollouts = generate(
        student,
        trial.messages,
        Decoding(max_completion_tokens=trial.max_completion_tokens, batch_size=trial.batch_size),
    )
    asked = trial.questions
    completions = [_completion(asked[r.prompt_index], r.text, r.finish_reason, len(r.token_ids)) for r in rollouts]
    answered = trial.scored(completions, prefills_think=student.prefills_think)
    del student
    # a model is full of cycles; the next one needs its memory
    gc.collect()
    return answered


def answers_of_gguf(gguf: Path, tokenizer: Any, trial: Trial) -> Answered:
    """Ask llama.cpp's server; ModelError if it reads a question as other tokens than the student was trained on."""
    asked = [prompt_ids(tokenizer, messages) for messages in trial.messages]
    longest = max(map(len, asked)) + trial.max_completion_tokens
    with llama_cpp.serving(gguf, longest + 1, gguf.with_suffix(".log")) as server:
        for question, messages, wanted in zip(trial.questions, trial.messages, asked, strict=True):
            if (found := server.read_prompt(messages)) != wanted:
                raise ModelError(
                    f"{gguf}: llama.cpp reads question {question.question_id} as other tokens than it was trained on "
                    f"(got {len(found)}, not {len(wanted)}); use another version of llama.cpp, or --format merged"
                )
        written = server.complete(asked, trial.max_completion_tokens)
    gguf.with_suffix(".log").unlink()
    completions = [
        _completion(question, tokenizer.decode(ids, skip_special_tokens=True), "stop" if ended else "length", len(ids))
        for question, (ids, ended) in zip(trial.questions, written, strict=True)
    ]
    return trial.scored(completions, prefills_think=prefills_think(tokenizer))


def _completion(question: Question, text: str, ended: FinishReason, tokens: int) -> Completion:
    return Completion(question.question_id, 0, text, ended, prompt_tokens=0, completion_tokens=tokens)
