"""Rows end to end attend to themselves alone: a row's logits do not depend on its neighbours."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from transformers import Gemma3ForCausalLM, Gemma3TextConfig, Qwen3Config, Qwen3ForCausalLM

from mbt_lite.model.batches import join_rows
from mbt_lite.model.row_attention import is_supported, within_rows

ROWS = [[5, 6, 7], [9], [20, 21, 22, 23, 24, 25], [8, 8]]


def logits_of(model, rows):
    """Give each row's logits when all stand end to end."""
    batch = join_rows([{"input_ids": row, "labels": row} for row in rows])
    lengths = batch.pop("row_lengths").tolist()
    batch.pop("labels")
    with torch.no_grad(), within_rows(model.config):
        return model(**batch, row_lengths=lengths, use_cache=False).logits[0].split(lengths)


def alone(model, row):
    with torch.no_grad():
        return model(input_ids=torch.tensor([row]), use_cache=False).logits[0]


def test_rows_end_to_end_have_the_logits_of_each_alone(student):
    for found, row in zip(logits_of(student.model, ROWS), ROWS, strict=True):
        torch.testing.assert_close(found, alone(student.model, row), rtol=1e-4, atol=1e-5)


def test_rows_do_not_feel_their_neighbours(student):
    before = logits_of(student.model, ROWS)
    after = logits_of(student.model, [[30, 31, 32], ROWS[1], [40] * 6, ROWS[3]])
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[3], after[3])
    assert not torch.equal(before[0], after[0])


def test_rows_work_for_qwen3():
    config = Qwen3Config(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, head_dim=8,
                         num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    model = Qwen3ForCausalLM(config).eval()
    assert is_supported(model)
    for found, row in zip(logits_of(model, ROWS), ROWS, strict=True):
        torch.testing.assert_close(found, alone(model, row), rtol=1e-4, atol=1e-5)


def test_within_rows_gives_the_old_attention_back(student):
    before = student.model.config._attn_implementation
    with pytest.raises(KeyError), within_rows(student.model.config):
        raise KeyError
    assert student.model.config._attn_implementation == before


def test_is_supported_refuses_sliding_windows():
    config = Gemma3TextConfig(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=6, head_dim=8,
                              num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    assert not is_supported(Gemma3ForCausalLM(config))
