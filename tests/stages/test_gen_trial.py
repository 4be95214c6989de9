"""The trial of gen: few traces first, no more where too few of them pass; another gate asks nobody again."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gen_lab import make_recipe, run, stand_in
from teacher_server import Answer, Body, completion, teacher_server

from mbt_lite.endpoint import client
from mbt_lite.errors import DataError, RunError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.scripted.writer import write_reply

Spoil = Callable[[str, str], str]


@pytest.fixture(autouse=True)
def no_student(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)


def kind_of(body: Body) -> str:
    """Say what a request asks for."""
    opening = body["messages"][-1]["content"].partition("\n")[0]
    kinds = {"Task: write a solution guide.": "guide", "Task: write a monologue.": "trace"}
    return "trace" if opening.startswith("Task: rewrite") else kinds.get(opening, "draft")


def writer(spoil: Spoil) -> Callable[[int, Body], Answer]:
    """Answer as the scripted teacher does, spoiled by what was asked for."""

    def answer(_: int, body: Body) -> Answer:
        asked = [message["content"] for message in body["messages"] if message["role"] == "user"]
        return completion(spoil(kind_of(body), write_reply(asked, body["seed"])))

    return answer


def no_trace(kind: str, text: str) -> str:
    return text if kind == "guide" else "I think it is so."


def make(folder: Path, url: str, kind: str, questions: int = 40, **gen: Any) -> Any:
    teacher = {"base_url": url, "model": "m"}
    return make_recipe(folder, kind, questions, gen=gen, teacher=teacher)


# requests until the stop, by what they ask for; the first draft of the student is cut off
COSTS = {
    "mbt_s": {"trace": 16},
    "mbt_r": {"guide": 16, "trace": 16},
    "distill_r": {"guide": 16, "trace": 16},
    "direct_r": {"draft": 16, "guide": 16, "trace": 16},
    "teacher_distill": {"draft": 16},
}


@pytest.mark.parametrize("attempts", [1, 3])
@pytest.mark.parametrize("kind", COSTS)
def test_a_teacher_whose_traces_never_pass_costs_the_trial_alone(tmp_path: Path, kind: str, attempts: int) -> None:
    with teacher_server(writer(no_trace)) as server:
        recipe = make(tmp_path, server.url, kind, attempts=attempts)
        with pytest.raises(DataError, match=r"0 of the first 16 traces passed the gate \(rejected: ") as caught:
            run(recipe, tmp_path / "run")
        assert Counter(map(kind_of, server.bodies)) == COSTS[kind]
        # the same command again costs nothing more
        with pytest.raises(DataError):
            run(recipe, tmp_path / "run")
        assert len(server.bodies) == sum(COSTS[kind].values())
    assert "gen.min_acceptance is 0.3" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(read_jsonl(tmp_path / "run/gen/rejected.jsonl")) == 16
    assert not (tmp_path / "run/gen/done.json").exists()


def test_drafts_of_the_teacher_that_are_all_cut_off_end_in_the_trial(tmp_path: Path) -> None:
    with teacher_server(completion("We", finish_reason="length")) as server:
        with pytest.raises(DataError, match=r"rejected: cut off 16\).* and raise gen.max_completion_tokens"):
            run(make(tmp_path, server.url, "direct_r"), tmp_path / "run")
        assert len(server.bodies) == 16


def test_the_trial_names_the_cure_of_the_commonest_reason(tmp_path: Path) -> None:
    with (
        teacher_server(writer(lambda kind, text: "UNSUPPORTED: no document says so.")) as server,
        pytest.raises(DataError, match=r"unsupported 16.*check that the documents of data.train hold"),
    ):
        run(make(tmp_path, server.url, "mbt_s"), tmp_path / "run")


@pytest.mark.parametrize(("least", "asked"), [(0.3, 40), (0.5, 40), (0.51, 16)])
def test_the_trial_goes_on_where_enough_pass(tmp_path: Path, least: float, asked: int) -> None:
    seen: dict[str, int] = {}

    def every_second(kind: str, text: str) -> str:
        number = seen.setdefault(text, len(seen))
        return text if number % 2 else "No."

    with teacher_server(writer(every_second)) as server:
        recipe = make_recipe(
            tmp_path, "mbt_s", 40, gen={"min_acceptance": least}, teacher={"base_url": server.url, "concurrency": 1}
        )
        if asked == 16:
            with pytest.raises(DataError, match="8 of the first 16"):
                run(recipe, tmp_path / "run")
        else:
            assert "8 of the first 16 traces passed the gate" in run(recipe, tmp_path / "run")
            assert len(read_jsonl(tmp_path / "run/gen/traces.jsonl")) == 20
        assert len(server.bodies) == asked


def test_no_trial_where_none_is_asked_for_or_it_would_be_the_whole(tmp_path: Path) -> None:
    with teacher_server(writer(lambda kind, text: text)) as server:
        assert "of the first" not in run(make(tmp_path, server.url, "mbt_s", 20, trial_traces=0), tmp_path / "none")
        assert "of the first" not in run(make(tmp_path, server.url, "mbt_s", 16), tmp_path / "whole")
        assert "16 of the first 16" in run(make(tmp_path, server.url, "mbt_s", 17), tmp_path / "more")


def test_what_is_unsupported_is_kept_counted_and_never_tried_again(tmp_path: Path) -> None:
    def decline(kind: str, text: str) -> str:
        return "UNSUPPORTED: another Atlanta." if "Document 1" in text and kind == "trace" else text

    with teacher_server(writer(decline)) as server:
        out = run(make(tmp_path, server.url, "mbt_s", 12, attempts=3, min_acceptance=0.0), tmp_path / "run")
        rejected = read_jsonl(tmp_path / "run/gen/rejected.jsonl")
        assert {(row["reason"], row["retried"]) for row in rejected} == {("unsupported", False)}
        assert len(server.bodies) == 12
    assert {row["text"] for row in rejected} == {"UNSUPPORTED: another Atlanta."}
    share = f"{len(rejected) / 12:.0%}"
    assert any("unsupported" in line and share in line for line in out.splitlines())
    assert read_json(tmp_path / "run/gen/done.json")["summary"]["rejected"] == {"unsupported": len(rejected)}


def test_a_guide_that_declines_saves_the_trace(tmp_path: Path) -> None:
    with teacher_server(writer(lambda kind, text: "UNSUPPORTED: a bay." if kind == "guide" else text)) as server:
        with pytest.raises(DataError, match="unsupported"):
            run(make(tmp_path, server.url, "mbt_r", 5), tmp_path / "run")
        assert Counter(map(kind_of, server.bodies)) == {"guide": 4}
    assert [row["text"] for row in read_jsonl(tmp_path / "run/gen/rejected.jsonl")] == ["UNSUPPORTED: a bay."] * 4


def test_markdown_is_taken_off_and_counted(tmp_path: Path) -> None:
    with teacher_server(writer(lambda kind, text: text.replace("[plan]\n", "[plan]\n- **Then:** "))) as server:
        out = run(make(tmp_path, server.url, "mbt_s", 6), tmp_path / "run")
    traces = read_jsonl(tmp_path / "run/gen/traces.jsonl")
    assert all("Then: " in row["text"] and "*" not in row["text"] for row in traces)
    assert "taken off accepted traces: bold 6, list 6" in out
    assert read_json(tmp_path / "run/gen/done.json")["summary"]["taken_off"] == {"bold": 6, "list": 6}


def three_phases(kind: str, text: str) -> str:
    return text.replace("[plan]\n", "").replace("[correct]\n", "") if kind == "trace" else text


def test_another_gate_passes_the_stored_replies_and_asks_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with teacher_server(writer(three_phases)) as server:
        strict = make(tmp_path, server.url, "mbt_s", 6, min_acceptance=0.0)
        with pytest.raises(DataError, match="no trace was accepted"):
            run(strict, tmp_path / "run")
        loose = make(tmp_path, server.url, "mbt_s", 6, min_phases=3)
        run(loose, tmp_path / "run")
        assert len(server.bodies) == 6
    traces = read_jsonl(tmp_path / "run/gen/traces.jsonl")
    assert len(traces) == 6
    assert "done already" in run(loose, tmp_path / "run")
    # done, then another gate: again nobody is asked
    monkeypatch.setattr(client, "_open_client", lambda *_: pytest.fail("a request was about to be sent"))
    with pytest.raises(DataError, match="no trace was accepted"):
        run(strict, tmp_path / "run")
    run(loose, tmp_path / "run")
    assert read_jsonl(tmp_path / "run/gen/traces.jsonl") == traces


def test_other_questions_under_the_same_ids_are_refused(tmp_path: Path) -> None:
    with teacher_server(writer(lambda kind, text: text)) as server:
        recipe = make(tmp_path, server.url, "mbt_r", 6, min_acceptance=0.0)
        run(recipe, tmp_path / "run")
        (tmp_path / "run/gen/done.json").unlink()
        train = tmp_path / "train.jsonl"
        train.write_text(train.read_text().replace("Where", "When"))
        with pytest.raises(RunError, match=r"train.jsonl changed since gen began"):
            run(recipe, tmp_path / "run")
