import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from agreement import BEYOND_ASCII, PROSE, TAGS
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.rewards.word_hashes import MIX_FACTORS, MIX_SHIFTS, extend_sequence, fold, hash_words
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
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_hash_words_gives_the_hashes_of_the_laws_words(texts: list[str]) -> None:
    hashes, counts = hash_words([fold(text) for text in texts])
    wanted = [words(text) for text in texts]
    assert counts.tolist() == [len(found) for found in wanted]
    assert hashes.tolist() == [plain_hash(word) for found in wanted for word in found]


def test_hash_of_one_short_word_is_the_finalizer_of_splitmix64() -> None:
    # splitmix64 seeded with 0 gives this first number for the state 0x9e3779b97f4a7c15
    word = (0x9E3779B97F4A7C15).to_bytes(8, "little")
    from mbt_lite.rewards.word_hashes import mix

    assert mix(np.frombuffer(word, np.uint64)).tolist() == [0xE220A8397B1DCDAF]


def test_fold_takes_a_lone_surrogate_as_json_may_bring_it() -> None:
    assert fold("New \ud800York") == b"new \xed\xa0\x80york"


def test_extend_sequence_tells_order_apart() -> None:
    hashes, _ = hash_words([b"new york"])
    one, other = hashes[:1], hashes[1:]
    assert extend_sequence(one, other) != extend_sequence(other, one)
    assert extend_sequence(np.zeros(1, np.uint64), one) == one


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
    hashes, counts = hash_words([fold(text) for text in texts])
    assert len(set(hashes.tolist())) == len({word for found in listed for word in found})
    ngrams = {tuple(found[start : start + 4]) for found in listed for start in range(len(found) - 3)}
    hashed = set()
    for row in np.split(hashes, np.cumsum(counts)[:-1]):
        value = row[: len(row) - 3]
        for offset in range(1, 4):
            value = extend_sequence(value, row[offset : len(row) - 3 + offset])
        hashed.update(value.tolist() if len(row) > 3 else [])
    assert len(hashed) == len(ngrams)
    return len(hashes)


def test_no_two_words_or_4_grams_of_our_samples_collide() -> None:
    assert assert_no_collision(corpus((ROOT / "data_samples").glob("*.jsonl"))) > 10_000


def test_no_two_words_or_4_grams_of_real_benchmarks_collide(shared_data: Path) -> None:
    files = [*shared_data.glob("*.jsonl"), *shared_data.glob("*.json")]
    assert assert_no_collision(corpus(files)) > 500_000


@pytest.mark.parametrize("length", [1, 7, 8])
def test_words_of_eight_bytes_and_less_never_collide(length: int) -> None:
    made = [f"{number:x}".rjust(length, "z")[-length:] for number in range(4096)]
    hashes, _ = hash_words([" ".join(sorted(set(made))).encode()])
    assert len(set(hashes.tolist())) == len(set(made) - {"a"})
