"""Words as 64-bit hashes: what the vectorised form and the kernel compare instead of texts.

A word's UTF-8 bytes are read eight at a time as little-endian numbers, the last one filled up with zeros, and mixed in
one after the other: `hash = mix(hash ^ eight_bytes)`, starting from 0. `mix` is the finalizer of splitmix64 (Steele,
Lea, Flood 2014), a bijection. A sequence of words is `Σ hash_i · SEQUENCE_BASE^(n-1-i)` modulo 2^64.

Collisions: words of at most eight bytes have none, as `mix` is a bijection and no word holds a NUL byte. Two longer
words, or two sequences that differ in more than one word, agree with a chance of about 2^-64, taking `mix` for random;
so a row of n words holds one with a chance below n²/2^64: 10^-12 at 4,096 words. Sequences that differ in one word
never agree where the word's hashes differ, because SEQUENCE_BASE is odd.
"""

from __future__ import annotations

import string
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mbt_lite.text.normalize import normalize

Hashes = NDArray[np.uint64]

MIX_SHIFTS = (30, 27, 31)
MIX_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SEQUENCE_BASE = 0x9E3779B97F4A7C15
LANE_BYTES = 8
ARTICLES = ("a", "an", "the")

_WHITE = "\t\n\v\f\r\x1c\x1d\x1e\x1f"
# Control characters are no white space and no part of a word for the law; they become NUL, which `fold` looks for.
_CONTROL = "".join(chr(code) for code in (*range(32), 127) if chr(code) not in _WHITE)
_FOLD = str.maketrans(_WHITE + _CONTROL, " " * len(_WHITE) + "\0" * len(_CONTROL), string.punctuation)
_LANE_MASKS = np.array([(1 << 8 * count) - 1 for count in range(LANE_BYTES + 1)], dtype=np.uint64)


def fold(text: str) -> bytes:
    """Give the words of a text between spaces, in lower case and without punctuation; articles may still be there.

    Plain ASCII takes three passes in C. Where word boundaries are less plain, the law's own function does it all.
    """
    if text.isascii():
        folded = text.lower().translate(_FOLD)
        if "\0" not in folded:
            return folded.encode()
    # a gold read from JSON may hold half a surrogate pair
    return normalize(text).encode("utf-8", "surrogatepass")


def hash_words(texts: Sequence[bytes]) -> tuple[Hashes, NDArray[np.int64]]:
    """Hash the words of folded texts, articles dropped; give the hashes [W] and how many each text has [N].

    No text may hold a NUL byte.
    """
    joined = b" ".join(texts)
    # A space before the first word and after the last; the zeros let every lane be read whole.
    buffer = np.frombuffer(b" " + joined + b" " + b"\0" * LANE_BYTES, dtype=np.uint8)
    is_space = buffer[: len(joined) + 2] == ord(" ")
    edges = np.flatnonzero(is_space[1:] != is_space[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    hashes = _hash_spans(buffer, starts, ends - starts)
    kept = np.logical_and.reduce([hashes != article for article in _ARTICLE_HASHES])
    text_ends = np.cumsum([len(text) + 1 for text in texts]) + 1
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    through_text = kept_before[np.searchsorted(starts, text_ends)]
    return hashes[kept], np.diff(through_text, prepend=0)


def extend_sequence(hashes: Hashes, next_hashes: Hashes) -> Hashes:
    """Give the hashes of sequences that are one word longer."""
    return hashes * np.uint64(SEQUENCE_BASE) + next_hashes


def mix(hashes: Hashes) -> Hashes:
    """Scramble 64 bits, one to one."""
    for shift, factor in zip(MIX_SHIFTS, MIX_FACTORS, strict=False):
        hashes = (hashes ^ (hashes >> np.uint64(shift))) * np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(MIX_SHIFTS[-1]))


def _hash_spans(buffer: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    """Hash spans of a buffer that goes on for eight bytes after the last; each span is a word."""
    lanes = np.ndarray(len(buffer) - LANE_BYTES + 1, dtype="<u8", buffer=buffer, strides=(1,))
    hashes = np.zeros(len(starts), dtype=np.uint64)
    words = np.arange(len(starts))
    while len(words):
        lane = lanes[starts[words]] & _LANE_MASKS[np.minimum(lengths[words], LANE_BYTES)]
        hashes[words] = mix(hashes[words] ^ lane)
        longer = lengths[words] > LANE_BYTES
        words = words[longer]
        starts, lengths = starts + LANE_BYTES, lengths - LANE_BYTES
    return hashes


_ARTICLE_HASHES = mix(np.array([int.from_bytes(word.encode(), "little") for word in ARTICLES], dtype=np.uint64))
