"""Answers side by side while they are written: one panel each, phases in colours, the newest lines in sight."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from mbt_lite.chat.voices import Voice
from mbt_lite.console import Screen
from mbt_lite.metrics.phase_reader import PhaseReader
from mbt_lite.records import Message
from mbt_lite.text.completion import trace_span
from mbt_lite.text.phases import PHASES

# The terminal's own colours: readable on its own background.
COLOURS = dict(zip(PHASES, ("blue", "magenta", "green", "red", "yellow"), strict=True))
_REFRESHES_PER_SECOND = 8
# Lines of the terminal that are not an answer's: its frame, the prompt below.
_FRAME_LINES = 4

Ending = Literal["ended", "interrupted"]


@dataclasses.dataclass(slots=True)
class Answer:
    """What a voice has written so far; `ending` is None while it writes."""

    voice: str
    text: str
    ending: Ending | None = None


def legend() -> Text:
    """Name the phases in their colours."""
    named = [Text(phase.replace("_", " "), style=COLOURS[phase]) for phase in PHASES]
    return Text("phases: ") + Text(", ").join(named)


def coloured(text: str, reader: PhaseReader | None) -> Text:
    """Give a text with the phases of its trace in their colours; without a reader it has none."""
    shown, trace = Text(text), trace_span(text)
    if reader is not None and trace is not None:
        for span in reader.spans(text, *trace):
            shown.stylize(COLOURS[span.phase], span.start, span.end)
    return shown


def answer_side_by_side(
    console: Screen, voices: Sequence[Voice], messages: Sequence[Message], reader: PhaseReader | None
) -> list[Answer]:
    """Let all voices answer at once, a piece each in turn, and give the answers when all have ended.

    Ctrl-C ends the writing: what was written stays on the screen and is given too, marked as interrupted.
    """
    answers = [Answer(voice.name, voice.opening) for voice in voices]
    writing = [(answer, voice.stream(messages)) for answer, voice in zip(answers, voices, strict=True)]

    # drawn by its own clock, not at each piece
    def frame() -> Table:
        return _side_by_side(console, answers, reader, console.height - _FRAME_LINES)

    with Live(console=console, refresh_per_second=_REFRESHES_PER_SECOND, transient=True, get_renderable=frame):
        try:
            while writing:
                writing = [(answer, pieces) for answer, pieces in writing if _writes_on(answer, pieces)]
        except KeyboardInterrupt:
            for answer in answers:
                answer.ending = answer.ending or "interrupted"
    console.print(_side_by_side(console, answers, reader, None))
    return answers


def _writes_on(answer: Answer, pieces: Iterator[str]) -> bool:
    """Take the next piece; tell whether there was one."""
    piece = next(pieces, None)
    if piece is None:
        answer.ending = "ended"
        return False
    answer.text += piece
    return True


def _side_by_side(console: Screen, answers: Sequence[Answer], reader: PhaseReader | None, height: int | None) -> Table:
    """Draw the answers, each cut to its last lines where a height is given."""
    # the terminal writes ^C behind the frame: where it does not fit, the frame moves
    width = console.width - len("^C")
    table = Table.grid(expand=True)
    table.width = width
    for _ in answers:
        table.add_column(ratio=1)
    share = width // len(answers)
    table.add_row(*(_panel(console, answer, coloured(answer.text, reader), height, share) for answer in answers))
    return table


def _panel(console: Screen, answer: Answer, text: Text, height: int | None, width: int) -> Panel:
    if height is not None:
        # without the frame and the space beside it
        lines = text.wrap(console, max(width - 4, 1))
        text = Text("\n").join(lines[-max(height, 1) :])
    note = None if answer.ending == "ended" else answer.ending or "\u2026"
    return Panel(text, title=answer.voice, subtitle=note, title_align="left", subtitle_align="right")
