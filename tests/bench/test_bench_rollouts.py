"""The figures of rollouts are those of what was written; how fast the machine is is no test."""

from pathlib import Path

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

from byte_tokenizer import byte_tokenizer

from mbt_lite.bench.rollouts import Load, measure_rollouts

ROOT = Path(__file__).parents[2]


def test_rollouts_are_counted_as_they_are_written(tmp_path: Path) -> None:
    import torch
    from tiny_student import tiny_config
    from transformers import LlamaForCausalLM

    tokenizer = byte_tokenizer((ROOT / "data_samples/demo_train.jsonl").read_text().splitlines(), 500)
    torch.manual_seed(0)
    LlamaForCausalLM(tiny_config(tokenizer)).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    said: list[str] = []
    row = measure_rollouts(Load(str(tmp_path), 5, 2, 6, 4, None), 1, said.append)
    figures = row.figures
    assert 10 <= figures["tokens"] <= 5 * 2 * 6
    assert figures["tokens_per_second"] == pytest.approx(figures["tokens"] / figures["wall"], rel=0.01)
    # 10 completions in 4 rows: full rows, then 2 of 3 or of 2
    assert 0.8 < figures["live_share"] <= 1
    assert 0 < figures["product_share"] < 1
    assert len(said) == 1
    assert "of the rows alive" in said[0]
    assert row.result.startswith("rollouts: ")
