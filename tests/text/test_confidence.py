"""The line that says how sure a completion is."""

import pytest

from mbt_lite.text.confidence import confidence_line, mentions_confidence, read_confidence


@pytest.mark.parametrize(
    ("trace", "stated"),
    [
        ("so it is Homer.\nConfidence: 85", 85),
        ("so it is Homer.\r\n\r\nConfidence: 0.\n \n", 0),
        ("Confidence: 100", 100),
        ("Confidence: 90\nno, wait\nConfidence: 20", 20),
        ("Confidence: 101", None),
        ("Confidence: 07", None),
        ("Confidence: 8.5", None),
        ("Confidence: -5", None),
        ("Confidence: 85%", None),
        ("Confidence: ٨٥", None),
        ("confidence: 85", None),
        (" Confidence: 85", None),
        ("Confidence: 85 per cent", None),
        ("We are sure. Confidence: 85", None),
        ("Confidence: 85\nThat is all.", None),
        ("Confidence:\n85", None),
        ("Confidence: NN", None),
        ("", None),
        (None, None),
    ],
)
def test_read_confidence_takes_the_last_line_and_nothing_else(trace: str | None, stated: int | None) -> None:
    assert read_confidence(trace) == stated


def test_every_line_that_is_written_is_read() -> None:
    assert [read_confidence(confidence_line(per_cent)) for per_cent in range(101)] == list(range(101))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("<think>\nso\n</think>\nConfidence: 60\nAnswer: Oslo", True),
        ("<think>Confidence: 80</think>\n<answer>Oslo</answer>", True),
        ("<answer>Oslo</answer>\n\n**Confidence:** 95 %", True),
        ("- confidence level = 0.7", True),
        ("My Confidence is 85 per cent.", False),
        ("Confidence: high", False),
        ("Confidence\n85", False),
        ("", False),
    ],
)
def test_mentions_confidence_takes_any_form_at_the_head_of_a_line(text: str, says: bool) -> None:
    assert mentions_confidence(text) is says
