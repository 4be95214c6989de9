"""The bytes of every token of a byte-level vocabulary, so that token ids become text by looking up and joining.

Byte-level BPE (GPT-2, and after it Llama 3, Qwen, SmolLM) writes each byte as one printable character: those of
Latin-1 as themselves, the other 68 bytes as the characters from U+0100 on. That is undone here, once per vocabulary.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

# Read back in rows of so many tokens: long enough that few calls are needed.
_READ_BACK_TOKENS = 512


@dataclasses.dataclass(frozen=True, slots=True)
class Vocabulary:
    """The bytes of each token id [V]: b"" for special tokens and for ids without a token."""

    tokens: tuple[bytes, ...]

    def join(self, ids: Sequence[int]) -> bytes:
        """Give the bytes of a row of ids; an id beyond the table is padding of the model's matrix and has none."""
        tokens = self.tokens
        try:
            return b"".join([tokens[token] for token in ids])
        except IndexError:
            return b"".join([tokens[token] for token in ids if token < len(tokens)])

    def decode(self, ids: Sequence[int]) -> str:
        """Give the text of a row of ids, as the tokenizer does: broken UTF-8 shows as U+FFFD.

        >>> Vocabulary((b"New", b" York", b"")).decode([0, 1, 2])
        'New York'
        """
        return self.join(ids).decode("utf-8", errors="replace")


def decode_without_specials(tokenizer: Any, ids: Sequence[int]) -> str:
    """Decode ids by the tokenizer itself: special tokens left out, no space moved."""
    text: str = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return text


def read_vocabulary(tokenizer: Any) -> Vocabulary | None:
    """Read a Hugging Face tokenizer's table of bytes; None if its vocabulary is not byte-level.

    Special tokens have no bytes, as when decoding with `skip_special_tokens`. Added tokens that are not special, such
    as Qwen3's `<think>`, have theirs. Whether it is byte-level is seen by reading every token back.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    special = {number for number, token in backend.get_added_tokens_decoder().items() if token.special}
    byte_of = {character: byte for byte, character in enumerate(byte_characters())}
    numbers = backend.get_vocab(with_added_tokens=True)
    tokens = [b""] * (max(numbers.values()) + 1)
    for token, number in numbers.items():
        if number not in special:
            tokens[number] = _token_bytes(token, byte_of)
    vocabulary = Vocabulary(tuple(tokens))
    return vocabulary if _reads_back(vocabulary, tokenizer) else None


def byte_characters() -> list[str]:
    """Give the character that stands for each byte [256].

    >>> "".join(byte_characters()[byte] for byte in b" York!")
    'ĠYork!'
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    hidden = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(0x100 + hidden.index(byte)) for byte in range(256)]


def _token_bytes(token: str, byte_of: dict[str, int]) -> bytes:
    """Undo the byte characters; a token with any other character, such as a space, is text itself."""
    try:
        return bytes([byte_of[character] for character in token])
    except KeyError:
        return token.encode()


def _reads_back(vocabulary: Vocabulary, tokenizer: Any) -> bool:
    ids = range(len(vocabulary.tokens))
    rows = (list(ids[start : start + _READ_BACK_TOKENS]) for start in range(0, len(ids), _READ_BACK_TOKENS))
    return all(vocabulary.decode(row) == decode_without_specials(tokenizer, row) for row in rows)
