import pytest
import torch

from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.sampling import sample, stream_key, uniform


def drawn_at(temperature, **cuts):
    return Decoding(max_completion_tokens=1, temperature=temperature, **cuts)


def draw(logits, settings, seed=0):
    keys = torch.tensor([stream_key(seed, row, 0) for row in range(len(logits))])
    return sample(logits, settings, uniform(keys, torch.zeros_like(keys)))


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


def plain_uniform(key, step):
    """The independent route: splitmix64 with Python's whole numbers."""
    word = 2**64 - 1
    state = (key + (step + 1) * 0x9E3779B97F4A7C15) & word
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & word
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & word
    return (((state ^ (state >> 31)) >> 11) + 1) / 2**53


def test_uniform_is_splitmix64():
    # the published first output of the seed 0
    assert plain_uniform(0, 0) == ((0xE220A8397B1DCDAF >> 11) + 1) / 2**53
    places = [
        (stream_key(seed, prompt, 3), step) for seed in (0, -1, 2**70) for prompt in (0, 9) for step in (0, 1, 4096)
    ]
    keys, steps = (torch.tensor(column) for column in zip(*places, strict=True))
    assert uniform(keys, steps).tolist() == [plain_uniform(key, step) for key, step in places]


def test_streams_are_even_and_do_not_know_each_other():
    keys = torch.tensor([stream_key(0, prompt, sample) for prompt in range(50) for sample in range(4)])
    numbers = torch.stack([uniform(keys, torch.full_like(keys, step)) for step in range(500)], dim=1)
    assert ((numbers > 0) & (numbers <= 1)).all()
    assert abs(float(numbers.mean()) - 0.5) < 0.005
    assert torch.corrcoef(numbers)[~torch.eye(len(keys), dtype=torch.bool)].abs().max() < 0.25
    assert torch.corrcoef(torch.stack([numbers[:, :-1].flatten(), numbers[:, 1:].flatten()]))[0, 1].abs() < 0.01


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1000])
def test_sample_inverts_the_cumulative_distribution_at_any_size(size):
    logits = torch.randn(64, size, generator=torch.Generator().manual_seed(size)) * 4
    numbers = torch.cat([torch.tensor([2.0**-53, 1.0, 0.5]).double(), torch.rand(61, dtype=torch.float64)])
    found = sample(logits, drawn_at(1.0), numbers)
    ends = logits.double().softmax(-1).cumsum(-1)
    place = torch.arange(64)
    assert (ends[place, found] >= numbers - 1e-6).all()
    assert ((ends[place, found - 1] < numbers + 1e-6) | (found == 0)).all()


@pytest.mark.parametrize("number", [2.0**-53, 0.5, 1.0])
def test_sample_never_gives_a_token_without_mass(number):
    logits = torch.full((1, 700), float("-inf"))
    logits[0, [3, 300]] = 0.0
    assert int(sample(logits, drawn_at(1.0), torch.tensor([number]).double())) in (3, 300)
