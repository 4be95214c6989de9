import io
from collections.abc import Iterator

import pytest
from rich.text import Text

from mbt_lite.chat.screen import COLOURS, answer_side_by_side, coloured
from mbt_lite.chat.voices import Voice
from mbt_lite.console import Screen
from mbt_lite.records import PhaseSpan
from mbt_lite.text.paragraphs import paragraph_spans

TEXT = "<think>\nFirst, we need the film.\n\nBlue skies.\n\nWait, which film?\n</think>\n\n<answer>wait</answer>"


def console(**settings) -> Screen:
    return Screen(file=io.StringIO(), width=60, height=12, **settings)


def written(by: Screen) -> str:
    assert isinstance(by.file, io.StringIO)
    return by.file.getvalue()


def voice(name: str, *pieces: str | type[BaseException]) -> Voice:
    def stream(_) -> Iterator[str]:
        for piece in pieces:
            if not isinstance(piece, str):
                raise piece
            yield piece

    return Voice(name, stream)


class ReadsWait:
    """A reader that knows one phase by one word."""

    def spans(self, text: str, start: int, end: int) -> tuple[PhaseSpan, ...]:
        return tuple(
            PhaseSpan("self_correct", *span)
            for span in paragraph_spans(text, start, end)
            if "Wait" in text[slice(*span)]
        )


def test_coloured_gives_the_paragraphs_of_the_trace_their_phases_and_keeps_the_text() -> None:
    shown = coloured(TEXT, ReadsWait())
    assert shown.plain == TEXT
    assert {TEXT[span.start : span.end]: span.style for span in shown.spans} == {
        "Wait, which film?": COLOURS["self_correct"]
    }


@pytest.mark.parametrize("text", ["", "<think>", "no trace. Wait."])
def test_coloured_of_a_text_that_has_no_trace_yet_is_plain(text) -> None:
    assert coloured(text, ReadsWait()) == coloured(text, None) == Text(text)


def test_answers_are_written_side_by_side_in_turns() -> None:
    turns: list[str] = []

    def counted(name: str, n: int) -> Voice:
        def stream(_) -> Iterator[str]:
            for number in range(n):
                turns.append(name)
                yield f"{name}{number} "

        return Voice(name, stream)

    by = console()
    answers = answer_side_by_side(by, [counted("a", 2), counted("b", 4)], [], None)
    assert turns == ["a", "b", "a", "b", "b", "b"]
    assert [(answer.text, answer.ending) for answer in answers] == [("a0 a1 ", "ended"), ("b0 b1 b2 b3 ", "ended")]
    line = next(line for line in written(by).splitlines() if "a0 a1" in line)
    assert "b0 b1 b2 b3" in line


def test_answers_longer_than_the_terminal_are_shown_whole_at_the_end() -> None:
    by = console(force_terminal=True)
    answer_side_by_side(by, [voice("a", *(f"line {number}\n" for number in range(40)))], [], None)
    assert all(f"line {number}" in written(by) for number in range(40))


def test_ctrl_c_keeps_what_was_written() -> None:
    by = console()
    first, second = answer_side_by_side(by, [voice("a", "all of it"), voice("b", "half", KeyboardInterrupt)], [], None)
    assert (first.text, second.text, second.ending) == ("all of it", "half", "interrupted")
    assert "interrupted" in written(by)
    assert "half" in written(by)


def test_a_template_that_opens_the_trace_is_shown_from_its_opening() -> None:
    (answer,) = answer_side_by_side(console(), [Voice("a", voice("a", "Wait.").stream, "<think>\n")], [], None)
    assert answer.text == "<think>\nWait."
