import io
import math

import pytest

pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")

from transformers import TrainerControl, TrainerState

from mbt_lite.console import Screen
from mbt_lite.errors import ModelError
from mbt_lite.files import read_jsonl, write_jsonl
from mbt_lite.methods.law import Law
from mbt_lite.methods.method import Rule
from mbt_lite.training.grpo_watch import WARN_AFTER, Watch, WatchCallback

ENTROPY = Rule("entropy", 0.05, 0.5, below="alike", above="noise")
HEALTHY = {
    "reward/answer": 0.4, "reward_std": 0.3, "zero_variance_share": 0.3, "stop_rate": 0.95,
    "completions/mean_length": 120.0, "entropy": 0.2, "grad_norm": 0.1,
}  # fmt: skip


def warned_at(values, rule=ENTROPY):
    watch = Watch([rule])
    rows = [{"step": step, rule.name: value} for step, value in enumerate(values, 1)]
    return [warning["step"] for row in rows for warning in watch.see(row)]


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ([0.01] * 2, []),
        ([0.01] * 7, [3]),
        ([0.01, 0.01, 0.2, 0.01, 0.01], []),
        ([0.01, 0.01, 0.01, 0.2, 0.9, 0.9, 0.9], [3, 7]),
        ([0.01, 0.01, 0.9, 0.01, 0.01], []),
        ([0.05, 0.5] * 3, []),
    ],
    ids=["too short", "once per episode", "interrupted", "a second episode", "changing sides", "the ends are inside"],
)
def test_watch_warns_once_an_episode(values, steps):
    assert WARN_AFTER == 3
    assert warned_at(values) == steps


def test_watch_waits_for_the_first_step_of_a_rule():
    assert warned_at([0.0] * 25, Rule("reward/answer", 0.15, math.inf, below="rare", from_step=20)) == [22]


def test_watch_leaves_a_missing_figure_and_one_that_is_no_number_alone():
    watch = Watch([ENTROPY])
    rows = [{"entropy": 0.01}, {"entropy": 0.01}, {}, {"entropy": math.nan}, {"entropy": 0.01}]
    assert [len(watch.see({"step": step, **row})) for step, row in enumerate(rows, 1)] == [0, 0, 0, 0, 1]


def test_every_rule_watches_a_figure_and_says_what_to_turn():
    table = Law({}, 160).healthy_ranges()
    assert {rule.name for rule in table} == HEALTHY.keys()
    for rule in table:
        assert rule.side(HEALTHY[rule.name]) is None
        for side, value in (("below", rule.low - 1e-6), ("above", rule.high + 1e-6)):
            # a share cannot leave 0..1, and an open range has no end
            if math.isfinite(value) and not (rule.name.endswith(("share", "rate")) and not 0 <= value <= 1):
                assert rule.side(value) == side
                assert "; " in getattr(rule, side), rule


class Run:
    """A run of steps as the trainer would make it, with metrics.jsonl written before the watch sees a step."""

    def __init__(self, folder, stop_after=None, step=0):
        self.said, self.folder = io.StringIO(), folder
        self.watch = WatchCallback(folder, Law({}, 160).healthy_ranges(), stop_after, Screen(file=self.said, width=500))
        self.state, self.control = TrainerState(global_step=step), TrainerControl()
        self.watch.on_train_begin(None, self.state, self.control)

    def log(self, **figures):
        self.state.global_step += 1
        row = {"step": self.state.global_step, **HEALTHY, **figures}
        metrics = self.folder / "metrics.jsonl"
        write_jsonl(metrics, [*read_jsonl(metrics), row])
        self.watch.on_log(None, self.state, self.control, logs={key: row[key] for key in row if key != "step"})


def test_watch_callback_says_and_keeps_each_warning(tmp_path):
    run = Run(tmp_path)
    for _ in range(4):
        run.log(entropy=0.02)
    assert run.said.getvalue() == (
        "grpo step 3: entropy is 0.02, below 0.05 for 3 steps: "
        "the rollouts of a group are nearly alike; raise grpo.temperature or grpo.clip_high\n"
    )
    (row,) = read_jsonl(tmp_path / "warnings.jsonl")
    assert (row["step"], row["name"], row["value"], row["limit"], row["side"]) == (3, "entropy", 0.02, 0.05, "below")


def test_watch_callback_goes_on_counting_after_a_resume(tmp_path):
    first = Run(tmp_path)
    for _ in range(3):
        first.log(entropy=0.02)
    # back to the checkpoint of step 2: the warning of step 3 is made again, once
    write_jsonl(tmp_path / "metrics.jsonl", read_jsonl(tmp_path / "metrics.jsonl")[:2])
    again = Run(tmp_path, step=2)
    assert read_jsonl(tmp_path / "warnings.jsonl") == []
    again.log(entropy=0.02)
    again.log(entropy=0.02)
    assert [row["step"] for row in read_jsonl(tmp_path / "warnings.jsonl")] == [3]


def test_watch_callback_stops_after_dead_steps_in_a_row(tmp_path):
    run = Run(tmp_path, stop_after=2)
    for share in (0.5, 1.0, 0.5, 1.0):
        run.log(zero_variance_share=share)
    assert not run.control.should_training_stop
    run.log(zero_variance_share=1.0)
    assert run.control.should_training_stop
    assert run.control.should_save
    assert run.watch.stopped == "all rewards of each group were equal for 2 steps (got to step 5)"
    assert "grpo: stopped, all rewards" in run.said.getvalue()


def test_watch_callback_counts_dead_steps_of_before_a_resume(tmp_path):
    first = Run(tmp_path, stop_after=3)
    for share in (0.0, 1.0, 1.0):
        first.log(zero_variance_share=share)
    again = Run(tmp_path, stop_after=3, step=3)
    again.log(zero_variance_share=1.0)
    assert again.control.should_training_stop


def test_watch_callback_refuses_a_run_of_dead_steps_only(tmp_path):
    run = Run(tmp_path, stop_after=2)
    run.log(zero_variance_share=1.0)
    with pytest.raises(ModelError, match=r"for 2 steps \(got to step 2\), and no step taught anything; set grpo.pref"):
        run.log(zero_variance_share=1.0)


def test_watch_callback_without_a_limit_goes_on(tmp_path):
    run = Run(tmp_path)
    for _ in range(20):
        run.log(zero_variance_share=1.0)
    assert not run.control.should_training_stop
