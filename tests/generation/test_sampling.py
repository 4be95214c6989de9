import pytest
import torch

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.sampling import sample


def drawn_at(temperature, **cuts):
    return Decoding(max_completion_tokens=1, temperature=temperature, **cuts)


def draw(logits, settings, seed=0):
    return sample(logits, settings, torch.Generator().manual_seed(seed))


def test_sample_temperature_zero_is_argmax():
    assert draw(torch.tensor([[0.0, 3.0, 1.0], [5.0, 0.0, 1.0]]), drawn_at(0.0)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (drawn_at(1.0), [0.5, 0.3, 0.15, 0.05]),
        (drawn_at(1.0, top_k=2), [0.625, 0.375, 0, 0]),
        (drawn_at(1.0, top_p=0.7), [0.625, 0.375, 0, 0]),
        (drawn_at(1.0, top_p=0.01), [1, 0, 0, 0]),
        (
            drawn_at(0.5),
            [0.25 / 0.365, 0.09 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365],
        ),
    ],
    ids=["plain", "top-k", "nucleus", "nucleus keeps the first", "temperature squares"],
)
def test_sample_frequencies_follow_the_distribution(settings, expected):
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    counts = torch.bincount(draw(logits, settings), minlength=4) / 20_000
    assert torch.allclose(counts, torch.tensor(expected, dtype=torch.float32), atol=0.015)
    assert not counts[torch.tensor(expected) == 0].any()
