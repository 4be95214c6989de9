"""The precision of a card and the road of its attention, by compute capability: no such card is here."""

from typing import Any

import pytest

torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from transformers.integrations import sdpa_attention  # noqa: E402

from mbt_lite.errors import ModelError  # noqa: E402
from mbt_lite.student import grouped_attention  # noqa: E402
from mbt_lite.student.loading import choose_dtype  # noqa: E402
from mbt_lite.training.trainer_settings import common_settings  # noqa: E402

CARDS = {
    "GTX 1080 Ti": ((6, 1), torch.float32, False),
    "V100": ((7, 0), torch.float16, False),
    "T4": ((7, 5), torch.float16, False),
    "RTX 3090": ((8, 6), torch.bfloat16, True),
    "H200": ((9, 0), torch.bfloat16, True),
    "RTX 5090": ((12, 0), torch.bfloat16, True),
}


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(capability: tuple[int, int]) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: capability)
        monkeypatch.setattr(sdpa_attention, "use_gqa_in_sdpa", sdpa_attention.use_gqa_in_sdpa)

    return put


@pytest.mark.parametrize("name", CARDS)
def test_auto_takes_what_the_card_multiplies(name: str, card: Any) -> None:
    capability, dtype, _ = CARDS[name]
    card(capability)
    assert choose_dtype("auto") == dtype
    assert choose_dtype("float32") == torch.float32
    assert choose_dtype("float16") == torch.float16


def test_float16_needs_a_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ModelError, match=r"model.dtype: float16 is for cards \(got no CUDA device\)"):
        choose_dtype("float16")
    assert choose_dtype("auto") in (torch.bfloat16, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_float16_alone_is_trained_with_a_scaled_loss(dtype: torch.dtype, card: Any) -> None:
    card((7, 5))
    for backend in ("transformers", "unsloth"):
        told = common_settings(dtype, backend)  # type: ignore[arg-type]
        assert told["fp16"] is (dtype == torch.float16)
        # elsewhere no autocast is needed, and unsloth would switch one on
        assert told["bf16"] is (dtype == torch.bfloat16 and backend == "unsloth")


@pytest.mark.parametrize("name", CARDS)
def test_keys_are_repeated_where_grouped_keys_have_no_kernel(name: str, card: Any) -> None:
    capability, dtype, grouped = CARDS[name]
    card(capability)
    key = torch.zeros(1, 2, 5, 8)
    assert grouped_attention.repeat_keys(dtype) is not grouped
    assert sdpa_attention.use_gqa_in_sdpa(None, key, key) is grouped
    assert grouped_attention.repeat_keys(torch.float32) is True
    assert sdpa_attention.use_gqa_in_sdpa(None, key, key) is False


def test_repeated_keys_give_the_same_attention(card: Any) -> None:
    class Module(torch.nn.Module):
        num_key_value_groups, is_causal = 3, True

    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(2, heads, 7, 8, generator=generator) for heads in (6, 2, 2))
    grouped, _ = sdpa_attention.sdpa_attention_forward(Module(), query, key, value, None)
    card((7, 5))
    grouped_attention.repeat_keys(torch.float16)
    repeated, _ = sdpa_attention.sdpa_attention_forward(Module(), query, key, value, None)
    assert torch.allclose(grouped, repeated, atol=1e-6)
