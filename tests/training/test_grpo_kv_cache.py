import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from transformers import LlamaConfig, Qwen3Config

from mbt_lite.architecture.storage import prompt_slots
from mbt_lite.errors import ModelError
from mbt_lite.generation import row_slots
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import complete
from mbt_lite.generation.kv_cache import GIB, batches, bytes_per_token, rows_at_once
from mbt_lite.generation.shared_prefix import SlotCache

QWEN3_4B = Qwen3Config(
    hidden_size=2560, num_hidden_layers=36, num_attention_heads=32, num_key_value_heads=8, head_dim=128
)


@pytest.mark.parametrize(
    ("config", "dtype", "expected"),
    [
        (QWEN3_4B, torch.bfloat16, 147_456),
        # SmolLM2-135M has no head size of its own: 576 / 9
        (
            LlamaConfig(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3),
            torch.float32,
            2 * 30 * 3 * 64 * 4,
        ),
    ],
    ids=["Qwen3-4B", "SmolLM2-135M"],
)
def test_bytes_per_token_of_known_models(config, dtype, expected):
    assert bytes_per_token(config, dtype) == expected


@pytest.mark.parametrize(("batch_size", "rows"), [(3, 3), (64, 8)])
def test_the_slots_hold_what_is_counted(student, monkeypatch, batch_size, rows):
    """The independent route: count the numbers in the tensors of a real cache; a limit of just that is kept."""
    held = []

    class Counted(SlotCache):
        def mask_columns(self):
            held.append(sum(t.numel() for one in self.slot_layers for t in
                            (one.prompt_keys, one.prompt_values, one.keys, one.values)))  # fmt: skip
            super().mask_columns()

    monkeypatch.setattr(row_slots.shared_prefix, "SlotCache", Counted)
    cached = rows * 6 + 2 * 3
    per_token = bytes_per_token(student.model.config, torch.float32)
    limit = (8 * 6 + prompt_slots(8, 4) * 3 + 0.5) * per_token / GIB
    decoding = Decoding(samples=4, max_completion_tokens=6, batch_size=batch_size, cache_gib=limit)
    assert len(list(complete(student, [[5, 6, 7], [8]], decoding))) == 8
    assert max(held) * 4 == cached * per_token


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        # 2 samples of 10 after 10: 8 rows take 80 tokens and 8 prompts of 10; 4 rows 40 and 4; 3 rows 30 and 3
        (None, 8),
        (160, 8),
        (159, 7),
        (80, 4),
        (20, 1),
    ],
)
def test_rows_at_once_keep_the_limit_to_the_token(limit, expected):
    assert rows_at_once(10, 2, 10, most=8, max_cached_tokens=limit) == expected


def test_rows_at_once_refuse_a_limit_under_one_completion():
    with pytest.raises(ModelError, match=r"a completion of 10 tokens after .* of 10 .*got room for 19 tokens\); raise"):
        rows_at_once(10, 2, 10, most=8, max_cached_tokens=19)


def runs(lengths, **settings):
    defaults = {"batch_size": 8, "max_cached_tokens": None}
    return [list(run) for run in batches(lengths, 2, 10, **(defaults | settings))]


def test_batches_hold_at_most_batch_size_completions():
    assert runs([1, 2, 3, 4, 5, 6]) == [[0, 1, 2, 3], [4, 5]]
    assert runs([1, 2], batch_size=1) == [[0], [1]], "one prompt's completions at least"


@pytest.mark.parametrize(
    ("limit", "expected"), [(120, [[0, 1, 2], [3]]), (119, [[0, 1], [2, 3]]), (40, [[0], [1], [2], [3]])]
)
def test_batches_keep_the_limit_to_the_token(limit, expected):
    # a prompt of 10 takes 2·(10 + 10) = 40 tokens
    assert runs([10, 10, 10, 10], max_cached_tokens=limit) == expected


def test_batches_count_each_prompt_as_long_as_the_longest_of_its_run():
    # together 2·2·(30 + 10) = 160 tokens: the short prompt is padded
    assert runs([5, 30], max_cached_tokens=160) == [[0, 1]]
    assert runs([5, 30], max_cached_tokens=159) == [[0], [1]]


def test_batches_refuse_a_prompt_that_is_over_the_limit_alone():
    with pytest.raises(ModelError, match=r"after a prompt of 10 do not fit .* \(got room for 29 tokens\); raise"):
        runs([10], max_cached_tokens=29)
