"""The nouns of the kit, frozen: what passes between the readers, the stages and the files of a run folder.

Every record is one JSON object on one line of a `.jsonl` file; `to_row` and `from_row` are the only road between them.
A line is held to the types below: true is no number, 1.0 no count, half a surrogate pair no text. Records are joined by
id, never by position.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NoReturn, TypedDict, TypeVar

from mbt_lite.errors import DataError

FinishReason = Literal["stop", "length"]
# Which checks a training row passes, and what of it trains; `training.rows` says what each means.
RowRule = Literal["closed", "open", "line"]
AnswerRule = Literal["text", "number"]
# What the student is asked to write beside its thoughts and its answer.
AskFor = Literal["answer", "steps", "confidence"]
# how GSM8K's solutions mark their result; before a gold it says that the answer is compared as a number
NUMBER_MARK = "####"
# marks a field that is written only where it is not its default: files of before stay what they are
_UNSAID = "unsaid"


class Message(TypedDict):
    """One chat message in the OpenAI schema."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One retrieved paragraph; `is_supporting` is True iff the gold reasoning needs it, None where nobody says."""

    title: str
    text: str
    is_supporting: bool | None


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """One multi-hop question with its documents and golds.

    `hops` is the number of reasoning steps, `question_type` the dataset's own word (bridge, comparison, ...), `level`
    its own difficulty word; each is None where the dataset does not say. `source` names the layout it was read from.
    `bridges` are its gold intermediate results, in order and without the answer, () where the dataset has none: they
    are never guessed. With `bridges_are_titles` they are the titles of supporting documents, which stand in for them.
    `answer_rule` says how an answer is compared: as normalised text, or by the last number in it. `ask_for` says what
    the student is asked to write besides: a plan and its steps line by line, or how sure it is.
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
    bridges: tuple[str, ...] = ()
    bridges_are_titles: bool = False
    answer_rule: AnswerRule = dataclasses.field(default="text", metadata={_UNSAID: True})
    ask_for: AskFor = dataclasses.field(default="answer", metadata={_UNSAID: True})

    @property
    def golds(self) -> tuple[str, ...]:
        """Whatever counts as right, as it is compared: a number is marked as one."""
        return self.accepted if self.answer_rule == "text" else tuple(f"{NUMBER_MARK} {one}" for one in self.accepted)

    @property
    def accepted(self) -> tuple[str, ...]:
        """The answer and its aliases, as people read them."""
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
class CallCompletion(Completion):
    """One completion of one call of a strategy that makes several: sample `sample` of call `call` in round `round`."""

    round: int
    call: int
    sample: int


@dataclasses.dataclass(frozen=True, slots=True)
class AnswerProbability:
    """How probable, 0..1, a student found the answer that one of its completions gives; None without an answer."""

    question_id: str
    rollout_index: int
    answer_probability: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class StepConfidences:
    """How sure, 0..1, a student was of each step of a completion that could be a bridge, and whether it is one."""

    question_id: str
    rollout_index: int
    confidences: tuple[float, ...]
    right: tuple[bool, ...]


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
    is the hash of the prompt texts used. `prompt` and `completion` of closed rows train in plain TRL as they are.
    `phases` are spans of `text` in their order; there are none where no phases were asked for. `row_rule` says how the
    row is checked and what of it trains.
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
    row_rule: RowRule = "closed"


@dataclasses.dataclass(frozen=True, slots=True)
class Prediction:
    """One scored completion of one variant: the numbers behind every figure of the report.

    Scores are per completion: `exact_match`, `substring_match`, `answered`, `stopped`, `degenerate`, `answer_hit` are
    0 or 1, `f1` is 0..1, `completion_tokens` counts by the student's tokenizer. Of the trace, None where there is none:
    its normalised words, those up to and including the first mention of a gold (None without one), the share of its
    word 4-grams that occurred earlier in it. `phases` are spans of `text` in their order, read by a classifier; None
    where there was nothing to read them with. `bridge_hit` is the share, 0..1, of the question's bridges that the trace
    mentions; None for a question without.
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
    bridge_hit: float | None = None


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
    row = dataclasses.asdict(record)
    for field in dataclasses.fields(record):
        if field.metadata.get(_UNSAID) and row[field.name] == field.default:
            del row[field.name]
    return row


