"""The nouns of the kit, frozen: what passes between the readers, the stages and the files of a run folder.

Every record is one JSON object on one line of a `.jsonl` file; `to_row` and `from_row` are the only road between them.
Records are joined by id, never by position.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, TypedDict, TypeVar

from mbt_lite.errors import DataError

FinishReason = Literal["stop", "length"]


class Message(TypedDict):
    """One chat message in the OpenAI schema."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One retrieved paragraph; `is_supporting` is True iff the gold reasoning needs it."""

    title: str
    text: str
    is_supporting: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One multi-hop question with its documents and golds.

    `hops` is the number of reasoning steps, `question_type` the dataset's own word (bridge, comparison, ...), `level`
    its own difficulty word; each is None where the dataset does not say. `source` names the layout it was read from.
    """

    question_id: str
    question: str
    answer: str
    aliases: tuple[str, ...]
    documents: tuple[Document, ...]
    source: str
    hops: int | None = None
    question_type: str | None = None
    level: str | None = None

    @property
    def golds(self) -> tuple[str, ...]:
        """The answer and its aliases: whatever counts as right."""
        return (self.answer, *self.aliases)


@dataclasses.dataclass(frozen=True, slots=True)
class Completion:
    """One completion of a question by a model: what it wrote and how it ended.

    `text` is the generated text without special tokens; `finish_reason` is "stop" iff the model ended its turn by
    itself.
    """

    question_id: str
    rollout_index: int
    text: str
    finish_reason: FinishReason
    prompt_tokens: int
    completion_tokens: int


@dataclasses.dataclass(frozen=True, slots=True)
class Solution:
    """The teacher's plain-text guide to one question (facts, steps, pitfalls)."""

    question_id: str
    text: str
    teacher: str
    scripted: bool


@dataclasses.dataclass(frozen=True, slots=True)
class PhaseSpan:
    """One phase of a text: the characters from `start` up to but not including `end`; names in `text.phases`."""

    phase: str
    start: int
    end: int


@dataclasses.dataclass(frozen=True, slots=True)
class Trace:
    """One training row: a trace of the teacher as prompt and completion messages, with where it came from.

    `kind` is the builder (mbt_r, mbt_s, ...), `rollout_index` the student draft it rewrites (None without a draft),
    `trace_index` counts traces of one draft. `scripted` is True iff the rule-based teacher wrote it. `prompt_version`
    is the hash of the prompt texts used. `prompt` and `completion` train in plain TRL as they are. `phases` are spans
    of `text` in their order; there are none where no phases were asked for.
    """

    trace_id: str
    question_id: str
    kind: str
    rollout_index: int | None
    trace_index: int
    teacher: str
    scripted: bool
    prompt_version: str
    text: str
    answer: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    phases: tuple[PhaseSpan, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """One scored completion of one variant: the numbers behind every figure of the report.

    Scores are per completion: `exact_match`, `substring_match`, `answered`, `stopped`, `degenerate`, `answer_hit` are
    0 or 1, `f1` is 0..1, `completion_tokens` counts by the student's tokenizer. Of the trace, None where there is none:
    its normalised words, those up to and including the first mention of a gold (None without one), the share of its
    word 4-grams that occurred earlier in it. `phases` are spans of `text` in their order, read by a classifier; None
    where there was nothing to read them with.
    """

    question_id: str
    variant: str
    rollout_index: int
    text: str
    finish_reason: FinishReason
    completion_tokens: int
    answer: str | None
    golds: tuple[str, ...]
    exact_match: int
    f1: float
    substring_match: int
    answered: int
    stopped: int
    degenerate: int
    answer_hit: int
    trace_words: int | None = None
    words_to_mention: int | None = None
    repeated_4grams: float | None = None
    phases: tuple[PhaseSpan, ...] | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Measurement:
    """One benchmark on one machine.

    `benchmark` is the command's name (gen, sft, ...), `result` the sentence for people, `figures` the numbers behind it
    with units in their names, `settings` what they depend on. `date` is YYYY-MM-DD in UTC.
    """

    date: str
    command: str
    benchmark: str
    result: str
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    settings: Mapping[str, Any]
    figures: Mapping[str, Any]


R = TypeVar("R")


def to_row(record: Any) -> dict[str, Any]:
    """Turn a record into the JSON object that stands on its line."""
    return dataclasses.asdict(record)


def from_row(record_type: type[R], row: Mapping[str, Any], where: str) -> R:
    """Rebuild a record from its line; `where` (file:line) names it in the error.

    Raises DataError for a missing or an unknown field. Nested records are rebuilt, lists become tuples.
    """
    fields = {field.name: field for field in dataclasses.fields(record_type)}  # type: ignore[arg-type]
    unknown = sorted(set(row) - set(fields))
    missing = sorted(name for name, field in fields.items() if name not in row and field.default is dataclasses.MISSING)
    if unknown or missing:
        raise DataError(
            f"{where}: not a {record_type.__name__} (missing {missing}, unknown {unknown}); "
            "the file was written by another version or edited: make it anew with the stage that writes it"
        )
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in row.items()}
    if record_type is Question:
        values["documents"] = tuple(from_row(Document, document, where) for document in row["documents"])
    if record_type in (Trace, Prediction) and row.get("phases") is not None:
        values["phases"] = read_phase_spans(row["phases"], where)
    return record_type(**values)


def read_phase_spans(value: Any, where: str) -> tuple[PhaseSpan, ...]:
    """Rebuild the spans of a text's phases; DataError for anything else, such as the names of an older version."""
    if not isinstance(value, list | tuple) or not all(isinstance(span, Mapping) for span in value):
        raise DataError(
            f"{where}: phases are no spans of the text (got {value!r:.60}); an older version wrote them: "
            "make the file anew with the stage that writes it"
        )
    return tuple(from_row(PhaseSpan, span, where) for span in value)
