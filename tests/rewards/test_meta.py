"""Forecasts: how they are read, what they earn; the values were worked out by hand from the formulas."""

import dataclasses
import json
import statistics

import pytest

from mbt_lite.records import Document, Question
from mbt_lite.rewards.meta import (
    Forecast,
    Solved,
    best_constant,
    links_term,
    possible_link,
    rate_term,
    read_forecast,
    solved,
    titles,
    tokens_term,
    truth,
    write_forecast,
)

QUESTION = Question(
    question_id="q",
    question="Where was the director of Silent Garden born?",
    answer="Oakford",
    aliases=("town of Oakford",),
    documents=(
        Document("Silent Garden", "Silent Garden was directed by Frank Fisher.", True),
        Document("Frank Fisher", "Frank Fisher was born in Oakford.", True),
        Document("Lost Tower", "Lost Tower was directed by Leon Spencer. Studied there: nobody who studied.", False),
        Document("Leon Spencer (director)", "He was born in Millham in 1912.", False),
    ),
    source="synthetic",
)  # fmt: skip
RIGHT = ["Frank Fisher studied, so Oakford.", "It is Frank Fisher, who studied."]
WRONG = ["Leon Spencer studied.", "Leon Spencer, not Frank Fisher."]


def said(answer: str, trace: str = "so") -> str:
    return f"<think>{trace}</think>\n\n<answer>{answer}</answer>"


GOOD = '{"links": ["Frank Fisher"], "right_of_8": 6, "tokens": 110}'


def test_read_forecast_reads_one_object() -> None:
    assert read_forecast(said(GOOD)) == Forecast(("Frank Fisher",), 6, 110)
    assert read_forecast(said(write_forecast(["Zoë"], 0, 1))) == Forecast(("Zoë",), 0, 1)
    assert read_forecast(f"so</think><answer>{GOOD}</answer>", prefilled_think=True).right_of_8 == 6


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(said(f"```json\n{GOOD}\n```"), id="a code fence"),
        pytest.param(said(GOOD + GOOD), id="the object twice"),
        pytest.param(said(GOOD) + said(GOOD), id="two answers"),
        pytest.param(said(f"I think {GOOD}"), id="prose around it"),
        pytest.param(said(GOOD) + " as I said", id="prose after the answer"),
        pytest.param(said(f"[{GOOD}]"), id="a list"),
        pytest.param(said(GOOD.replace("}", ', "sure": 1}')), id="a key too many"),
        pytest.param(said('{"links": ["Frank Fisher"], "right_of_8": 6}'), id="a key too few"),
        pytest.param(said(GOOD.replace("}", ', "tokens": 5}')), id="a key twice"),
        pytest.param(said("[" * 100_000), id="nested beyond reading"),
        pytest.param(said(GOOD.replace("110", "9" * 5000)), id="a number beyond reading"),
        pytest.param(f"<answer>{GOOD}</answer>", id="no thinking"),
        pytest.param(f"<think>so <answer>{GOOD}</answer>", id="thinking that never ends"),
        pytest.param("", id="nothing"),
    ],
)  # fmt: skip
def test_read_forecast_reads_nothing_else(text: str) -> None:
    assert read_forecast(text) == Forecast()


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("right_of_8", ["6", 6.0, 9, -1, True, None, [6]]),
        ("tokens", ["110", 110.5, 0, -3, False, None, 10**12]),
        ("links", ["Frank Fisher", [], ["a"] * 6, ["a", 7], None, {"a": 1}, ["half \ud800"]]),
    ],
)
def test_read_forecast_drops_a_field_of_the_wrong_type_or_range_alone(field: str, values: list[object]) -> None:
    for value in values:
        found = dataclasses.asdict(read_forecast(said(json.dumps(json.loads(GOOD) | {field: value}))))
        whole = dataclasses.asdict(Forecast(("Frank Fisher",), 6, 110))
        assert found == whole | {field: None}, value


@pytest.mark.parametrize(
    ("names", "earned"),
    [
        (["Frank Fisher"], 1.0),
        (["Leon Spencer"], 0.0),
        (["Frank Fisher", "Leon Spencer"], 0.5),
        (["studied"], 0.0),
        (["Oakford"], 0.0),
        (["Silent Garden"], 0.0),
        (["Frank Fisher", "frank fisher!"], 1.0),
        (["Frank Fisher of Oakford"], 0.0),
        (["Ann Lee"], 0.0),
        (["Silent Garden", "Frank Fisher", "Lost Tower", "Leon Spencer"], 0.25),
        ([], 0.0),
        (None, 0.0),
        (["", "the"], 0.0),
    ],
    ids=["right more often", "wrong more often", "both", "not spelled as a name", "the gold", "asked about",
         "twice in two spellings", "a gold in it", "in no document", "all titles", "none", "unreadable", "no word"],
)  # fmt: skip
def test_links_term(names: list[str] | None, earned: float) -> None:
    assert links_term(names, RIGHT, WRONG, QUESTION) == earned


@pytest.mark.parametrize("name", ["Silent Garden", "Beyoncé", "Oakford’s", "Oakford's"])
def test_question_and_gold_do_not_hide_behind_a_possessive_or_an_accent(name: str) -> None:
    text = f"Frank Fisher knew Beyonce and {name} mayor."
    question = dataclasses.replace(
        QUESTION,
        question="Where was Silent Garden's director, with Beyonce, born?",
        documents=(*QUESTION.documents, Document("x", text, False), Document("Beyoncé", "A singer.", False)),
    )
    assert links_term([name], [text], [], question) == 0.0
    assert links_term(["Frank Fisher"], [text], [], question) == 1.0


