"""Parameter counts: against the numbers the model cards state, and against transformers' own classes."""

import pytest

from mbt_lite.architecture.families import HUB_IDS, KNOWN, known_architecture
from mbt_lite.architecture.numbers import Architecture

# The counts that the weights on the hub have.
PUBLISHED = {
    "smollm2-135m": 134_515_008,
    "smollm2-360m": 361_821_120,
    "smollm2-1.7b": 1_711_376_384,
    "qwen3-0.6b": 596_049_920,
    "qwen3-1.7b": 1_720_574_976,
    "qwen3-4b": 4_022_468_096,
    "qwen3-8b": 8_190_735_360,
    "qwen3-14b": 14_768_307_200,
    "qwen2.5-0.5b": 494_032_768,
    "qwen2.5-1.5b": 1_543_714_304,
    "qwen2.5-3b": 3_085_938_688,
    "qwen2.5-7b": 7_615_616_512,
    "qwen2.5-14b": 14_770_033_664,
    "llama-3.2-1b": 1_235_814_400,
    "llama-3.2-3b": 3_212_749_824,
    "llama-3.1-8b": 8_030_261_248,
    "gemma-3-1b": 999_885_952,
    "gemma-3-4b": 3_880_263_168,
}
TINY = Architecture("llama", 2, 8, 12, 4, 2, 2, 10, True)


@pytest.mark.parametrize("name", KNOWN)
def test_parameters_are_those_of_the_published_weights(name: str) -> None:
    assert KNOWN[name].parameters == PUBLISHED[name]


def test_parameters_of_a_tiny_model_by_hand() -> None:
    # a layer: q 64, k and v 32 each, o 64, gate, up and down 96 each, two norms of 8
    layer = 64 + 32 + 32 + 64 + 3 * 96 + 16
    assert TINY.parameters == 80 + 2 * layer + 8


def test_lora_parameters_by_hand() -> None:
    # in + out: q 16, k 12, v 12, o 16, gate 20, up 20, down 20
    assert TINY.lora_parameters(3) == 2 * 3 * 116


def test_lora_of_qwen3_4b_at_rank_32() -> None:
    assert KNOWN["qwen3-4b"].lora_parameters(32) == 66_060_288


def test_known_architecture_takes_every_way_of_naming() -> None:
    assert known_architecture("embedded:smollm2-135m") is KNOWN["smollm2-135m"]
    assert known_architecture("random:qwen3-4b") is KNOWN["qwen3-4b"]
    assert known_architecture("Qwen/Qwen3-4B") is KNOWN["qwen3-4b"]


@pytest.mark.parametrize("name", ["random:qwen3-5b", "Qwen/Qwen3-4B-AWQ", "qwen3-4b", "somewhere/else"])
def test_known_architecture_never_guesses(name: str) -> None:
    assert known_architecture(name) is None


def test_every_hub_id_belongs_to_one_architecture() -> None:
    listed = [name for ids in HUB_IDS.values() for name in ids]
    assert len(set(listed)) == len(listed)
    assert set(HUB_IDS) <= set(KNOWN)
