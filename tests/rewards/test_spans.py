"""Spans of steps and what they earn: golden values, and the properties that the rule is chosen for."""

import dataclasses
import math
import random

import pytest

from mbt_lite.records import Question
from mbt_lite.rewards.spans import (
    Scored,
    Span,
    confidence_term,
    find_bridges,
    find_spans,
    is_right,
    score_spans,
    span_score,
    stated_confidence,
    token_confidence,
)

QUESTION = Question(
    "q", "Which school did the director of Distant Desert attend?", "Homer Academy", ("Homer",), (), "mbt",
    bridges=("Frank Fisher",),
)  # fmt: skip
PLAN = "Plan:\nStep 1: the director of Distant Desert -> A\nStep 2: the school that A attended -> answer\n\n"
STEPS = "Step 1: the director of Distant Desert -> Frank Fisher\nStep 2: the school of Frank Fisher -> Homer Academy\n"


def written(trace: str, answer: str = "Homer Academy") -> str:
    return f"<think>\n{trace}</think>\n\n<answer>{answer}</answer>"


def values(trace: str, answer: str = "Homer Academy", question: Question = QUESTION) -> list[str]:
    text = written(trace, answer)
    spans = find_spans(text, question, answer)
    assert [text[span.start : span.end] for span in spans] == [span.value for span in spans]
    return [span.value for span in spans]


@pytest.mark.parametrize(
    ("trace", "found"),
    [
        (PLAN + STEPS, ["Frank Fisher"]),
        (STEPS, ["Frank Fisher"]),
        (PLAN, []),
        ("It is Frank Fisher, who went to Homer Academy.", []),
        ("Step 1: the director -> Ann Lee\n" + PLAN + "Step 1: the director -> Bob Ray\n", ["Bob Ray"]),
        (PLAN + "Step 1: who -> Ann Lee\nStep 1: who -> Bob Ray\nStep 2: where -> Oslo\n", ["Bob Ray", "Oslo"]),
        (PLAN + "Step 1: what -> Distant Desert\nStep 2: what -> the desert\n", []),
        (PLAN + "Step 1: who -> Ann Lee\nStep 2: who -> ann  lee.\nStep 3: who -> The Ann Lee\n", ["Ann Lee"]),
        (PLAN + "Step 1: who -> ...\nStep 2: who -> the\n", []),
        (PLAN + "Step 1: who -> Ann Lee, Frank Fisher, Bob Ray\n", ["Ann Lee, Frank Fisher, Bob Ray"]),
        (PLAN + "Step 1: who -> Ann Lee\nStep 2: so -> answer\n", ["Ann Lee"]),
    ],
    ids=[
        "plan and steps", "steps without a plan", "a plan never executed", "prose", "before the plan",
        "the last of a number", "of the question", "a repeated value", "no words", "all names in one",
        "a variable late",
    ],
)  # fmt: skip
def test_find_spans_gives_what_the_steps_found(trace: str, found: list[str]) -> None:
    assert values(trace) == found


@pytest.mark.parametrize("answer", ["Homer Academy", "Homer", "Oslo"])
def test_the_gold_and_the_own_answer_are_no_spans(answer: str) -> None:
    assert values(PLAN + STEPS + "Step 3: so -> homer\nStep 4: so -> the Oslo\n", answer) == [
        "Frank Fisher", *(["the Oslo"] if answer != "Oslo" else []),
    ]  # fmt: skip


def test_a_span_stands_where_it_was_said_first_and_states_what_its_last_line_does() -> None:
    text = written(PLAN + "Step 1: who -> Ann Lee [90]\nStep 1: who -> Bob\nStep 1: who -> ann lee [40]\n")
    [span] = find_spans(text, QUESTION, None)
    assert (span.value, span.start, span.stated) == ("Ann Lee", text.index("Ann Lee"), 40)


def test_find_spans_without_a_think_tag_and_with_one_prefilled() -> None:
    assert find_spans(PLAN + STEPS, QUESTION, None) == []
    [span] = find_spans(PLAN + STEPS, QUESTION, None, prefilled_think=True)
    assert (PLAN + STEPS)[span.start : span.end] == "Frank Fisher"


