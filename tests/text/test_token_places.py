"""Which tokens wrote a piece of a text, against the bytes of each token."""

import random
from typing import Any

import pytest
from rewards import agreement

from mbt_lite.rewards.vocabulary import decode_without_specials, read_vocabulary
from mbt_lite.text.token_places import token_places

TEXTS = (
    "<think>\nPlan:\nStep 1: who -> A\n\nStep 1: who -> Frank Fisher [90]\n</think>",
    "Step 1: who -> Éva Tekezé–Ørn 北京 🤔 -> x\nStep 2: 🤔🤔ß",
    "é",
    "a\u0301 e\u0301 don't  1950-1953\t\n",
)


def by_bytes(ids: list[int], tokens: tuple[bytes, ...], text: str, start: int, end: int) -> list[int]:
    """Tell it by byte offsets: the independent route."""
    first, beyond = (len(text[:place].encode()) for place in (start, end))
    found, at = [], 0
    for place, token in enumerate(ids):
        if at < beyond and at + len(tokens[token]) > first and tokens[token]:
            found.append(place)
        at += len(tokens[token])
    return found


@pytest.mark.parametrize("name", agreement.TOKENIZERS)
def test_token_places_are_those_whose_bytes_lie_in_the_piece(name: str) -> None:
    pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    try:
        tokenizer = agreement.load(name)
    except agreement.MissingTokenizerError as error:
        pytest.skip(str(error))
    vocabulary = read_vocabulary(tokenizer)
    assert vocabulary is not None
    special, dice = tokenizer.eos_token_id, random.Random(0)

    def decode(ids: Any) -> str:
        return decode_without_specials(tokenizer, ids)

    for text in TEXTS:
        ids = tokenizer.encode(text, add_special_tokens=False)
        # in other pieces than the tokenizer would cut, with special tokens in between and at the end
        bytewise = [one for character in text for one in tokenizer.encode(character, add_special_tokens=False)]
        for row in (ids, [*ids, special], bytewise, [one for token in ids for one in (token, special)]):
            # some tokenizers compose characters
            written = decode(row)
            assert len(written) >= len(text) - 2
            for _ in range(12):
                start = dice.randrange(len(written))
                end = dice.randint(start + 1, len(written))
                expected = by_bytes(row, vocabulary.tokens, written, start, end)
                assert token_places(row, decode, start, end) == expected, (written[start:end], row)


def test_token_places_of_broken_bytes() -> None:
    def decode(ids: Any) -> str:
        return bytes(ids).decode("utf-8", errors="replace")

    # half of é, then a whole one, then an end in the middle of one
    ids = [0xC3, 0x61, 0xC3, 0xA9, 0x62, 0xE2, 0x82]
    assert decode(ids) == "\ufffdaéb\ufffd"
    found = [token_places(ids, decode, place, place + 1) for place in range(5)]
    # of a character that is never finished, the one that began it
    assert found == [[0], [1], [2, 3], [4], [5]]
