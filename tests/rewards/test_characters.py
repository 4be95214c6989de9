"""The table against the law's own normalisation, character by character."""

import json
from pathlib import Path

import pytest

from mbt_lite.rewards.characters import (
    CHARACTERS,
    DROPPED,
    KIND_SHIFT,
    LAW,
    LENGTH_SHIFT,
    OTHER,
    SPACE,
    WORD,
    character_table,
)
from mbt_lite.text.normalize import normalize

# Every character of the first scripts, and a sample of the others.
CODES = [*range(0x3000), *range(0x3001, CHARACTERS, 7)]


def read(code: int) -> tuple[int, str]:
    entry = int(character_table()[code])
    length = entry >> LENGTH_SHIFT & 15
    return entry >> KIND_SHIFT, (entry & 0xFFFFFFFF).to_bytes(4, "little")[:length].decode()


def test_character_table_says_what_normalisation_does() -> None:
    for code in CODES:
        kind, folded = read(code)
        character = chr(code)
        if kind == LAW:
            continue
        between = {DROPPED: "", SPACE: " "}.get(kind, folded)
        assert normalize(f"x{character}y") == f"x{between}y", hex(code)
        # an article ends where a character that is no word character begins
        beside = {DROPPED: "", SPACE: "", WORD: f"{folded}a", OTHER: folded}[kind]
        assert normalize(f"{character}a") == beside, hex(code)


def test_character_table_leaves_few_characters_to_the_law() -> None:
    left = [code for code in range(CHARACTERS) if read(code)[0] == LAW]
    surrogates = set(range(0xD800, 0xE000))
    assert surrogates < set(left)
    # NUL, two letters and a dotted i that get longer in lower case, capital sigma
    assert sorted(set(left) - surrogates) == [0x0, 0x130, 0x23A, 0x23E, 0x3A3]


@pytest.mark.parametrize(
    ("character", "kind", "folded"),
    [
        ("A", WORD, "a"),
        ("_", DROPPED, ""),
        ("\n", SPACE, " "),
        ("\x1f", SPACE, " "),
        ("–", OTHER, "–"),
        ("É", WORD, "é"),
    ],
)
def test_character_table_by_hand(character: str, kind: int, folded: str) -> None:
    assert read(ord(character)) == (kind, folded)


def needs_law(text: str) -> bool:
    return any(ord(character) >= CHARACTERS or read(ord(character))[0] == LAW for character in set(text))


def test_few_real_rows_are_left_to_the_law(shared_data: Path) -> None:
    rows = []
    for file in sorted(shared_data.glob("*_*.json*")):
        content = file.read_text(encoding="utf-8")
        if not file.name.startswith(("official_scorer", "real_teacher")):
            rows += list(map(json.loads, content.splitlines())) if file.suffix == ".jsonl" else json.loads(content)
    golds = ["\n".join([row["answer"], *row.get("answer_aliases", [])]) for row in rows]
    everything = [json.dumps(row, ensure_ascii=False) for row in rows]
    assert len(rows) >= 700
    # 44 of them are not ASCII
    assert sum(map(needs_law, golds)) == 0
    # even a trace that quoted every document of its question: nine in ten of them hold more than ASCII
    assert sum(not text.isascii() for text in everything) > 0.7 * len(rows)
    assert sum(map(needs_law, everything)) <= 0.01 * len(rows)