def test_find_bridges_leaves_out_what_no_span_can_be() -> None:
    named = ("Frank Fisher", "the Homer Academy", "Distant Desert", "frank fisher")
    asked = dataclasses.replace(QUESTION, bridges=named)
    assert find_bridges(asked) == [{"frank fisher"}]
    titled = dataclasses.replace(QUESTION, bridges=("Henry King (director)",), bridges_are_titles=True)
    [forms] = find_bridges(titled)
    assert forms == {"henry king", "henry king director"}
    assert is_right(Span("Henry King", 0, 0, None), [forms])
    assert not is_right(Span("Henry", 0, 0, None), [forms])


@pytest.mark.parametrize(
    ("confidence", "right", "score"), [(0.5, True, 0.75), (0.5, False, -0.25), (0.9, True, 0.99), (0.9, False, -0.81)]
)
def test_span_score_golden(confidence: float, right: bool, score: float) -> None:
    assert span_score(confidence, right) == pytest.approx(score, abs=1e-12)
    assert score == pytest.approx(right - (right - confidence) ** 2), "right minus Brier"


@pytest.mark.parametrize(
    ("scored", "bridges", "term"),
    [
        ([(0.9, True), (0.8, False)], 2, 0.175),
        ([(0.9, True)], 2, -0.005),
        ([], 2, -1),
        ([(0.9, True), (0.9, True), (0.9, False)], 2, 0.39),
        ([(0.2, False), (0.2, False)], 2, -0.04),
        ([(0.9, True)], 1, 0.99),
        ([(0.9, True)], 0, 0),
    ],
)
def test_confidence_term_golden(scored: list[Scored], bridges: int, term: float) -> None:
    assert confidence_term(scored, bridges) == pytest.approx(term, abs=1e-12)


def test_the_linear_law_is_the_confidence_with_a_sign() -> None:
    assert confidence_term([(0.9, True), (0.8, False)], 3, "linear") == pytest.approx((0.9 - 0.8 - 1) / 3)


@pytest.mark.parametrize(("log_probs", "confidence"), [([-0.1, -0.3], 0.818731), ([-0.05, -0.05, -2], 0.496585)])
def test_token_confidence_is_a_geometric_mean(log_probs: list[float], confidence: float) -> None:
    words = ["A", "B", "C"][: len(log_probs)]
    found = token_confidence(
        Span("", 0, len(words), None), range(len(words)), log_probs, lambda ids: "".join(words[i] for i in ids)
    )
    assert found == pytest.approx(confidence, abs=1e-6)
    assert math.isnan(token_confidence(Span("", 0, 1, None), [0], [math.nan], lambda ids: "A" * len(ids)))
    assert stated_confidence(Span("", 0, 1, 90)) == 0.9
    assert stated_confidence(Span("", 0, 1, None)) == 1.0


def test_score_spans_gives_confidence_and_truth_of_what_could_be_a_bridge() -> None:
    text = written(PLAN + "Step 1: who -> Ann Lee [30]\nStep 2: who -> Frank Fisher [80]\n")
    assert score_spans(text, QUESTION, stated_confidence) == [(0.3, False), (0.8, True)]
    assert score_spans(text, dataclasses.replace(QUESTION, bridges=()), stated_confidence) == []
    prefilled = text.removeprefix("<think>\n")
    assert score_spans(prefilled, QUESTION, stated_confidence, prefilled_think=True) == [(0.3, False), (0.8, True)]


GRID = [step / 50 for step in range(51)]


def test_1_a_score_is_bounded_and_moves_with_confidence_towards_what_is_true() -> None:
    for right in (True, False):
        scores = [span_score(c, right) for c in GRID]
        assert scores[0] == 0
        assert scores == sorted(scores, reverse=not right)
        assert len(set(scores)) == len(scores)
        assert all(-1 <= score <= 1 for score in scores)


