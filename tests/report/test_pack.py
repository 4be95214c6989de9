import base64
import dataclasses
import gzip
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.report.contents import Reach, Report, Run
from mbt_lite.report.marks import FIRST, GOLD, TAG
from mbt_lite.report.pack import pack_traces, packed, shared_limit


def unpacked(report: Report) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(pack_traces(report))))


def texts_of(prediction: Any) -> str:
    return "\n\n".join("".join(one["pieces"][::2]) for one in prediction["paragraphs"] if "pieces" in one)


def test_packed_is_the_same_each_time() -> None:
    assert packed("a trace") == packed("a trace")


def test_pack_traces_joins_series_by_question(make_report: Callable[..., Report]) -> None:
    run = make_report(6).runs[0]
    shuffled = {variant: rows[::-1] if variant == "sft" else rows for variant, rows in run.predictions.items()}
    content = unpacked(Report((dataclasses.replace(run, predictions=shuffled),)))
    assert content["unit"] == "questions"
    assert [question["id"] for question in content["questions"]] == [f"q{number}" for number in range(6)]
    assert all(
        question["predictions"]["sft"]["tokens"] == question["predictions"]["base"]["tokens"]
        for question in content["questions"]
    )


def test_pack_traces_joins_runs_by_question(make_run: Callable[..., Run]) -> None:
    content = unpacked(Report((make_run(2, name="one"), make_run(3, name="other"))))
    assert [sorted(question["predictions"]) for question in content["questions"]] == [
        *[["one/base", "one/metacognitive", "one/sft", "other/base", "other/metacognitive", "other/sft"]] * 2,
        ["other/base", "other/metacognitive", "other/sft"],
    ]


def test_pack_traces_keeps_completions_of_one_question_apart(make_run: Callable[..., Run]) -> None:
    run = make_run(2)
    rows = [dataclasses.replace(row, rollout_index=index) for row in run.predictions["sft"] for index in (0, 1)]
    content = unpacked(Report((dataclasses.replace(run, predictions=run.predictions | {"sft": rows}),)))
    assert content["unit"] == "completions of questions"
    assert [(question["id"], question["rollout"]) for question in content["questions"]] == [
        ("q0", 0), ("q1", 0), ("q0", 1), ("q1", 1),
    ]  # fmt: skip


def test_pack_traces_carries_text_flags_and_verdicts(make_run: Callable[..., Run]) -> None:
    text = "<think>Arden it is.\n\nSo Arden.</think><answer>Arden</answer>"
    run = make_run(1, text)
    reached = dataclasses.replace(
        run,
        reaches=run.reaches | {"sft": {("q0", 0): Reach(1, frozenset({2}))}},
        judged_phases=run.judged_phases | {"sft": {("q0", 0): ["plan", "verify"]}},
    )
    found = unpacked(Report((reached,)))["questions"][0]["predictions"]
    first, second = found["sft"]["paragraphs"]
    assert first["pieces"] == ["<think>", TAG, "Arden", GOLD | FIRST, " it is.", 0]
    assert (first["number"], second["number"]) == (1, 2)
    assert found["sft"]["judged"] == {"first": 1, "redundant": [2]}
    assert found["sft"]["judged_phases"] == [1, 4]
    assert (found["base"]["judged"], found["base"]["judged_phases"]) == (None, None)
    assert texts_of(found["sft"]) == text


def test_pack_traces_keeps_hostile_text_to_the_letter(make_report: Callable[..., Report]) -> None:
    hostile = "<think></script><b> Arden </b><!--\u2028 \U0001f600</think><answer>]]></answer>"
    found = unpacked(make_report(2, hostile))["questions"][0]["predictions"]["sft"]
    assert texts_of(found) == hostile


def test_pack_traces_of_3_variants_of_500_long_traces_fit_the_page(make_run: Callable[..., Run]) -> None:
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("etaoinshrdlucmf", k=rng.randint(2, 9))) for _ in range(20_000)]
    run = make_run(500, "-")
    predictions = {
        variant: [dataclasses.replace(row, text=" ".join(rng.choices(vocabulary, k=1_100))) for row in rows]
        for variant, rows in run.predictions.items()
    }
    size = len(pack_traces(Report((dataclasses.replace(run, predictions=predictions),))))
    # the limit is used, not only kept; library, plots and tables take less than the rest of 5 MB
    assert 3_800_000 <= size <= 4_250_000


def test_pack_traces_ends_where_cutting_cannot_help(
    monkeypatch: pytest.MonkeyPatch, make_report: Callable[..., Report]
) -> None:
    monkeypatch.setattr("mbt_lite.report.pack.MAX_PACKED_CHARACTERS", 10)
    text = "a" + "b" * 1_000 + "c\n\n" + "d" * 496
    paragraphs = unpacked(make_report(2, text))["questions"][0]["predictions"]["sft"]["paragraphs"]
    assert [sum(map(len, one.get("pieces", [])[::2])) or one["left_out"] for one in paragraphs] == [200, 1_100, 200]
    assert paragraphs[0]["pieces"][0].startswith("abb")
    assert "left_out" in paragraphs[1]


@given(st.lists(st.integers(0, 50), min_size=1, max_size=12), st.integers(12, 400))
def test_shared_limit_is_the_highest_that_fits(lengths: list[int], budget: int) -> None:
    def total(limit: int) -> int:
        return sum(min(length, limit) for length in lengths)

    limit = shared_limit(lengths, budget)
    assert total(limit) <= budget
    assert limit == max(lengths) or total(limit + 1) > budget
