import io
import math
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")


from mbt_lite.console import Screen
from mbt_lite.errors import ModelError
from mbt_lite.files import read_jsonl, write_jsonl
from mbt_lite.progress import time_text
from mbt_lite.training import phase_watch, training_log
from mbt_lite.training.training_log import TrainingLog


class Run:
    """Play a trainer of four steps to a log, with a clock that stands still until it is moved."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, step: int = 0, terminal: bool = False,
                 remembered: tuple[dict[str, Any], ...] = ()) -> None:  # fmt: skip
        self.now, self.tracked = 0.0, []
        monkeypatch.setattr(training_log.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(training_log, "peak_bytes", lambda: int(1.25 * 2**30))
        monkeypatch.setattr(phase_watch.memory, "held_bytes", lambda: 2**30)
        self.text = io.StringIO()
        console = Screen(file=self.text, force_terminal=terminal, width=200)
        self.log = TrainingLog(
            folder / "metrics.jsonl", "sft", "loss", console, lambda step: [f"q{step}:0", "q9:1"],
            lambda values, step: self.tracked.append((step, values)),
        )  # fmt: skip
        self.state = types.SimpleNamespace(
            global_step=step, max_steps=4, num_input_tokens_seen=0, log_history=remembered
        )
        self.path = folder / "metrics.jsonl"
        self.log.on_train_begin(None, self.state, None)

    def step(self, seconds: float, **logs: Any) -> None:
        self.log.on_step_begin(None, self.state, None)
        self.now += seconds
        self.state.global_step += 1
        self.log.on_log(None, self.state, None, logs)


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    run = Run(tmp_path, monkeypatch)
    yield run
    run.log.close()


def test_on_log_writes_speed_and_memory_beside_the_trainers_numbers(started: Run) -> None:
    started.step(2.0, loss=3.0, num_tokens=100.0)
    # saving stands between steps and does not count
    started.now += 10.0
    started.step(4.0, loss=2.0, num_tokens=300.0)
    started.log.close()
    rows = read_jsonl(started.path)
    assert rows == [
        {"step": 1, "seconds": 2.0, "loss": 3.0, "num_tokens": 100.0,
         "memory/peak_gib": 1.25, "memory/held_gib": 1.0, "speed/tokens_per_second": 50.0},
        {"step": 2, "seconds": 16.0, "loss": 2.0, "num_tokens": 300.0,
         "memory/peak_gib": 1.25, "memory/held_gib": 1.0, "speed/tokens_per_second": 50.0},
    ]  # fmt: skip
    assert started.tracked == [
        (row["step"], {key: value for key, value in row.items() if key not in ("step", "seconds")}) for row in rows
    ]


def test_on_log_prints_a_line_a_step_without_a_terminal(started: Run) -> None:
    started.step(30.0, loss=3.0, num_tokens=100.0)
    started.step(30.0, loss=0.51249, num_tokens=4000.0)
    started.log.close()
    assert started.text.getvalue().splitlines() == [
        "sft step 1/4  loss 3.000  3 tokens/s  1.2 GiB  2 min left",
        "sft step 2/4  loss 0.512  130 tokens/s  1.2 GiB  1 min left",
    ]


def test_on_log_counts_time_and_tokens_from_where_a_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": step, "loss": 1.0} for step in (1, 2, 3)])
    run = Run(tmp_path, monkeypatch, step=2)
    assert [row["step"] for row in read_jsonl(run.path)] == [1, 2]
    run.step(5.0, loss=3.0, num_tokens=100.0)
    run.log.close()
    assert run.text.getvalue() == "sft step 3/4  loss 3.000  20 tokens/s  1.2 GiB  5 s left\n"


def test_rows_that_a_damaged_file_lost_come_from_the_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_jsonl(tmp_path / "metrics.jsonl", [{"step": 2, "loss": 2.0, "seconds": 1.0}])
    remembered = (
        {"step": 1, "loss": 3.0, "grad_norm": math.inf},
        {"step": 2, "loss": 2.0},
        {"step": 2, "eval_loss": 1.5, "eval_runtime": 1.0},
    )
    run = Run(tmp_path, monkeypatch, step=2, remembered=remembered)
    run.log.close()
    assert read_jsonl(run.path) == [
        {"step": 1, "loss": 3.0}, {"step": 2, "loss": 2.0, "seconds": 1.0}, {"step": 2, "dev/loss": 1.5},
    ]  # fmt: skip
    assert run.text.getvalue() == "sft: metrics.jsonl had lost 2 rows; the checkpoint's are put in their place\n"


def test_on_log_shows_the_same_on_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, monkeypatch, terminal=True)
    run.step(5.0, loss=3.0, num_tokens=100.0)
    run.log.close()
    assert "1/4" in run.text.getvalue()
    assert "loss 3.000  20 tokens/s  1.2 GiB" in run.text.getvalue()


def test_on_log_keeps_an_evaluation_under_our_names(started: Run) -> None:
    started.step(1.0, loss=3.0, num_tokens=100.0)
    evaluation = {"eval_loss": 2.5, "eval_entropy": 1.0, "eval_runtime": 9.0, "eval_num_tokens": 100.0, "epoch": 1.0}
    started.log.on_log(None, started.state, None, evaluation)
    started.log.close()
    assert read_jsonl(started.path)[1] == {"step": 1, "seconds": 1.0, "dev/loss": 2.5, "dev/entropy": 1.0}
    assert "dev/loss 2.500" in started.text.getvalue()


@pytest.mark.parametrize(
    ("logs", "message"),
    [
        ({"loss": math.nan}, "the loss is no number (got nan, trained on q1:0, q9:1); look at these rows, or "),
        (
            {"loss": 1.0, "grad_norm": math.inf},
            "the gradient is no number (got inf, trained on q1:0, q9:1); look at these rows, or ",
        ),
        ({"eval_loss": math.nan}, "the dev loss is no number (got nan); "),
    ],
    ids=["loss", "gradient", "dev loss"],
)
def test_on_log_stops_on_what_is_no_number_and_names_the_rows(
    started: Run, logs: dict[str, float], message: str
) -> None:
    with pytest.raises(ModelError) as caught:
        started.step(1.0, **logs)
    started.log.close()
    assert str(caught.value) == f"sft step 1: {message}lower `sft.learning_rate`"
    assert read_jsonl(started.path) == []


def test_on_log_leaves_the_trainers_summary_out(started: Run) -> None:
    started.log.on_log(None, started.state, None, {"train_runtime": 1.0, "train_loss": 2.0})
    started.log.close()
    assert read_jsonl(started.path) == []


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3540, "59 min"), (7260, "2 h 1 min")]
)
def test_time_text_is_short(seconds: float, text: str) -> None:
    assert time_text(seconds) == text


def scaled(run: Run) -> None:
    """Train in float16: the trainer has a loss scaler."""
    run.log.accelerator = types.SimpleNamespace(scaler=types.SimpleNamespace(get_scale=lambda: 1024.0))


def test_steps_that_the_loss_scaler_skips_are_told_and_no_error(started: Run) -> None:
    scaled(started)
    started.step(1.0, loss=3.0, grad_norm=math.inf)
    started.step(1.0, loss=3.0, grad_norm=0.5)
    started.log.close()
    skipped, taken = read_jsonl(started.path)
    assert (skipped["loss_scale/skipped"], taken["loss_scale/skipped"]) == (1.0, 0.0)
    assert "grad_norm" not in skipped
    assert taken["grad_norm"] == 0.5
    assert {skipped["loss_scale/scale"], taken["loss_scale/scale"]} == {1024.0}


def test_a_loss_scaler_that_skips_every_step_is_an_error(started: Run) -> None:
    scaled(started)
    for _ in range(training_log.MOST_SKIPPED):
        started.step(1.0, loss=3.0, grad_norm=math.nan)
    with pytest.raises(ModelError, match="the gradient is no number"):
        started.step(1.0, loss=3.0, grad_norm=math.nan)
    started.log.close()


def test_a_loss_that_is_no_number_is_an_error_in_float16_too(started: Run) -> None:
    scaled(started)
    with pytest.raises(ModelError, match="the loss is no number"):
        started.step(1.0, loss=math.nan, grad_norm=math.nan)
    started.log.close()


def test_warn_says_and_keeps_what_the_watch_noticed(started: Run) -> None:
    started.log.warn(phase_watch.Noticed(3, "memory/held_gib", 2.0, 1.0, "memory grows"))
    assert started.text.getvalue() == "sft step 3: memory grows\n"
    (row,) = read_jsonl(started.path.with_name("warnings.jsonl"))
    assert row == {"step": 3, "name": "memory/held_gib", "value": 2.0, "limit": 1.0, "side": "above",
                   "meaning": "memory grows"}  # fmt: skip
