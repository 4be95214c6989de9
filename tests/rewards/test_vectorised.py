"""The vectorised form against the law: every term equal to the bit, on whatever a model may write."""

import dataclasses
import random
from typing import Any

import pytest
from agreement import BEYOND_ASCII, CHEATS, FOR_THE_LAW, LIMITS, PROSE, TAGS, TOKENIZERS, mismatches, random_batch
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.rewards import law
from mbt_lite.rewards.counts import Counts, to_terms
from mbt_lite.rewards.vectorised import count

PIECES = st.sampled_from((*PROSE, *TAGS, *BEYOND_ASCII, *FOR_THE_LAW))
PROSE_TEXTS = st.lists(st.sampled_from(PROSE), max_size=25).map("".join)
TEXTS = st.one_of(
    st.lists(PIECES, max_size=25).map("".join),
    st.builds("<think>{}</think>{}<answer>{}</answer>".format, PROSE_TEXTS, st.sampled_from(" x"), PROSE_TEXTS),
    st.sampled_from(CHEATS),
    st.text(max_size=20),
)
GOLDS = st.lists(PROSE_TEXTS | st.sampled_from(["Rome", "US", "", "the", "北京", "\ud800"]), min_size=1, max_size=4)
ROWS = st.tuples(TEXTS, st.booleans(), st.integers(0, LIMITS.max_completion_tokens + 5), GOLDS)


def counted(rows: list[tuple[str, bool, int, list[str]]], prefilled_think: bool = False) -> tuple[Counts, list[bool]]:
    texts, stopped, tokens, golds = zip(*rows, strict=True)
    counts, needs_law = count(texts, stopped=stopped, tokens=tokens, golds=golds, prefilled_think=prefilled_think)
    return counts, needs_law.tolist()


# 500 batches of about eight rows
@settings(deadline=None, max_examples=500)
@given(st.lists(ROWS, min_size=3, max_size=15), st.booleans())
def test_count_gives_the_laws_terms(rows: list[tuple[str, bool, int, list[str]]], prefilled_think: bool) -> None:
    counts, needs_law = counted(rows, prefilled_think)
    terms = zip(*(column.tolist() for column in to_terms(counts, LIMITS).values()), strict=True)
    for (text, stopped, tokens, golds), got, marked in zip(rows, terms, needs_law, strict=True):
        want = law.score(
            text,
            stopped=stopped,
            completion_tokens=tokens,
            golds=golds,
            limits=LIMITS,
            prefilled_think=prefilled_think,
        )
        assert marked == ("\0" in text or any("\0" in gold for gold in golds))
        assert marked or got == dataclasses.astuple(want)


@pytest.mark.parametrize("rows", [1, 7, 33, 1000])
@pytest.mark.parametrize("any_tokenizer", TOKENIZERS, indirect=True)
def test_count_agrees_with_the_law_in_every_tokenizer(any_tokenizer: Any, rows: int) -> None:
    found, by_law = mismatches("vectorised", any_tokenizer, random_batch(random.Random(rows), any_tokenizer, rows))
    assert found == []
    assert by_law <= rows / 50


def test_count_of_a_right_and_a_cut_off_completion_by_hand() -> None:
    # the second trace has 8 words in five 4-grams, of which the last repeats the first
    right = "<think>First we need it. So it is Rome, or so. Wait: let us check.</think><answer>the Rome!</answer>"
    cut_off = "<think>So it is Rome. So it is Rome"
    counts, _ = counted([(right, True, 30, ["Oslo", "Rome"]), (cut_off, False, 60, ["Rome"])])
    assert {name: getattr(counts, name).tolist() for name in Counts.__dataclass_fields__} == {
        "tokens": [30, 60],
        "stopped": [1, 0],
        "well_formed": [1, 0],
        "exact": [1, 0],
        "shared_words": [1, 0],
        "both_words": [2, 1],
        "trace_words": [14, 8],
        "mention_words": [8, 4],
        "repeated_ngrams": [0, 1],
    }


def test_count_of_golds_that_differ_in_number_and_length() -> None:
    golds = [["Rome"], ["a b c", "New York City of the north", ""], ["US"]]
    texts = ["<answer>Rome</answer>", "<answer>north of New York City</answer>", "<think>US</think><answer></answer>"]
    counts, _ = counted([(text, True, 9, accepted) for text, accepted in zip(texts, golds, strict=True)])
    assert counts.exact.tolist() == [1, 0, 0]
    assert counts.shared_words.tolist() == [1, 5, 0]
    assert counts.both_words.tolist() == [2, 10, 1]
    assert counts.mention_words.tolist() == [0, 0, 0]
