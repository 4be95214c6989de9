import itertools
import json
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.errors import DataError
from mbt_lite.metrics.answers import (
    Rules,
    avg_at_k,
    exact_match,
    f1,
    maj_at_k,
    pass_at_k,
    rules_for,
    substring_match,
)
from mbt_lite.rewards.terms import answer_term, exact_term

PROPERTY = settings(deadline=None, max_examples=200)
WORDS = st.sampled_from(["Rome", "yes", "no", "the", "York,", "new", "noanswer", "12"])
TEXTS = st.lists(WORDS, max_size=4).map(" ".join)
GOLDS = st.lists(TEXTS, min_size=1, max_size=4)
RULES = st.sampled_from(["musique", "hotpot"])


@pytest.mark.parametrize(
    ("source", "expected"),
    [("mbt", "musique"), ("synthetic", "musique"), ("musique", "musique"), ("hotpot", "hotpot"), ("2wiki", "hotpot")],
)
def test_rules_for_each_source(source: str, expected: Rules) -> None:
    assert rules_for(source) == expected


def test_rules_for_refuses_an_unknown_source() -> None:
    with pytest.raises(DataError, match="no scoring rules \\(got 'squad'\\)"):
        rules_for("squad")


@pytest.mark.parametrize("dataset", ["musique", "hotpot", "2wiki"])
def test_exact_match_and_f1_agree_with_the_official_scorers(shared_data: Path, dataset: str) -> None:
    rows = json.loads((shared_data / "official_scorer_outputs_22.json").read_text(encoding="utf-8"))
    ours = [
        (exact_match(row["pred"], [row["gold"]]), f1(row["pred"], [row["gold"]], rules_for(dataset))) for row in rows
    ]
    assert ours == [(row[dataset]["em"], row[dataset]["f1"]) for row in rows]
    assert len(rows) == 22


@pytest.mark.parametrize(
    ("answer", "gold", "musique", "hotpot"),
    [
        pytest.param("new york city", "new york", 0.8, 0.8, id="plain words"),
        pytest.param("yes it is", "yes", 0.5, 0.0, id="answer has more than yes"),
        pytest.param("no", "no one", 2 / 3, 0.0, id="gold has more than no"),
        pytest.param("No!", "no", 1.0, 1.0, id="whole no"),
        pytest.param("noanswer", "no answer", 0.0, 0.0, id="noanswer is one word"),
        pytest.param("the", "", 1.0, 0.0, id="both without words"),
        pytest.param(None, "yes", 0.0, 0.0, id="no answer at all"),
    ],
)
def test_f1_by_both_rules(answer: str | None, gold: str, musique: float, hotpot: float) -> None:
    assert f1(answer, [gold], "musique") == pytest.approx(musique, abs=1e-12)
    assert f1(answer, [gold], "hotpot") == pytest.approx(hotpot, abs=1e-12)


