"""Packed rows attend to themselves and to their shared prompt alone: logits are those of each row by itself."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config, Qwen3ForCausalLM

from mbt_lite.generation.shared_prefix import is_supported
from mbt_lite.training import packed_attention
from mbt_lite.training.batches import join_rows
from mbt_lite.training.packed_attention import end_to_end

ROWS = [[5, 6, 7], [9], [20, 21, 22, 23, 24, 25], [8, 8]]
QWEN3 = Qwen3Config(
    vocab_size=320, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, head_dim=16, initializer_range=0.3,
)  # fmt: skip


@pytest.fixture(params=["Llama", "Qwen3"])
def model(request, student):
    return student.model if request.param == "Llama" else Qwen3ForCausalLM(QWEN3).eval()


def alone(model, row):
    with torch.no_grad():
        return model(input_ids=torch.tensor([row]), use_cache=False).logits[0]


def logits_of(model, rows):
    """Give each row's logits when all stand end to end."""
    batch = join_rows([{"input_ids": row, "labels": row} for row in rows])
    lengths = batch["row_lengths"].tolist()
    packed = packed_attention.PackedSequence(batch["input_ids"], batch["position_ids"], end_to_end(lengths))
    packed_attention.enable(model)
    with torch.no_grad():
        return model(**packed.forward_arguments()).logits[0].split(lengths)


def test_rows_end_to_end_have_the_logits_of_each_alone(model):
    assert is_supported(model)
    expected = [alone(model, row) for row in ROWS]
    for found, wanted in zip(logits_of(model, ROWS), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_rows_do_not_feel_their_neighbours(model):
    before = logits_of(model, ROWS)
    after = logits_of(model, [[30, 31, 32], ROWS[1], [40] * 6, ROWS[3]])
    assert torch.equal(before[1], after[1])
    assert torch.equal(before[3], after[3])
    assert not torch.equal(before[0], after[0])


def test_continuations_of_a_prompt_have_the_logits_of_separate_rows(model):
    """The training rows of a question, as one continuation after another, and rows without a shared part."""
    prompt = [5, 6, 7, 8, 9, 10]
    groups = [(prompt, [[40, 41], [42, 43, 44]]), ([60, 61, 62], []), ([], [[70, 71]])]
    first, second, *others = (
        alone(model, row) for row in ([*prompt, 40, 41], [*prompt, 42, 43, 44], [60, 61, 62], [70, 71])
    )
    packed_attention.enable(model)
    with torch.no_grad():
        found = model(**packed_attention.pack(groups, torch.device("cpu")).forward_arguments()).logits[0]
    torch.testing.assert_close(found, torch.cat([first, second[len(prompt) :], *others]), rtol=1e-4, atol=1e-5)


def test_a_batch_without_a_layout_goes_on_as_before(model):
    ids, mask = torch.tensor([[0, 5, 6, 7], [8, 9, 10, 11]]), torch.tensor([[0, 1, 1, 1], [1, 1, 1, 1]])
    with torch.no_grad():
        before = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
        packed_attention.enable(model)
        after = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(after, before)


def test_end_to_end_is_what_pack_makes_of_rows_alone():
    packed = packed_attention.pack([(row, []) for row in ROWS], torch.device("cpu"))
    assert packed.layout == end_to_end([len(row) for row in ROWS])
    batch = join_rows([{"input_ids": row, "labels": row} for row in ROWS])
    assert torch.equal(packed.position_ids, batch["position_ids"])


@pytest.mark.parametrize("kind", ["gemma3_text", "mistral", "phi3"])
def test_is_supported_refuses_sliding_windows(kind):
    sizes = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=6, head_dim=8, num_attention_heads=4)
    config = AutoConfig.for_model(kind, vocab_size=64, num_key_value_heads=2, sliding_window=4, pad_token_id=0, **sizes)
    assert not is_supported(AutoModelForCausalLM.from_config(config))
    if kind != "gemma3_text":
        config.sliding_window = None
        assert is_supported(AutoModelForCausalLM.from_config(config))