@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 0.62, 1.0])
def test_2_the_rule_is_strictly_proper_the_linear_one_is_not(p: float) -> None:
    def expected(c: float, law: str) -> float:
        return p * span_score(c, True, law) + (1 - p) * span_score(c, False, law)  # type: ignore[arg-type]

    best = max(GRID, key=lambda c: expected(c, "proper"))
    assert best == pytest.approx(p)
    assert expected(p, "proper") == pytest.approx(p * p)
    # nothing stated counts as certain: that never pays
    assert expected(1.0, "proper") <= expected(p, "proper") + 1e-12
    assert max(GRID, key=lambda c: expected(c, "linear")) == (1.0 if p > 0.5 else 0.0)


def drawn(dice: random.Random, most: int) -> list[Scored]:
    return [(dice.random(), dice.random() < 0.5) for _ in range(dice.randint(0, most))]


def test_3_the_term_is_bounded() -> None:
    dice = random.Random(0)
    terms = [
        confidence_term(drawn(dice, 6), dice.randint(0, 4), law) for _ in range(2000) for law in ("proper", "linear")
    ]
    assert max(map(abs, terms)) <= 1
    assert min(terms) == -1


def test_4_silence_never_pays() -> None:
    dice = random.Random(1)
    for _ in range(2000):
        bridges, scored = dice.randint(1, 4), drawn(dice, 4)
        if scored and len(scored) <= bridges:
            assert confidence_term(scored[:-1], bridges) <= confidence_term(scored, bridges) + 1e-12


def term(trace: str, confidence: float = 1.0, question: Question = QUESTION) -> float:
    """Give the term of a trace all of whose spans are equally sure."""
    spans, bridges = find_spans(written(trace), question, "Homer Academy"), find_bridges(question)
    return confidence_term([(confidence, is_right(span, bridges)) for span in spans], len(bridges))


def test_5_cheats_gain_nothing() -> None:
    honest = term(PLAN + STEPS)
    one = "Step 1: who -> Frank Fisher\n"
    assert honest == 1
    assert term(PLAN + one * 3) == honest
    assert term(PLAN + one + "Step 2: who -> Frank\nStep 3: who -> Fisher\n") < honest
    assert term(PLAN + "Step 1: who -> Louis Clark, Frank Fisher, Leon Spencer\n") < 0
    assert term(PLAN + one + "Step 2: of what -> Distant Desert\n") == honest
    forty = "".join(f"Step {n}: who -> Person {n}\n" for n in range(2, 41))
    assert term(PLAN + one + forty) == pytest.approx((1 - 39) / 40)
    assert term(PLAN) == -1


def test_5_one_bridge_in_several_forms_is_one_step() -> None:
    asked = dataclasses.replace(QUESTION, bridges=("Henry King (director)", "Oakford"), bridges_are_titles=True)
    once = "Step 1: who -> Henry King\n"
    assert values(once + "Step 2: who -> Henry King (director)\n", question=asked) == ["Henry King"]
    assert term(once + "Step 2: who -> Henry King (director)\n", question=asked) == term(once, question=asked) == 0
    assert values(once, "Henry King (director)", asked) == []


def test_5_a_possessive_or_an_accent_hides_nothing() -> None:
    asked = dataclasses.replace(
        QUESTION, question="Where was Henri König's editor born?", bridges=("Henri König", "Orr")
    )
    assert values("Step 1: who -> Henri Konig\nStep 2: a -> König's\nStep 3: b -> Orr\n", question=asked) == ["Orr"]
    assert find_bridges(asked) == [frozenset(["orr"])]


def test_6_order_case_articles_and_other_text_change_nothing() -> None:
    asked = dataclasses.replace(QUESTION, bridges=("Frank Fisher", "Oakford"))
    steps = ["Step 1: who -> Frank Fisher\n", "Step 2: where -> Oakford\n", "Step 3: so -> Homer Academy\n"]
    usual = term("".join(steps), 0.7, asked)
    assert usual == pytest.approx(math.fsum([2 * 0.7 - 0.49] * 2) / 2)
    assert term("".join(reversed(steps)), 0.7, asked) == usual
    assert term("".join(steps).replace("Frank Fisher", "the FRANK fisher."), 0.7, asked) == usual
    assert term("So we begin.\n" + "\nWell, Bob Ray.\n".join(steps), 0.7, asked) == usual
