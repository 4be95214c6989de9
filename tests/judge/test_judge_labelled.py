"""The labelled traces: enough of them, labels that fit their traces, and judges held against them."""

import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from mbt_lite.endpoint.reading import WhyUseless
from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.errors import DataError, RunError
from mbt_lite.files import write_jsonl
from mbt_lite.judge.agreement import labels
from mbt_lite.judge.labelled import (
    SHAPES,
    LabelledTrace,
    agreement_lines,
    hold_against,
    labelled_traces,
    read_labels,
    to_row,
)
from mbt_lite.judge.panel import hold_judge_against_labels
from mbt_lite.judge.subjects import Kind
from mbt_lite.judge.verdicts import read_verdict
from mbt_lite.recipe.schema import Data, Judge, Model, Questions, Recipe
from mbt_lite.text.phases import PHASES


def test_labelled_traces_are_many_different_and_of_every_kind() -> None:
    traces = labelled_traces()
    assert len(traces) >= 80
    assert len({one.label_id for one in traces}) == len({one.subject for one in traces}) == len(traces)
    seen = Counter(one.labels["accuracy"] for one in traces)
    assert set(seen) == {"correct", "incorrect", "not attempted"}
    assert {one.labels["metacognition"] for one in traces} == {0, 1, 2, 3, 4, 5}
    assert {one.labels["hit"] for one in traces} == {True, False}


def our_verdict(one: LabelledTrace, kind: Kind) -> dict[str, Any]:
    """Word our labels as a judge would."""
    given, parts = one.labels, one.subject.paragraphs
    if kind == "accuracy":
        return {"verdict": given["accuracy"]}
    if kind == "hit":
        return {"hit": given["hit"]}
    if kind == "metacognition":
        return {"score": given["metacognition"]}
    if kind == "quality":
        return {"phases": [p for p in PHASES if given[f"quality phases/{p}"]], "level": given["quality level"]}
    if kind == "reach":
        redundant = [n for n in range(1, len(parts) + 1) if given[f"redundant paragraphs/{n}"]]
        return {"first_correct": given["first correct paragraph"], "redundant": redundant}
    return {"prefix": "\n\n".join(parts[: int(str(given[f"{kind} paragraph"]))])}


def kinds_of(one: LabelledTrace) -> list[Kind]:
    thinking: Kind = "overthinking" if one.labels["accuracy"] == "correct" else "underthinking"
    return ["accuracy", "hit", "metacognition", "quality", "reach", thinking]


@pytest.mark.parametrize("shape", SHAPES)
def test_our_labels_are_sound_verdicts(shape: str) -> None:
    for one in labelled_traces():
        if one.label_id.startswith(f"{shape}-"):
            worded = {}
            for kind in kinds_of(one):
                text = json.dumps({"reason": "ours", **our_verdict(one, kind)})
                worded |= labels(kind, read_verdict(kind, text, one.subject), one.subject)
            assert worded == one.labels


def sender(say: Callable[[LabelledTrace, Kind], str]) -> Callable[[Sequence[TeacherRequest], str], dict[str, Reply]]:
    by_id = {one.label_id: one for one in labelled_traces()}

    def send(requests: Sequence[TeacherRequest], what: str, *, useless: WhyUseless) -> dict[str, Reply]:
        replies = {}
        for request in requests:
            label_id, kind, _ = request.label.split(":")
            text = say(by_id[label_id], kind)  # type: ignore[arg-type]
            replies[request.label] = Reply(request.label, request.kind, request.label, text, "stop", "m", 1, 1)
        return replies

    return send


def test_a_judge_that_says_what_we_say_agrees_in_everything() -> None:
    send = sender(lambda one, kind: json.dumps({"reason": "r", **our_verdict(one, kind)}))
    held = hold_against(labelled_traces(), Judge(), send)
    assert (held["n_traces"], held["n_verdicts"], held["n_unscored"]) == (96, 576, 0)
    assert {name: (found["share"], found["kappa"]) for name, found in held["agreement"].items()} == dict.fromkeys(
        (
            "accuracy", "first correct paragraph", "hit", "metacognition", "overthinking paragraph", "quality level",
            "quality phases", "redundant paragraphs", "underthinking paragraph",
        ),
        (1.0, 1.0),
    )  # fmt: skip


