"""The SFT benchmark: how runs become figures, and one small pair of runs from end to end."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from byte_tokenizer import byte_tokenizer

from mbt_lite.bench.measurement import read_measurements
from mbt_lite.bench.sft import Run, Trainer, compared, medians, sentence
from mbt_lite.bench.uneven_traces import uneven_traces
from mbt_lite.text.completion import ANSWER_CLOSE, THINK_CLOSE

ROOT = Path(__file__).parents[2]


def make_run(trainer: Trainer, seconds: float, memory_mib: float, losses: tuple[float, ...]) -> Run:
    return Run(trainer, 4, 1000, seconds, seconds * 2, memory_mib, losses, 2)


OURS = [
    make_run("mbt-lite", 2.0, 100.0, (3.0, 2.0, 1.0, 0.5)),
    make_run("mbt-lite", 1.0, 120.0, (3.0, 2.0, 1.0, 0.7)),
    make_run("mbt-lite", 5.0, 90.0, (3.0, 2.0, 1.0, 0.6)),
]
STOCK = [make_run("trl", 4.0, 200.0, (3.0, 2.0, 1.0, 0.5))]


def test_medians_of_runs_are_those_of_their_rates() -> None:
    figures = medians(OURS)
    assert figures.tokens_per_second == 500.0
    assert figures.tokens_per_cpu_second == 250.0
    assert figures.memory_mib == 100.0
    assert figures.mean_loss == pytest.approx(6.6 / 4)
    # one step of four
    assert figures.last_quarter_loss == 0.6


def test_compared_divides_ours_by_stock() -> None:
    assert compared(medians(OURS), medians(STOCK)) == {
        "tokens_per_second_ratio": 2.0,
        "tokens_per_cpu_second_ratio": 2.0,
        "memory_mib_ratio": 0.5,
        "mean_loss_ratio": pytest.approx(6.6 / 6.5, abs=1e-4),
        "last_quarter_loss_ratio": 1.2,
    }


def test_sentence_says_who_is_who() -> None:
    said = sentence(medians(OURS), medians(STOCK), OURS[0], pairs=3)
    assert said.startswith("2.00 times the tokens/s of stock TRL (500 and 250; by CPU time 2.00 times)")
    assert "peak over the loaded model 100 and 200 MiB, loss of the last quarter 0.6000 and 0.5000" in said


def test_uneven_traces_differ_in_length_and_are_the_same_each_time() -> None:
    traces = uneven_traces(30, seed=3)
    assert traces == uneven_traces(30, seed=3)
    assert len({trace.trace_id for trace in traces}) == 30
    assert all(trace.scripted and trace.text for trace in traces)
    completions = [trace.completion[0]["content"] for trace in traces]
    assert all(text.count(THINK_CLOSE) == 1 and text.endswith(ANSWER_CLOSE) for text in completions)
    lengths = sorted(len(trace.prompt[-1]["content"]) for trace in traces)
    assert lengths[-1] > 1.5 * lengths[0]


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe whose student is tiny, computes in float32 and has no 4-bit weights: nothing is rounded."""
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = byte_tokenizer((ROOT / "data_samples/demo_train.jsonl").read_text().splitlines()[:50], 600)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "student")
    tokenizer.save_pretrained(tmp_path / "student")
    sections = {
        "model": {"name": str(tmp_path / "student"), "quantization": "none", "dtype": "float32"},
        "data": {"train": {"path": "train.jsonl"}, "dev": {"path": "dev.jsonl"}},
        "sft": {"micro_batch_size": 2, "gradient_accumulation_steps": 2, "learning_rate": 1e-2},
    }
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(sections))
    return path


@pytest.mark.slow
def test_bench_sft_compares_runs_on_the_same_rows(recipe: Path, tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl"
    options = ["--rows", "10", "--runs", "1", "--append", str(file)]
    command = [sys.executable, "-m", "mbt_lite", "bench", "sft", str(recipe), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    [row] = read_measurements(file)
    assert done.stdout.splitlines()[-1] == f"sft: {row.result}; appended to {file}"
    assert (row.settings["rows"], row.settings["traces"], row.settings["sft"]["micro_batch_size"]) == (10, "made", 2)
    ours, stock = row.figures["runs"]
    assert (ours["trainer"], stock["trainer"]) == ("mbt-lite", "trl")
    assert ours["tokens"] == stock["tokens"] == row.settings["tokens"] > 10 * 200
    # three steps, the last of two rows; the adapters of a stock run in float32 stay float32
    assert len(ours["losses"]) == 3
    assert ours["losses"] == pytest.approx(stock["losses"], rel=1e-3)
    assert ours["losses"][-1] < ours["losses"][0]
    assert min(run[key] for run in (ours, stock) for key in ("seconds", "cpu_seconds", "memory_mib")) > 0
