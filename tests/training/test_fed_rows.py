import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch

from mbt_lite.training.fed_rows import FedRows
from mbt_lite.training.rows import Row

ROWS = [Row("a", (5, 6, 7), (0, 1, 1)), Row("b", (8, 9), (0, 1)), Row("c", (6, 7, 4), (0, 1, 1))]


@pytest.fixture
def fed(student) -> FedRows:
    student.model.train()
    return FedRows(student.model, ROWS)


def feed(student, *lines: list[int]) -> None:
    student.model(input_ids=torch.tensor(lines))


def test_names_are_the_rows_of_all_micro_batches_of_a_step(student, fed: FedRows) -> None:
    feed(student, [8, 9, 0, 0])
    feed(student, [6, 7, 4, 0])
    assert fed.names() == ["b", "c"]
    fed.on_step_begin(None, None, None)
    feed(student, [5, 6, 7])
    assert fed.names() == ["a"]


def test_names_finds_rows_in_a_packed_batch(student, fed: FedRows) -> None:
    feed(student, [8, 9, 5, 6, 7])
    assert fed.names() == ["a", "b"]


def test_names_takes_a_row_in_one_piece_only(student, fed: FedRows) -> None:
    feed(student, [5, 6, 1, 7], [9, 8, 0, 0])
    assert fed.names() == []


def test_names_leaves_evaluation_out(student, fed: FedRows) -> None:
    student.model.eval()
    feed(student, [5, 6, 7])
    assert fed.names() == []
