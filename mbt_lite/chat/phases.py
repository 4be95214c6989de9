"""The phases of an answer, for its colours: the one place to change for another reader of phases."""

from __future__ import annotations

from mbt_lite.records import PhaseSpan
from mbt_lite.rewards.cues import shown_phases
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN
from mbt_lite.text.paragraphs import paragraphs


def read_phases(text: str) -> tuple[PhaseSpan, ...]:
    """Give the phase of each paragraph of a trace, by the first phase whose cue stands in it; others have none.

    >>> [span.phase for span in read_phases("<think>First, we need the film.\\n\\nBlue.\\n\\nWait, which film?")]
    ['plan', 'self_correct']
    """
    trace = text.partition(THINK_OPEN)[2].partition(THINK_CLOSE)[0]
    spans, place = [], text.find(trace) if trace else 0
    for paragraph in paragraphs(trace):
        place = text.index(paragraph, place)
        spans += [PhaseSpan(phase, place, place + len(paragraph)) for phase in shown_phases(paragraph)[:1]]
        place += len(paragraph)
    return tuple(spans)
