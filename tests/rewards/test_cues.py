import pytest

from mbt_lite.rewards.cues import PHASES, check_cues, phase_cues, shown_phases
from mbt_lite.rewards.mentions import contains_words
from mbt_lite.text.normalize import normalize

# One plain sentence per phase, written without looking at the cue lists' spelling.
SENTENCES = {
    "understand_filter": "What is being asked? The name of the director's wife.",
    "plan": "First we need the director, then the wife.",
    "execute_monitor": "According to document 3, the film is by Ana Ruiz; so far this is sound.",
    "self_correct": "Wait, that is another film of the same name.",
    "verify": "Let us check: she is the wife of the director of this film.",
}


def test_phase_cues_has_eight_or_more_cues_in_each_of_the_five_phases() -> None:
    assert tuple(phase_cues()) == PHASES
    assert all(len(cues) >= 8 for cues in phase_cues().values())


def test_no_cue_contains_another_so_that_no_phrase_pays_twice() -> None:
    cues = [cue for phase in phase_cues().values() for cue in phase]
    assert [(one, other) for one in cues for other in cues if one != other and contains_words(one, other)] == []


@pytest.mark.parametrize("phase", PHASES)
def test_shown_phases_recognises_each_phase_alone(phase: str) -> None:
    assert shown_phases(SENTENCES[phase]) == (phase,)


@pytest.mark.parametrize("phase", PHASES)
def test_every_cue_shows_its_phase(phase: str) -> None:
    assert all(phase in shown_phases(f"So, {cue.capitalize()}.") for cue in phase_cues()[phase])


def test_shown_phases_keeps_the_order_of_the_phases() -> None:
    assert shown_phases("\n\n".join(reversed(SENTENCES.values()))) == PHASES
    assert shown_phases("") == ()
    assert shown_phases("The film is by Ana Ruiz.") == ()


def test_shown_phases_agrees_with_slices() -> None:
    for text in SENTENCES.values():
        sequence = normalize(text).split()
        expected = tuple(
            phase
            for phase, cues in phase_cues().items()
            if any(sequence[i : i + len(cue.split())] == cue.split() for cue in cues for i in range(len(sequence)))
        )
        assert shown_phases(text) == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"plan": ["the plan"]}, "write 'plan'", id="not normalised"),
        pytest.param({"plan": [""]}, "has no words", id="empty cue"),
        pytest.param({"plan": ["wait"], "verify": ["wait"]}, "stands twice", id="one cue in two phases"),
        pytest.param({"sleep": ["zzz"]}, "are not", id="a sixth phase"),
    ],
)
def test_check_cues_refuses_lists_that_cannot_work(change: dict[str, list[str]], message: str) -> None:
    lists: dict[str, list[str]] = {phase: [] for phase in PHASES} | change
    with pytest.raises(AssertionError, match=message):
        check_cues(lists)