def test_a_word_that_the_traces_alone_would_pay_for() -> None:
    # two right traces have it, one wrong one: only its spelling tells
    assert not possible_link("studied", QUESTION)
    named = dataclasses.replace(QUESTION, documents=(*QUESTION.documents, Document("Studied", "A film.", False)))
    assert links_term(["studied"], RIGHT, WRONG, named) == 1.0


@pytest.mark.parametrize(
    ("name", "can_be"),
    [
        ("1912", True), ("millham", True), ("leon spencer", True), ("leon spencer director", True),
        ("directed by leon spencer", False), ("he was born", False), ("he", False), ("spencer studied", False),
        ("town of oakford", False), ("lost tower", True), ("nobody", False),
    ],
)  # fmt: skip
def test_possible_link(name: str, can_be: bool) -> None:
    assert possible_link(name, QUESTION) is can_be


def test_a_capital_where_a_sentence_begins_says_nothing() -> None:
    document = Document("x", 'It ended. "Peace came. Then Peace again', False)
    assert possible_link("peace", dataclasses.replace(QUESTION, documents=(document,)))
    for text in ('It ended. "Peace came." Peace again', "It ended. - Peace came", 'It ended . " Peace came'):
        assert not possible_link("peace", dataclasses.replace(QUESTION, documents=(Document("x", text, False),)))


@pytest.mark.parametrize(
    ("predicted", "lengths", "tolerance", "earned"),
    [
        (100, [90, 120], 0.1, 1), (90, [90, 120], 0.0, 1), (89, [90, 120], 0.0, 0), (89, [90, 120], 0.1, 1),
        (132, [90, 120], 0.1, 1), (133, [90, 120], 0.1, 0), (77, [70], 0.1, 1), (63, [70], 0.1, 1),
        (62, [70], 0.1, 0), (100, [], 0.1, 0), (None, [100], 0.1, 0),
    ],
)  # fmt: skip
def test_tokens_term(predicted: int | None, lengths: list[int], tolerance: float, earned: int) -> None:
    assert tokens_term(predicted, lengths, tolerance) == earned


@pytest.mark.parametrize(
    ("predicted", "rate", "earned"),
    [(4, 0.5, 1), (5, 0.5, 0.562341), (8, 0.5, 0.1), (0, 1.0, 0.01), (5, 2 / 3, 0.825404), (None, 0.5, 0)],
)
def test_rate_term(predicted: int | None, rate: float, earned: float) -> None:
    assert rate_term(predicted, rate, "masa") == pytest.approx(earned, abs=1e-6)


def test_rate_term_by_brier_is_one_less_the_squared_distance() -> None:
    assert rate_term(6, 0.5, "brier") == 0.9375
    assert rate_term(0, 1.0, "brier") == 0


def mean_rate(guess: int, rates: list[float]) -> float:
    return statistics.fmean(rate_term(guess, rate, "masa") for rate in rates)


def test_rate_term_seeks_modes_not_means() -> None:
    assert mean_rate(0, [0, 1]) == mean_rate(8, [0, 1]) == pytest.approx(0.505)
    assert mean_rate(4, [0, 1]) == pytest.approx(0.1)


def test_a_document_without_a_title_is_no_link() -> None:
    asked = dataclasses.replace(QUESTION, documents=(Document("Document 1", "Document 1 names Frank Fisher.", None),))
    assert [possible_link(name, asked) for name in ("Document 1", "Frank Fisher")] == [False, True]


def test_a_constant_earns_a_third_where_rates_are_spread_evenly() -> None:
    rates = [0, 0.25, 0.5, 0.75, 1]
    assert mean_rate(4, rates) == pytest.approx(0.366491, abs=1e-6)
    found = [(QUESTION, Solved(("",) * round(4 * rate), ("",) * round(4 - 4 * rate), ())) for rate in rates]
    best = best_constant(found, tolerance=0.1, law="masa")
    assert (best.right_of_8, best.earned.rate) == (4, pytest.approx(0.366491, abs=1e-6))


def group(rate_of_4: int, lengths: tuple[int, ...]) -> Solved:
    return Solved(("frank fisher",) * rate_of_4, ("leon spencer",) * (4 - rate_of_4), lengths)


@pytest.mark.parametrize(
    ("forecast", "total"),
    [
        (Forecast(("Frank Fisher",), 5, 100), 0.854114),
        (Forecast(("Frank Fisher", "Leon Spencer"), 4, 7), 0.5),
        (Forecast(), 0.0),
    ],
)
def test_truth_is_the_mean_of_the_three(forecast: Forecast, total: float) -> None:
    found = truth(forecast, group(2, (90, 120)), QUESTION, tolerance=0.1, law="masa")
    assert found.total == pytest.approx(total, abs=1e-6)


def test_best_constant_is_the_best_of_all_constants() -> None:
    found = [(QUESTION, group(4, (90, 120))), (QUESTION, group(1, (60,))), (QUESTION, group(0, ()))]
    best = best_constant(found, tolerance=0.1, law="masa")
    by_tokens = [
        statistics.fmean(tokens_term(guess, one.right_lengths, 0.1) for _, one in found) for guess in range(1, 200)
    ]
    by_rate = [mean_rate(guess, [one.rate for _, one in found]) for guess in range(9)]
    assert best.earned.tokens == max(by_tokens) == pytest.approx(1 / 3)
    assert best.earned.rate == max(by_rate)
    # of three titles that can be links, one hits where some are right
    assert titles(QUESTION) == ("Frank Fisher", "Lost Tower", "Leon Spencer")
    assert best.earned.links == pytest.approx(2 / 9)


def test_solved_sorts_traces_by_how_they_ended() -> None:
    found = solved([("The Ann Lee!", True, 9), ("cut", False, 7), (None, False, 1)])
    assert found == Solved(("ann lee",), ("cut", ""), (9,))
    assert found.rate == pytest.approx(1 / 3)
