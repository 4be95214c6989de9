"""Words as 64-bit hashes: what the kernel compares instead of texts.

A word's UTF-8 bytes are read eight at a time as little-endian numbers, the last one filled up with zeros, and mixed in
one after the other: `hash = mix(hash ^ eight_bytes)`, starting from 0. `mix` is the finalizer of splitmix64 (Steele,
Lea, Flood 2014), a bijection. A sequence of words is `Σ hash_i · SEQUENCE_BASE^(n-1-i)` modulo 2^64.

Collisions: words of at most eight bytes have none, as `mix` is a bijection and no word holds a NUL byte. Two longer
words, or two sequences that differ in more than one word, agree with a chance of about 2^-64, taking `mix` for random;
so a row of n words holds one with a chance below n²/2^64: 10^-12 at 4,096 words. Sequences that differ in one word
never agree where the word's hashes differ, because SEQUENCE_BASE is odd.
"""

from __future__ import annotations

MIX_SHIFTS = (30, 27, 31)
MIX_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
SEQUENCE_BASE = 0x9E3779B97F4A7C15
LANE_BYTES = 8
_MASK = (1 << 64) - 1


def hash_word(word: str) -> int:
    """Hash a normalised word; the kernel does the same on the device (kernel_words.py)."""
    # a gold read from JSON may hold half a surrogate pair
    data, value = word.encode("utf-8", "surrogatepass"), 0
    for start in range(0, len(data), LANE_BYTES):
        value = mix(value ^ int.from_bytes(data[start : start + LANE_BYTES], "little"))
    return value


def mix(value: int) -> int:
    """Scramble 64 bits, one to one."""
    for shift, factor in zip(MIX_SHIFTS, MIX_FACTORS, strict=False):
        value = (value ^ value >> shift) * factor & _MASK
    return value ^ value >> MIX_SHIFTS[-1]