def test_a_judge_that_says_one_thing_always_agrees_no_better_than_chance() -> None:
    send = sender(lambda one, kind: '{"reason": "r", "hit": true}' if kind == "hit" else "hm")
    held = hold_against(labelled_traces(), Judge(), send)
    assert held["n_unscored"] == 5 * 96
    assert held["agreement"] == {"hit": {"n": 96, "share": 8 / 12, "kappa": 0.0, "undefined_reason": None}}
    assert agreement_lines(held)[-1].endswith("agrees in  66.7 %  kappa 0.00  n=96")


def test_verdicts_are_counted_by_the_try_that_gave_them() -> None:
    tries: Counter[str] = Counter()

    def say(one: LabelledTrace, kind: Kind) -> str:
        tries[f"{one.label_id}:{kind}"] += 1
        # the first of each shape at once, the second at the second try, and so on: the fourth to eighth never
        place = int(one.label_id.rpartition("-")[2])
        good = json.dumps({"reason": "r", **our_verdict(one, kind)})
        return good if kind != "hit" or tries[f"{one.label_id}:{kind}"] > place else "Surely."

    held = hold_against(labelled_traces(), Judge(), sender(say))
    assert held["tries"]["accuracy"] == {"n": 96, "by_try": [96], "unscored": {}}
    assert held["tries"]["hit"] == {"n": 96, "by_try": [12, 24, 36], "unscored": {"not one JSON object": 60}}
    line = next(line for line in agreement_lines(held) if line.startswith("hit"))
    assert line.endswith("by try 1, 2, ...: 12.5 %, 25.0 %, 37.5 % of 96; 60 not one JSON object")


def test_traces_without_labels_are_asked_about_and_agree_with_nothing() -> None:
    bare = [dataclasses.replace(one, labels={}) for one in labelled_traces()[:3]]
    held = hold_against(bare, Judge(verdict_attempts=1), sender(lambda one, kind: '{"reason": "r", "hit": true}'))
    assert {kind: tries["by_try"] for kind, tries in held["tries"].items()} == {
        **{kind: [0] for kind in ("accuracy", "metacognition", "reach", "quality")},
        "hit": [3],
    }
    assert held["agreement"] == {}


def recipe(**judge: Any) -> Recipe:
    questions = Questions(path="q.jsonl")
    return Recipe(model=Model(name="tiny"), data=Data(train=questions, dev=questions), judge=Judge(**judge))


def test_the_scripted_judge_is_held_against_our_labels_over_http(tmp_path: Path) -> None:
    few = hold_judge_against_labels(recipe(base_url="embedded"), None, tmp_path, limit=12, quiet=True)
    assert (few["n_traces"], few["agreement"]["metacognition"]["n"]) == (12, 12)
    held = hold_judge_against_labels(recipe(base_url="embedded"), None, tmp_path, quiet=True)
    assert (held["judge"], held["n_unscored"]) == ("scripted", 0)
    # a rule cannot tell a name in a list from one derived, nor another form of an answer from a wrong one
    assert held["agreement"]["accuracy"]["share"] == pytest.approx(88 / 96)
    assert held["agreement"]["hit"]["share"] == pytest.approx(80 / 96)


def test_labels_of_your_own_are_read_back(tmp_path: Path) -> None:
    ours = labelled_traces()
    write_jsonl(tmp_path / "labels.jsonl", map(to_row, ours))
    assert read_labels(tmp_path / "labels.jsonl") == ours


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label_id": "a"}, 'missing field "question"'),
        ({**to_row(labelled_traces()[0]), "labels": {"hit": [1]}}, "labels.jsonl:1: a label is no text, number"),
    ],
)
def test_read_labels_refuses_what_is_no_labelled_trace(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    write_jsonl(tmp_path / "labels.jsonl", [row])
    with pytest.raises(DataError, match=message):
        read_labels(tmp_path / "labels.jsonl")


def test_no_judge_is_no_agreement(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"judge.base_url: no judge .*set it to embedded or a URL"):
        hold_judge_against_labels(recipe(), None, tmp_path, quiet=True)
