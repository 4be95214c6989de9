"""Training rows: token ids and mask of a trace under the student's template, and the checks each row must pass.

What goes wrong silently in this field is checked on every row: the prompt is a token prefix of the whole, the turn
holds one think pair and one answer pair, it ends with one trained end-of-turn token that is last, and nothing is cut.
An open row stops inside its trace: it has an open think block, no answer and no end of turn, so that nothing teaches to
stop there.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, assert_never

from mbt_lite.errors import DataError, ModelError
from mbt_lite.records import Trace
from mbt_lite.rewards.vocabulary import decode_without_specials
from mbt_lite.student.chat_template import check_end_of_turn, prefilled_think, prompt_ids
from mbt_lite.student.control_tokens import control_finder
from mbt_lite.text.completion import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN, trace_span
from mbt_lite.text.confidence import read_confidence
from mbt_lite.text.token_places import token_places

# How the steps that an open row leaves to the model begin.
_FOLLOWING = "Step 1:"


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One tokenised training row; `completion_mask` is 1 where loss is taken. Both have the same length."""

    trace_id: str
    input_ids: tuple[int, ...]
    completion_mask: tuple[int, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """The rows that train, and the ids of those left out because they are longer than the limit."""

    rows: tuple[Row, ...]
    too_long: tuple[str, ...]


def encode_traces(traces: Sequence[Trace], tokenizer: Any, max_sequence_tokens: int) -> Rows:
    """Tokenise and check traces; overlong ones are left out and named, never cut.

    Raises ModelError if a row fails a check (the template does not fit), or if no row is left, DataError for a text
    with control tokens in it.
    """
    check_end_of_turn(tokenizer)
    find, rows, too_long = control_finder(tokenizer), [], []
    for trace in traces:
        _check_controls(trace, find)
        row = encode(trace, tokenizer)
        if len(row.input_ids) > max_sequence_tokens:
            too_long.append(trace.trace_id)
        else:
            rows.append(row)
    if not rows:
        raise ModelError(
            f"sft.max_sequence_tokens: none of {len(traces)} traces fits (got {max_sequence_tokens}); raise it"
        )
    return Rows(tuple(rows), tuple(too_long))


def _check_controls(trace: Trace, find: Callable[[str], list[str]]) -> None:
    """Raise DataError where a text of a trace would become control tokens: only the template writes those."""
    for part, messages in (("prompt", trace.prompt), ("completion", trace.completion)):
        found = [token for message in messages for token in find(message["content"])]
        if found:
            raise DataError(
                f"trace {trace.trace_id}: its {part} holds {', '.join(dict.fromkeys(found))}, which the student's "
                "tokenizer reads as a control token; take it out of the question, and redo `mbt-lite gen`"
            )


def encode(trace: Trace, tokenizer: Any) -> Row:
    """Tokenise one trace: the prompt by the template, then the completion as the model itself has to write it."""
    prompt = prompt_ids(tokenizer, trace.prompt)
    text = trace.completion[-1]["content"]
    # what the template has written already: `<think>`, with or without the line break after it
    pairs = zip(prefilled_think(tokenizer), text, strict=False)
    written = list(itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    text = text[len(written) :]
    is_open = trace.row_rule == "open"
    completion = _open_ids(tokenizer, text) if is_open else [*_ids(tokenizer, text), tokenizer.eos_token_id]
    row = Row(trace.trace_id, (*prompt, *completion), (*([0] * len(prompt)), *([1] * len(completion))))
    match trace.row_rule:
        case "open":
            _check_open(row, tokenizer, trace.prompt, trace.trace_id)
        case "closed":
            _check_closed(row, tokenizer, trace.prompt, trace.trace_id)
        case "line":
            _check_closed(row, tokenizer, trace.prompt, trace.trace_id)
            return _check_line(row, tokenizer, text, bool(written), trace.trace_id)
        case _:
            assert_never(trace.row_rule)
    return row


def _ids(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _open_ids(tokenizer: Any, text: str) -> list[int]:
    """Give the tokens of an open completion, cut as they are where a result line follows: line breaks may merge."""
    whole, following = _ids(tokenizer, text + _FOLLOWING), _ids(tokenizer, _FOLLOWING)
    return whole[: -len(following)] if whole[-len(following) :] == following else _ids(tokenizer, text)


def _check_open(row: Row, tokenizer: Any, prompt: Sequence[Any], where: str) -> None:
    """Check a row whose completion stops inside the trace, where the model shall go on by itself."""
    trained, untrained = _parts(row)
    text = tokenizer.decode(trained)
    turn = prefilled_think(tokenizer) + text
    whole = _ids(tokenizer, text + _FOLLOWING)
    rules = {
        "the prompt is no token prefix of the row": untrained == prompt_ids(tokenizer, prompt),
        "the end of the turn stands inside the trained part": tokenizer.eos_token_id not in trained,
        "the think block is not open": turn.count(THINK_OPEN) == 1 and THINK_CLOSE not in turn,
        "there is an answer": ANSWER_OPEN not in text and ANSWER_CLOSE not in text,
        "the trained tokens do not decode to the completion": text.endswith("\n\n"),
        "its end merges with the step that follows": whole[: len(trained)] == trained,
    }
    _hold(rules, where, text)


def _check_closed(row: Row, tokenizer: Any, prompt: Sequence[Any], where: str) -> None:
    """Check a row whose completion is whole and trains whole; ModelError names the first rule it breaks."""
    trained, untrained = _parts(row)
    text = tokenizer.decode(trained[:-1])
    turn = prefilled_think(tokenizer) + text
    rules = {
        "the prompt is no token prefix of the row": untrained == prompt_ids(tokenizer, prompt),
        "the trained part does not end with the end of the turn": trained[-1] == tokenizer.eos_token_id,
        "the end of the turn stands inside the trained part": tokenizer.eos_token_id not in trained[:-1],
        "there is not exactly one think pair": turn.count(THINK_OPEN) == turn.count(THINK_CLOSE) == 1,
        "there is not exactly one answer pair": text.count(ANSWER_OPEN) == 1 and text.count(ANSWER_CLOSE) == 1,
        "the trained tokens do not decode to the completion": text.endswith(ANSWER_CLOSE),
    }
    _hold(rules, where, text)


def _parts(row: Row) -> tuple[list[int], list[int]]:
    """Give the tokens of a row that train, and those before them."""
    trained = [token for token, mask in zip(row.input_ids, row.completion_mask, strict=True) if mask]
    return trained, list(row.input_ids[: -len(trained)])


def _hold(rules: Mapping[str, bool], where: str, text: str) -> None:
    for rule, holds in rules.items():
        if not holds:
            raise ModelError(f"trace {where}: {rule} (trained text ends {text[-60:]!r}); use another model or template")


def _check_line(row: Row, tokenizer: Any, text: str, prefilled_think: bool, where: str) -> Row:
    """Give the row in which the trace's last line alone trains, from its line break to the tag of the answer.

    Without the tags a student that has learned the line writes it again, in place of the end of the trace or of the
    answer; without the line break it writes it behind a sentence. The last tag's bracket is left out: it may share a
    token with the answer. The break may share one with a full stop, which trains with it. ModelError if the line states
    no confidence, or shares a token with what stands before.
    """
    span = trace_span(text, prefilled_think=prefilled_think)
    assert span is not None, where
    trace, end = text[span[0] : span[1]].rstrip(), text.index(ANSWER_OPEN, span[1]) + len(ANSWER_OPEN) - 1
    line = trace.splitlines()[-1] if trace else ""
    start = span[0] + len(trace) - len(line)
    begin = row.completion_mask.index(1)
    completion, decode = row.input_ids[begin:], functools.partial(decode_without_specials, tokenizer)
    places = token_places(completion, decode, start, end)
    trained = decode([completion[place] for place in places])
    rules = {
        "the trace's last line states no confidence": read_confidence(line) is not None,
        "the tokens of the last line reach into another": trained.strip().removesuffix(">") == text[start:end],
    }
    for rule, holds in rules.items():
        if not holds:
            raise ModelError(
                f"trace {where}: {rule} (got {trained[-60:]!r}); make the rows anew with gen.kind confidence"
            )
    breaks = [place for place in range(places[0])[-1:] if decode([completion[place]]).endswith("\n")]
    mask = [0] * len(row.input_ids)
    for place in (*breaks, *places):
        mask[begin + place] = 1
    return dataclasses.replace(row, completion_mask=tuple(mask))
