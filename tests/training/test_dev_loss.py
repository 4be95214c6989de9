import types
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from hypothesis import given
from hypothesis import strategies as st

from mbt_lite.errors import RunError
from mbt_lite.files import Journal
from mbt_lite.records import Trace
from mbt_lite.student.adapters import copy_adapter
from mbt_lite.training.dev_loss import BestAdapter, dev_losses, hold_out, lowest


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


class Evaluations:
    """Play a trainer that measures a dev loss every five steps."""

    def __init__(self, folder: Path, patience: int | None, *, step: int = 0, leads: bool = True) -> None:
        self.saved: list[int] = []
        self.state = types.SimpleNamespace(global_step=step, is_world_process_zero=leads)
        self.path = folder / "metrics.jsonl"
        self.callback = BestAdapter(self.path, lambda: self.saved.append(self.state.global_step), patience)
        self.callback.on_train_begin(None, self.state, None)

    def measure(self, loss: float) -> tuple[bool, bool]:
        """Give whether the run stops, and whether a checkpoint that is due is written."""
        self.state.global_step += 5
        control = types.SimpleNamespace(should_training_stop=False, should_save=True)
        self.callback.on_log(None, self.state, control, {"eval_loss": loss})
        with Journal(self.path) as journal:
            journal.append({"step": self.state.global_step, "dev/loss": loss})
        return control.should_training_stop, control.should_save


def test_best_adapter_keeps_the_lowest_and_stops_when_patience_is_used_up(tmp_path: Path) -> None:
    run = Evaluations(tmp_path, patience=2)
    # 2.0 again is no new lowest; no checkpoint where it stops: a resumed run would go a step further
    assert [run.measure(loss) for loss in (3.0, 2.0, 2.5, 2.0)] == [(False, True)] * 3 + [(True, False)]
    assert [run.measure(loss) for loss in (1.9, 2.1, 2.2)] == [(False, True)] * 2 + [(True, False)]
    assert run.saved == [5, 10, 25]
    assert lowest(dev_losses(run.path)) == (25, 1.9)


def test_best_adapter_without_patience_never_stops(tmp_path: Path) -> None:
    run = Evaluations(tmp_path, patience=None)
    assert [run.measure(loss) for loss in (1.0, 2.0, 3.0, 4.0, 5.0)] == [(False, True)] * 5
    assert run.saved == [5]


def test_best_adapter_of_a_resumed_run_knows_what_was_measured_up_to_the_checkpoint(tmp_path: Path) -> None:
    first = Evaluations(tmp_path, patience=3)
    for loss in (1.0, 2.0, 0.5):
        first.measure(loss)
    # 0.5 was measured after the checkpoint, and will be again
    second = Evaluations(tmp_path, patience=3, step=10)
    assert second.measure(0.5) == (False, True)
    assert second.saved == [15]
    third = Evaluations(tmp_path, patience=2, step=10)
    assert third.measure(1.5) == (True, False)
    assert third.saved == []


def test_best_adapter_is_saved_by_one_of_several_processes(tmp_path: Path) -> None:
    run = Evaluations(tmp_path, patience=1, leads=False)
    assert [run.measure(loss) for loss in (1.0, 2.0)] == [(False, True), (True, False)]
    assert run.saved == []


def test_best_adapter_looks_at_dev_losses_only(tmp_path: Path) -> None:
    BestAdapter(tmp_path / "metrics.jsonl", pytest.fail, 1).on_log(None, None, None, {"loss": 1.0})


def test_copy_adapter_replaces_the_target_whole(tmp_path: Path) -> None:
    for name, file in (("best", "new"), ("adapter", "old")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text(file)
    copy_adapter(tmp_path / "best", tmp_path / "adapter")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["adapter", "best", "new", "new"]
