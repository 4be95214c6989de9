"""Rows end to end, and shared out evenly: nothing is lost, doubled or moved to another step."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from mbt_lite.training.batches import join_rows, share_out

LENGTHS = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=5), min_size=1, max_size=6)


def make_row(length, first=0):
    """A row whose ids tell which row it is; its last two thirds are trained."""
    ids = list(range(first, first + length))
    return {"input_ids": ids, "labels": [-100] * (length // 3) + ids[length // 3 :]}


def make_batches(lengths):
    return [
        join_rows([make_row(length, 1000 * (100 * outer + inner)) for inner, length in enumerate(batch)])
        for outer, batch in enumerate(lengths)
    ]


def rows_of(batch):
    lengths = batch["row_lengths"].tolist()
    parts = (batch[name][0].split(lengths) for name in ("input_ids", "labels", "position_ids"))
    return [tuple(tuple(part.tolist()) for part in row) for row in zip(*parts, strict=True)]


def test_join_rows_puts_rows_end_to_end():
    batch = join_rows([make_row(3, 10), make_row(2, 20)])
    assert {name: values.tolist() for name, values in batch.items()} == {
        "row_lengths": [3, 2],
        "input_ids": [[10, 11, 12, 20, 21]],
        # the first token of a row is nobody's next token
        "labels": [[-100, 11, 12, -100, 21]],
        "position_ids": [[0, 1, 2, 0, 1]],
    }


def test_share_out_gives_each_micro_batch_about_the_same_tokens():
    batches = share_out(make_batches([[9, 8], [3, 1], [2, 2]]))
    assert [sum(batch["row_lengths"].tolist()) for batch in batches] == [9, 8, 8]


@given(LENGTHS)
def test_share_out_keeps_the_rows_of_the_step(lengths):
    batches = make_batches(lengths)
    shared = share_out(batches)
    assert len(shared) == len(batches)
    assert sorted(row for batch in shared for row in rows_of(batch)) == sorted(
        row for batch in batches for row in rows_of(batch)
    )


@given(LENGTHS)
def test_share_out_never_fills_one_far_above_the_mean(lengths):
    shares = [sum(batch["row_lengths"].tolist()) for batch in share_out(make_batches(lengths))]
    every = [length for batch in lengths for length in batch]
    # Graham (1966): giving each row to the least filled of m is at most (1 - 1/m) of the longest row above the mean
    most = sum(every) / len(shares) + (1 - 1 / len(shares)) * max(every)
    assert max(shares) <= most + 1e-9


def test_share_out_is_the_same_each_time():
    batches = make_batches([[5, 5], [5, 5]])
    assert [rows_of(batch) for batch in share_out(batches)] == [rows_of(batch) for batch in share_out(batches)]
