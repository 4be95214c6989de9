import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from agreement import BEYOND_ASCII, PROSE, TAGS
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.rewards.word_hashes import MIX_FACTORS, MIX_SHIFTS, SEQUENCE_BASE, hash_word, mix
from mbt_lite.text.normalize import words

ROOT = Path(__file__).parents[2]
PIECES = st.lists(st.sampled_from((*PROSE, *TAGS, *BEYOND_ASCII, "Σ", "İ")), max_size=30).map("".join)
TEXTS = PIECES | st.text(max_size=40).filter(lambda text: "\0" not in text)


def plain_hash(word: str) -> int:
    """The definition, one number at a time."""
    data, value = word.encode("utf-8", "surrogatepass"), 0
    for start in range(0, len(data), 8):
        value ^= int.from_bytes(data[start : start + 8], "little")
        for shift, factor in zip(MIX_SHIFTS, MIX_FACTORS, strict=False):
            value = (value ^ value >> shift) * factor % 2**64
        value ^= value >> MIX_SHIFTS[2]
    return value


@settings(deadline=None, max_examples=300)
@given(TEXTS)
def test_hash_word_is_the_definition(text: str) -> None:
    assert [hash_word(word) for word in words(text)] == [plain_hash(word) for word in words(text)]


def test_hash_of_one_short_word_is_the_finalizer_of_splitmix64() -> None:
    # splitmix64 seeded with 0 gives this first number for the state 0x9e3779b97f4a7c15
    assert mix(0x9E3779B97F4A7C15) == 0xE220A8397B1DCDAF


def test_hash_word_takes_a_lone_surrogate_as_json_may_bring_it() -> None:
    assert hash_word("\ud800york") == plain_hash("\ud800york")


def sequence_hash(hashes: Iterable[int]) -> int:
    """The definition of the module, as the kernel extends it."""
    value = 0
    for one in hashes:
        value = (value * SEQUENCE_BASE + one) % 2**64
    return value


def test_sequences_tell_order_apart() -> None:
    one, other = hash_word("new"), hash_word("york")
    assert sequence_hash([one, other]) != sequence_hash([other, one])
    assert sequence_hash([0, one]) == one


def strings(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from strings(list(value.values()))
    elif isinstance(value, list):
        for part in value:
            yield from strings(part)


def corpus(files: Iterable[Path]) -> list[str]:
    found = []
    for file in files:
        content = file.read_text(encoding="utf-8")
        rows = [json.loads(line) for line in content.splitlines()] if file.suffix == ".jsonl" else json.loads(content)
        found.extend(strings(rows))
    return found


def assert_no_collision(texts: list[str]) -> int:
    """Compare how many words and 4-grams there are with how many hashes they have; give the number of words."""
    listed = [words(text) for text in texts]
    known = {word: hash_word(word) for found in listed for word in found}
    assert len(set(known.values())) == len(known)
    ngrams = {tuple(found[start : start + 4]) for found in listed for start in range(len(found) - 3)}
    assert len({sequence_hash(known[word] for word in ngram) for ngram in ngrams}) == len(ngrams)
    return sum(map(len, listed))


def test_no_two_words_or_4_grams_of_our_samples_collide() -> None:
    assert assert_no_collision(corpus((ROOT / "data_samples").glob("*.jsonl"))) > 10_000


def test_no_two_words_or_4_grams_of_real_benchmarks_collide(shared_data: Path) -> None:
    files = [*shared_data.glob("*.jsonl"), *shared_data.glob("*.json")]
    assert assert_no_collision(corpus(files)) > 500_000


@pytest.mark.parametrize("length", [1, 7, 8])
def test_words_of_eight_bytes_and_less_never_collide(length: int) -> None:
    made = [f"{number:x}".rjust(length, "z")[-length:] for number in range(4096)]
    assert len({hash_word(word) for word in made}) == len(set(made))
