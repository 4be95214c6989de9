import types
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.errors import RunError
from mbt_lite.model.dev_loss import BestAdapter, copy_adapter, dev_losses, hold_out, lowest
from mbt_lite.records import Trace
from mbt_lite.run_dir import Journal


def trace(question: str, index: int) -> Trace:
    return Trace(
        trace_id=f"{question}:{index}", question_id=question, kind="mbt_s", rollout_index=None, trace_index=index,
        teacher="test", scripted=True, prompt_version="0", text="we think", answer="x", prompt=(), completion=(),
    )  # fmt: skip


TRACES = [trace(f"q{number}", index) for number in range(6) for index in range(number % 3 + 1)]


def test_hold_out_of_nothing_trains_on_all() -> None:
    assert hold_out(TRACES, 0, 5) == (TRACES, [])


@given(st.integers(1, 8), st.integers(0, 50))
def test_hold_out_keeps_questions_whole_and_the_order(count: int, seed: int) -> None:
    train, held = hold_out(TRACES, count, seed)
    assert sorted(train + held, key=TRACES.index) == TRACES
    assert train == sorted(train, key=TRACES.index)
    assert not {one.question_id for one in train} & {one.question_id for one in held}
    # at least as many as asked, and no question more than that takes
    assert count <= len(held) < count + 3
    assert (train, held) == hold_out(TRACES, count, seed)


def test_hold_out_depends_on_the_seed() -> None:
    assert len({tuple(one.trace_id for one in hold_out(TRACES, 2, seed)[1]) for seed in range(20)}) > 3


def test_hold_out_refuses_to_leave_nothing() -> None:
    with pytest.raises(RunError, match=r"nothing is left to train of 12 traces \(got 12\)"):
        hold_out(TRACES, len(TRACES), 0)


def evaluations(folder: Path, losses: list[float], patience: int | None) -> tuple[list[int], list[bool], list[bool]]:
    """Play a trainer that measures these dev losses: give the steps saved, and after each one whether to stop, save."""
    saved: list[int] = []
    state = types.SimpleNamespace(global_step=0)
    callback = BestAdapter(folder / "metrics.jsonl", lambda: saved.append(state.global_step), patience)
    stops, saves = [], []
    with Journal(folder / "metrics.jsonl") as journal:
        for number, loss in enumerate(losses, 1):
            state.global_step = number * 5
            control = types.SimpleNamespace(should_training_stop=False, should_save=True)
            callback.on_log(None, state, control, {"eval_loss": loss})
            journal.append({"step": state.global_step, "dev/loss": loss})
            stops.append(control.should_training_stop)
            saves.append(control.should_save)
    return saved, stops, saves


def test_best_adapter_keeps_the_lowest_and_stops_when_patience_is_used_up(tmp_path: Path) -> None:
    saved, stops, saves = evaluations(tmp_path, [3.0, 2.0, 2.5, 2.0, 1.9, 2.1, 2.2], patience=2)
    assert saved == [5, 10, 25]
    # 2.0 again is no new lowest: two in a row after step 10
    assert stops == [False, False, False, True, False, False, True]
    # no checkpoint where it stops: a resumed run would go one step further
    assert saves == [not stop for stop in stops]
    assert lowest(dev_losses(tmp_path / "metrics.jsonl")) == (25, 1.9)


def test_best_adapter_without_patience_never_stops(tmp_path: Path) -> None:
    saved, stops, _ = evaluations(tmp_path, [1.0, 2.0, 3.0, 4.0, 5.0], patience=None)
    assert saved == [5]
    assert not any(stops)


def test_best_adapter_of_a_resumed_run_knows_what_was_measured_before(tmp_path: Path) -> None:
    evaluations(tmp_path, [1.0, 2.0], patience=3)
    saved: list[int] = []
    callback = BestAdapter(tmp_path / "metrics.jsonl", lambda: saved.append(15), 2)
    control = types.SimpleNamespace(should_training_stop=False, should_save=True)
    callback.on_log(None, types.SimpleNamespace(global_step=15), control, {"eval_loss": 1.5})
    assert saved == []
    assert control.should_training_stop


def test_best_adapter_looks_at_dev_losses_only(tmp_path: Path) -> None:
    BestAdapter(tmp_path / "metrics.jsonl", pytest.fail, 1).on_log(None, None, None, {"loss": 1.0})


def test_copy_adapter_replaces_the_target_whole(tmp_path: Path) -> None:
    for name, file in (("best", "new"), ("adapter", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(file)
    copy_adapter(tmp_path / "best", tmp_path / "adapter")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["adapter", "best", "new", "new"]
