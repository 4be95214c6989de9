"""Cue phrases of the five metacognitive phases, and which phases a trace shows.

Source: the five phases of arXiv 2602.22508. The lists in phase_cues.json are our own: what an inner monologue in the
first-person plural says on entering a phase, as normalised words (no articles, no punctuation). A cue shows form, not
thought: the reward counts it on right answers only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from mbt_lite.rewards.mentions import contains_words
from mbt_lite.text.normalize import normalize
from mbt_lite.text.phases import PHASES as PHASES


@cache
def phase_cues() -> Mapping[str, tuple[str, ...]]:
    """Read the cue lists: phase -> normalised word sequences, phases in their order."""
    lists = json.loads(files(__package__).joinpath("phase_cues.json").read_text(encoding="utf-8"))
    return check_cues(lists)


def check_cues(lists: Mapping[str, list[str]]) -> Mapping[str, tuple[str, ...]]:
    """Assert that the five phases are there, in order, and that each cue is normalised, not empty, and in one phase."""
    assert tuple(lists) == PHASES, f"phases {tuple(lists)} are not {PHASES}"
    cues = [cue for phase in PHASES for cue in lists[phase]]
    for cue in cues:
        assert cue.split(), f"cue {cue!r} has no words"
        assert cue == normalize(cue), f"cue {cue!r} never matches; write {normalize(cue)!r}"
        assert cues.count(cue) == 1, f"cue {cue!r} stands twice"
    return MappingProxyType({phase: tuple(lists[phase]) for phase in PHASES})


def shown_phases(trace: str) -> tuple[str, ...]:
    """Name the phases of which at least one cue stands in the trace, in their order.

    >>> shown_phases("First, we need the director. Wait, which film?")
    ('plan', 'self_correct')
    """
    text = normalize(trace)
    return tuple(phase for phase, cues in phase_cues().items() if any(contains_words(text, cue) for cue in cues))