ZERO, ONE, HALF = (0, 0.0), (1, 1.0), (0, 0.5)
# answer, golds -> (exact match, F1) by MuSiQue, HotpotQA, 2Wiki
RULE_TABLE: dict[str, tuple[str, list[str], tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "normalised alike": ("The  ROME!", ["rome"], ONE, ONE, ONE),
    "half of the words": ("old Rome town", ["Rome"], HALF, HALF, HALF),
    "yes and more": ("yes it is", ["yes"], HALF, ZERO, ZERO),
    "gold is no and more": ("no", ["no it is not"], (0, 0.4), ZERO, ZERO),
    "whole yes": ("Yes.", ["yes"], ONE, ONE, ONE),
    "yes against no": ("yes", ["no"], ZERO, ZERO, ZERO),
    "whole noanswer": ("noanswer", ["noanswer"], ONE, ONE, ONE),
    "noanswer and more": ("noanswer here now", ["noanswer"], HALF, ZERO, ZERO),
    "yes inside is no rule": ("yes man show", ["man"], HALF, HALF, HALF),
    "both without words": ("the", ["a"], ONE, (1, 0.0), (1, 0.0)),
    "answer without words": ("...", ["Rome"], ZERO, ZERO, ZERO),
    "gold without words": ("Rome", ["the"], ZERO, ZERO, ZERO),
    "an alias": ("Roma", ["Rome", "Roma"], ONE, ONE, ONE),
    "best of each gold": ("yes it is", ["yes", "it is"], (0, 0.8), (0, 0.8), (0, 0.8)),
    "yes among aliases": ("yes", ["it is so", "Yes!"], ONE, ONE, ONE),
    "no Unicode rule": ("1950–1953", ["1950-1953"], ZERO, ZERO, ZERO),
    "full width": ("Ｒome", ["Rome"], ZERO, ZERO, ZERO),
}


@pytest.mark.parametrize("place", range(3), ids=["musique", "hotpot", "2wiki"])
@pytest.mark.parametrize("case", RULE_TABLE.values(), ids=RULE_TABLE)
def test_the_rules_of_each_benchmark(case, place: int) -> None:
    answer, golds, *expected = case
    rules = rules_for(("musique", "hotpot", "2wiki")[place])
    assert (exact_match(answer, golds), f1(answer, golds, rules)) == pytest.approx(expected[place])


@pytest.mark.parametrize(
    ("answer", "golds", "expected"),
    [
        pytest.param("It was Rome, Italy", ["Rome"], 1, id="gold inside"),
        pytest.param("Rome", ["Rome, Italy"], 0, id="answer inside the gold does not count"),
        pytest.param("party", ["art"], 1, id="characters, not words"),
        pytest.param("Oslo", ["Rome", "oslo."], 1, id="alias"),
        pytest.param("Rome", ["the"], 0, id="gold without words is not everywhere"),
        pytest.param("The.", ["a"], 1, id="both without words"),
        pytest.param(None, ["Rome"], 0, id="no answer"),
        pytest.param("", ["Rome"], 0, id="empty answer"),
    ],
)
def test_substring_match_by_hand(answer: str | None, golds: list[str], expected: int) -> None:
    assert substring_match(answer, golds) == expected


@PROPERTY
@given(TEXTS, GOLDS, RULES)
def test_answer_metrics_are_ordered_and_ignore_the_order_of_golds(answer: str, golds: list[str], rules: Rules) -> None:
    exact, token, part = exact_match(answer, golds), f1(answer, golds, rules), substring_match(answer, golds)
    assert exact <= part <= 1
    assert 0.0 <= token <= f1(answer, golds, "musique") <= 1.0
    assert exact <= f1(answer, golds, "musique")
    for shuffled in itertools.permutations(golds):
        assert (exact, token, part) == (
            exact_match(answer, shuffled), f1(answer, shuffled, rules), substring_match(answer, shuffled),
        )  # fmt: skip


@PROPERTY
@given(TEXTS, GOLDS, RULES)
def test_answer_metrics_ignore_what_normalisation_ignores(answer: str, golds: list[str], rules: Rules) -> None:
    decorated = f"  The {answer.upper()}! "
    assert exact_match(decorated, golds) == exact_match(answer, golds)
    assert f1(decorated, golds, rules) == f1(answer, golds, rules)
    assert substring_match(decorated, golds) == substring_match(answer, golds)


@PROPERTY
@given(st.none() | TEXTS, GOLDS)
def test_answer_metrics_and_reward_terms_are_one_law(answer: str | None, golds: list[str]) -> None:
    assert exact_match(answer, golds) == exact_term(answer, golds)
    assert f1(answer, golds, "musique") == answer_term(answer, golds)


@pytest.mark.parametrize(
    ("n", "n_correct", "k", "expected"),
    [
        pytest.param(4, 0, 2, 0.0, id="none right"),
        pytest.param(4, 4, 1, 1.0, id="all right"),
        pytest.param(4, 1, 2, 0.5, id="one of four, two tries"),
        pytest.param(4, 3, 2, 1.0, id="two tries cannot miss"),
        pytest.param(5, 2, 1, 0.4, id="one try is the mean"),
    ],
)
def test_pass_at_k_by_hand(n: int, n_correct: int, k: int, expected: float) -> None:
    assert pass_at_k(n, n_correct, k) == pytest.approx(expected, abs=1e-12)


@PROPERTY
@given(st.integers(1, 30).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_agrees_with_counting_subsets(case: tuple[int, int, int]) -> None:
    n, n_correct, k = case
    assert pass_at_k(n, n_correct, k) == pytest.approx(1 - math.comb(n - n_correct, k) / math.comb(n, k), abs=1e-9)


@pytest.mark.parametrize("case", [(4, 5, 1), (4, -1, 1), (4, 1, 0), (4, 1, 5)])
def test_pass_at_k_refuses_impossible_counts(case: tuple[int, int, int]) -> None:
    with pytest.raises(AssertionError):
        pass_at_k(*case)


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        pytest.param(["Rome", "Oslo", "rome."], 1, id="two forms of one answer"),
        pytest.param(["Oslo", "Rome"], 0, id="tie: the first"),
        pytest.param(["Rome", "Oslo"], 1, id="tie: the first, right"),
        pytest.param([None, None, None, "Rome"], 1, id="no answer does not vote"),
        pytest.param([None, None], 0, id="no votes"),
    ],
)
def test_maj_at_k_by_hand(answers: list[str | None], expected: int) -> None:
    assert maj_at_k(answers, ["Rome"]) == expected


def test_avg_at_k_is_the_mean() -> None:
    assert avg_at_k([1, 0, 0]) == pytest.approx(1 / 3)


@pytest.mark.parametrize("measure", [lambda: avg_at_k([]), lambda: maj_at_k([], ["Rome"])])
def test_measures_over_k_refuse_no_completions(measure) -> None:
    with pytest.raises(AssertionError, match="at least one"):
        measure()
