"""Both trainers do the same work, and every second of a step has its phase; how long it takes is no test."""

import dataclasses
from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import byte_tokenizer

from mbt_lite.bench import grpo_step
from mbt_lite.bench.grpo import PHASES, Load, summarise

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tiny_student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("tiny")
    tokenizer = byte_tokenizer((ROOT / "data_samples/demo_train.jsonl").read_text().splitlines(), 500)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["ours", "stock"])
def test_run_gives_the_phases_of_a_step_of_equal_completions(kind: str, tiny_student: Path) -> None:
    load = Load(str(tiny_student), 2, 2, 5, 2, 2, None)
    figures = grpo_step.run(kind, dataclasses.asdict(load))
    assert figures["completion_tokens"] == 2 * 2 * 5
    assert all(figures[phase] > 0 for phase in PHASES)
    assert figures["step"] == pytest.approx(sum(figures[phase] for phase in PHASES))
    assert figures["peak_gib"] > 0
    # two prompts a step, each at least as long as its documents and its question
    assert figures["prompt_tokens"] > 2 * 100


def run_of(step: float, reward: float) -> dict[str, float]:
    phases = {"rollout": step / 2, "reward": reward, "update": step / 4, "optimizer": 0.1}
    return {"step": step, **phases, "peak_gib": 1.5, "completion_tokens": 20.0, "prompt_tokens": 240.0}


def test_summarise_takes_the_median_of_the_pairs() -> None:
    load = Load("m", 2, 2, 5, 2, 2, None)
    ours, stock = [run_of(1.0, 0.01), run_of(4.0, 0.02), run_of(3.0, 0.3)], [run_of(2.0, 0.1) for _ in range(3)]
    row = summarise(load, {"ours": ours, "stock": stock})
    assert (row.figures["ratio"], row.figures["ratios"]) == (1.5, [0.5, 2.0, 1.5])
    assert row.figures["reward_share"] == 0.01
    assert row.figures["prompt_tokens"] == 240.0
    assert row.figures["seconds"]["ours"]["step"] == 3.0
    assert row.result.startswith("grpo step: 3.0 s, stock TRL 2.0 s (ratio 1.50, median of 3 pairs); peak 1.5 and 1.5")
