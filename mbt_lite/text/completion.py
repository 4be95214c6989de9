"""Reading a completion: the trace inside `<think>`, the final answer inside `<answer>`, and how well both were written.

Rewards, metrics and the quality gate all read completions through this one function. The rules, to the letter:

1. The trace begins after the first `<think>`; where the chat template has already opened it (`prefilled_think`), at the
   first character. It ends at the first `</think>` after that.
2. A trace that is opened and never closed is the whole rest of the text, and there is no answer, whatever stands in it.
3. The answer is what stands between the last `<answer>` after the trace and the first `</answer>` after that, stripped.
   Without a think block the whole text is searched. Missing or unclosed: no answer; an empty pair is the empty answer.

Nothing is repaired: tags are matched byte for byte, and the trace keeps its white space.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Literal

THINK_OPEN, THINK_CLOSE = "<think>", "</think>"
# how other models open a trace
OTHER_THINK_OPEN = re.compile(
    r"<(?:\w+:)?think(?:ing)?>|<reasoning>|<\|begin_of_thought\|>|<\|channel\|>analysis|\[THINK\]|◁think▷",
    re.IGNORECASE,
)
ANSWER_OPEN, ANSWER_CLOSE = "<answer>", "</answer>"

Outcome = Literal["answered", "no_answer_tag", "unclosed_answer", "unclosed_think"]


@dataclasses.dataclass(frozen=True, slots=True)
class ParsedCompletion:
    """What was found in a completion.

    `trace` is None iff no think block was opened. `answer` is None unless `outcome` is "answered"; else it says why.
    `is_well_formed` is True iff the text is exactly one think pair, then exactly one answer pair, with only white space
    around them; tags inside either count too. Whether the model stopped by itself is not the text's to say.
    """

    trace: str | None
    think_closed: bool
    answer: str | None
    outcome: Outcome
    is_well_formed: bool


def parse_completion(text: str, *, prefilled_think: bool = False) -> ParsedCompletion:
    """Read trace and answer from a completion (generated text without special tokens).

    >>> parse_completion("<think>2 + 2</think> <answer> four </answer>").answer
    'four'
    >>> parse_completion("<think>2 + 2 <answer>four</answer>").outcome
    'unclosed_think'
    """
    trace, rest = _split_trace(text, prefilled_think)
    if rest is None:
        return ParsedCompletion(trace, False, None, "unclosed_think", False)
    answer, outcome = _read_answer(rest)
    return ParsedCompletion(
        trace=trace,
        think_closed=trace is not None,
        answer=answer,
        outcome=outcome,
        is_well_formed=_is_well_formed(THINK_OPEN + text if prefilled_think else text),
    )


def trace_span(text: str, *, prefilled_think: bool = False) -> tuple[int, int] | None:
    """Give where the trace begins and ends in a completion; None without one.

    >>> trace_span("<think>2 + 2</think> <answer>four</answer>")
    (7, 12)
    """
    trace, _ = _split_trace(text, prefilled_think)
    if trace is None:
        return None
    start = 0 if prefilled_think else text.index(THINK_OPEN) + len(THINK_OPEN)
    return start, start + len(trace)


def answer_span(text: str, *, prefilled_think: bool = False) -> tuple[int, int] | None:
    """Give where the answer begins and ends in a completion, white space left out; None without one, or an empty one.

    >>> answer_span("<think>2 + 2</think> <answer> four </answer>")
    (30, 34)
    """
    answer = parse_completion(text, prefilled_think=prefilled_think).answer
    if not answer:
        return None
    # what was read follows the last opening tag
    start = text.index(answer, text.rindex(ANSWER_OPEN) + len(ANSWER_OPEN))
    return start, start + len(answer)


def _split_trace(text: str, prefilled_think: bool) -> tuple[str | None, str | None]:
    """Give the trace (None: no think block) and the text after it (None: never closed)."""
    if prefilled_think:
        opened = text
    else:
        _, tag, opened = text.partition(THINK_OPEN)
        if not tag:
            return None, text
    trace, tag, rest = opened.partition(THINK_CLOSE)
    return trace, rest if tag else None


def _read_answer(rest: str) -> tuple[str | None, Outcome]:
    _, tag, opened = rest.rpartition(ANSWER_OPEN)
    if not tag:
        return None, "no_answer_tag"
    answer, tag, _ = opened.partition(ANSWER_CLOSE)
    return (answer.strip(), "answered") if tag else (None, "unclosed_answer")


def _is_well_formed(text: str) -> bool:
    tags = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)
    if any(text.count(tag) != 1 for tag in tags):
        return False
    before, _, rest = text.partition(THINK_OPEN)
    _, closed, rest = rest.partition(THINK_CLOSE)
    between, opened, rest = rest.partition(ANSWER_OPEN)
    _, ended, after = rest.partition(ANSWER_CLOSE)
    return bool(closed and opened and ended) and not (before + between + after).strip()
