import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from transformers import LlamaConfig, Qwen3Config

from mbt_lite.errors import ModelError
from mbt_lite.generation import generate as generation
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import complete_batch, generate
from mbt_lite.generation.kv_cache import GIB, batches, bytes_per_token, cached_tokens
from mbt_lite.generation.shared_prefix import SharedPrefixCache

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


def test_cached_tokens_are_what_the_cache_of_a_batch_holds(student, monkeypatch):
    """The independent route: count the numbers in the tensors of a real batch."""
    held = []

    class Counted(SharedPrefixCache):
        def start_decoding(self, samples):
            super().start_decoding(samples)
            for layer in self.shared_layers:
                held.extend(t.numel() for t in (layer.prompt_keys, layer.prompt_values, layer.keys, layer.values))

    monkeypatch.setattr(generation.shared_prefix, "SharedPrefixCache", Counted)
    complete_batch(student, [[5, 6, 7], [8]], Decoding(samples=4, max_completion_tokens=6), torch.Generator())
    tokens = cached_tokens(2, 3, 4, 6, shared=True)
    assert sum(held) * 4 == tokens * bytes_per_token(student.model.config, torch.float32)


def runs(lengths, **settings):
    defaults = {"batch_size": 8, "shared": True, "max_cached_tokens": None}
    return [list(run) for run in batches(lengths, 2, 10, **(defaults | settings))]


def test_batches_hold_at_most_batch_size_completions():
    assert runs([1, 2, 3, 4, 5, 6]) == [[0, 1, 2, 3], [4, 5]]
    assert runs([1, 2], batch_size=1) == [[0], [1]], "one prompt's completions at least"


@pytest.mark.parametrize(
    ("shared", "limit", "expected"),
    [
        # a prompt of 10 takes 10 + 2·10 = 30 tokens shared, 2·(10 + 10) = 40 not shared
        (True, 90, [[0, 1, 2], [3]]),
        (True, 89, [[0, 1], [2, 3]]),
        (True, 30, [[0], [1], [2], [3]]),
        (False, 120, [[0, 1, 2], [3]]),
        (False, 119, [[0, 1], [2, 3]]),
    ],
)
def test_batches_keep_the_limit_to_the_token(shared, limit, expected):
    assert runs([10, 10, 10, 10], shared=shared, max_cached_tokens=limit) == expected


def test_batches_count_each_prompt_as_long_as_the_longest_of_its_run():
    # together 2·(30 + 20) = 100 tokens: the short prompt is padded
    assert runs([5, 30], max_cached_tokens=100) == [[0, 1]]
    assert runs([5, 30], max_cached_tokens=99) == [[0], [1]]


def test_batches_refuse_a_prompt_that_is_over_the_limit_alone():
    with pytest.raises(ModelError, match=r"after a prompt of 10 do not fit .* \(got room for 29 tokens\); raise"):
        runs([10], max_cached_tokens=29)


def test_generate_obeys_the_limit_in_gib(student, monkeypatch):
    sizes = []

    def counted(student, prompts, *rest):
        sizes.append(len(prompts))
        return complete_batch(student, prompts, *rest)

    monkeypatch.setattr(generation, "complete_batch", counted)
    prompts = [[{"role": "user", "content": "we"}]] * 4
    settings = dict(samples=2, temperature=1.0, top_p=1.0, top_k=0, max_completion_tokens=4, batch_size=8, seed=0)
    first = next(generate(student, prompts, Decoding(**settings)))
    two = cached_tokens(2, first.prompt_tokens, 2, 4, shared=True)
    limit = two * bytes_per_token(student.model.config, torch.float32) / GIB
    assert len(list(generate(student, prompts, Decoding(cache_gib=limit, **settings)))) == 8
    assert sizes == [4, 2, 2]
