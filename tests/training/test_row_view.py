import io

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.console import Screen
from mbt_lite.training.row_view import MAX_CHARACTERS, shorten, show_row, stretches_of
from mbt_lite.training.rows import Row


def row_of(tokenizer, untrained: str, trained: str) -> Row:
    ids = [tokenizer(text)["input_ids"] for text in (untrained, trained)]
    return Row("q1:0", (*ids[0], *ids[1]), (*([0] * len(ids[0])), *([1] * len(ids[1]))))


def printed(row: Row, tokenizer, *, terminal: bool) -> str:
    console = Screen(
        file=io.StringIO(), force_terminal=terminal, width=80, color_system="standard", legacy_windows=False
    )
    show_row(row, tokenizer, console)
    return console.file.getvalue()


def test_show_row_names_each_stretch_on_a_line_of_its_own(tokenizer) -> None:
    row = row_of(tokenizer, "<|im_start|>user\n[bold]about[/]", "we think<|im_end|>")
    first, untrained, trained = printed(row, tokenizer, terminal=False).splitlines()
    counts = [row.completion_mask.count(mask) for mask in (0, 1)]
    assert first == f"sft: first row, trace q1:0, tokens: {counts[0]} no loss + {counts[1]} trained"
    assert untrained == "  no loss: '<|im_start|>user\\n[bold]about[/]'"
    assert trained == "  trained: 'we think<|im_end|>'"


def test_show_row_colours_by_mask_on_a_terminal(tokenizer) -> None:
    text = printed(row_of(tokenizer, "about", "we think<|im_end|>"), tokenizer, terminal=True)
    assert "\x1b[2mabout\x1b[0m\x1b[1;32mwe think<|im_end|>\x1b[0m" in text


def test_stretches_of_follow_the_mask_wherever_it_changes(tokenizer) -> None:
    ids = [tokenizer.convert_tokens_to_ids(letter) for letter in "abc"]
    assert stretches_of(Row("q", tuple(ids), (1, 0, 0)), tokenizer) == [(1, "a", 1), (0, "bc", 2)]


def test_shorten_keeps_both_ends_of_a_long_text() -> None:
    text = "a" * 700 + "z" * 700
    short = shorten(text)
    assert short == "a" * 300 + " [... 800 characters ...] " + "z" * 300
    assert shorten(text[:MAX_CHARACTERS]) == text[:MAX_CHARACTERS]