def from_row(record_type: type[R], row: Mapping[str, Any], where: str) -> R:
    """Rebuild a record from its line; `where` (file:line) names it in the error.

    Raises DataError for a missing or an unknown field, and for a value that is not of its field's type.
    """
    try:
        record: R = _reader_of(record_type)(row)  # type: ignore[arg-type]
    except _OtherFieldsError as error:
        wrong = str(error)
    except _OtherTypeError as error:
        wrong = f"not a {record_type.__name__}: {error.place.lstrip('.')} {error}"
    else:
        return record
    raise DataError(
        f"{where}: {wrong}; "
        "the file was written by another version or edited: make it anew with the stage that writes it"
    )


def read_phase_spans(value: Any, where: str) -> tuple[PhaseSpan, ...]:
    """Rebuild the spans of a text's phases; DataError for anything else, such as the names of an older version."""
    if not isinstance(value, list | tuple) or not all(isinstance(span, Mapping) for span in value):
        raise DataError(
            f"{where}: phases are no spans of the text (got {value!r:.60}); an older version wrote them: "
            "make the file anew with the stage that writes it"
        )
    return tuple(from_row(PhaseSpan, span, where) for span in value)


_Reader = Callable[[Any], Any]


class _OtherFieldsError(Exception):
    """An object that has not the fields of its record."""


class _OtherTypeError(Exception):
    """A value that is not of its field's type; `place` is the path to it, from the record down."""

    place = ""


@functools.cache
def _reader_of(kind: Any) -> _Reader:
    """Give the function that reads a JSON value as one of a type; it raises one of the two errors for any other."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _PLAIN:
        return _PLAIN[kind]
    if origin is Literal:
        return functools.partial(_read_choice, arguments)
    if origin is tuple:
        assert arguments[1:] == (...,), kind
        return functools.partial(_read_items, _reader_of(arguments[0]))
    if origin is types.UnionType:
        [held] = [argument for argument in arguments if argument is not types.NoneType]
        return functools.partial(_read_optional, _reader_of(held))
    if origin is Mapping:
        return _read_mapping
    readers = {name: _reader_of(hint) for name, hint in typing.get_type_hints(kind).items()}
    return functools.partial(_read_record, kind, readers, _required(kind))


def _required(kind: Any) -> frozenset[str]:
    """Name the fields that a record or a typed dictionary cannot do without."""
    if typing.is_typeddict(kind):
        return frozenset(kind.__required_keys__)
    return frozenset(field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING)


def _read_record(kind: Any, readers: Mapping[str, _Reader], required: frozenset[str], row: Any) -> Any:
    if not isinstance(row, Mapping):
        _refuse("is not an object", row)
    if not required <= row.keys() <= readers.keys():
        missing, unknown = sorted(required - row.keys()), sorted(row.keys() - readers.keys())
        raise _OtherFieldsError(f"not a {kind.__name__} (missing {missing}, unknown {unknown})")
    values, name = {}, ""
    try:
        for name, value in row.items():
            values[name] = readers[name](value)
    except _OtherTypeError as error:
        error.place = f".{name}{error.place}"
        raise
    return kind(**values)


def _read_items(read: _Reader, value: Any) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        _refuse("is not a list", value)
    items: list[Any] = []
    try:
        for item in value:
            items.append(read(item))
    except _OtherTypeError as error:
        error.place = f"[{len(items)}]{error.place}"
        raise
    return tuple(items)


def _read_optional(read: _Reader, value: Any) -> Any:
    return None if value is None else read(value)


def _read_choice(choices: Sequence[str], value: Any) -> str:
    if type(value) is not str or value not in choices:
        _refuse(f"is none of {', '.join(choices)}" if len(choices) > 1 else f"is not {choices[0]}", value)
    return value


def _read_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else _refuse("is not an object", value)


def _read_text(value: Any) -> str:
    if type(value) is not str:
        _refuse("is not text", value)
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            _refuse("holds half a character", value)
    return value


def _read_count(value: Any) -> int:
    return value if type(value) is int else _refuse("is not a whole number", value)


def _read_number(value: Any) -> float:
    if type(value) not in (int, float) or not math.isfinite(value):
        _refuse("is not a number", value)
    return float(value)


def _read_truth(value: Any) -> bool:
    return value if type(value) is bool else _refuse("is neither true nor false", value)


def _refuse(wrong: str, value: Any) -> NoReturn:
    raise _OtherTypeError(f"{wrong} (got {value!r:.60})")


_PLAIN: dict[Any, _Reader] = {
    str: _read_text, int: _read_count, float: _read_number, bool: _read_truth,
}  # fmt: skip
