"""Dev questions that stand in train: found by text and id, told, refused where nothing is new."""

import dataclasses
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from mbt_lite.data.overlap import Overlap, find_overlap, read_overlap
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Data, Questions
from mbt_lite.records import Document, Question, to_row

ROOT = Path(__file__).parents[2]


def question(name: str, text: str) -> Question:
    return Question(name, text, "Ann Lee", (), (Document("Cat", "A cat ran.", True),), "mine")


TRAIN = [question("t1", "Who owns the cat?"), question("t2", "Where is Rome?"), question("7", "When was it?")]
NEW = question("d1", "What is new?")


def data(folder: Path, train: Sequence[Question], dev: Sequence[Question], limit: int | None = None) -> Data:
    for name, questions in (("train", train), ("dev", dev)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(to_row(one)) + "\n" for one in questions))
    return Data(
        train=Questions(path=str(folder / "train.jsonl"), limit=limit), dev=Questions(path=str(folder / "dev.jsonl"))
    )


FOUND = {
    "nothing": ([NEW], (), ()),
    "the same text": ([NEW, question("d2", "Who owns the cat?")], ("d2",), ()),
    "the same text, normalised": ([NEW, question("d2", " who owns  a CAT ")], ("d2",), ()),
    "the same id": ([NEW, question("t2", "In which land is Rome?")], (), ("t2",)),
    "the same id and text count once": ([NEW, TRAIN[0]], ("t1",), ()),
    "numbers are no ids": ([NEW, question("7", "How many?")], (), ()),
    "texts without a word are no texts": ([NEW, question("d2", "?!")], (), ()),
}


@pytest.mark.parametrize(("dev", "by_text", "by_id"), FOUND.values(), ids=FOUND)
def test_find_overlap(dev: list[Question], by_text: tuple[str, ...], by_id: tuple[str, ...]) -> None:
    assert find_overlap([*TRAIN, question("t3", "...")], dev) == Overlap(len(dev), by_text, by_id)


def test_read_overlap_tells_how_many_and_which(tmp_path: Path) -> None:
    dev = [NEW, question("d2", "Where is Rome?"), question("t1", "Whose cat is it?")]
    found = read_overlap(data(tmp_path, TRAIN, dev))
    assert found.lines == [
        "data: WARNING: 2 of 3 dev questions stand in train too, 1 of them by id alone, in other words (d2, t1): "
        "scores on them show memory, not skill; take them out of one"
    ]
    assert found.to_row() == {"n": 2, "n_by_id_alone": 1, "of": 3, "said": found.lines}


def test_read_overlap_compares_what_limit_keeps(tmp_path: Path) -> None:
    train = [*(question(f"t{n}", f"Who is {n}?") for n in range(40)), question("d2", "Where is Rome?")]
    dev = [NEW, question("d2", "Where is Rome?")]
    assert read_overlap(data(tmp_path, train, dev, limit=1)).lines == []
    assert len(read_overlap(data(tmp_path, train, dev)).by_text) == 1


@pytest.mark.parametrize("form", ["path", "link", "hard link"])
def test_read_overlap_refuses_one_file_under_two_names(tmp_path: Path, form: str) -> None:
    asked = data(tmp_path, TRAIN, [NEW], limit=2)
    train, dev = tmp_path / "train.jsonl", tmp_path / "again.jsonl"
    match form:
        case "path":
            dev = tmp_path / "." / ".." / tmp_path.name / "train.jsonl"
        case "link":
            dev.symlink_to(train)
        case _:
            dev.hardlink_to(train)
    with pytest.raises(DataError, match=r"data.dev is the file of data.train \(got .*\); score on held-out questions"):
        read_overlap(asked.model_copy(update={"dev": Questions(path=str(dev))}))


def test_read_overlap_refuses_a_dev_set_of_which_nothing_is_new(tmp_path: Path) -> None:
    renamed = [dataclasses.replace(one, question_id=f"d{n}") for n, one in enumerate(TRAIN[:2])]
    with pytest.raises(DataError, match=r"dev.jsonl: all 2 questions of data.dev stand in data.train too"):
        read_overlap(data(tmp_path, TRAIN, renamed))


def test_read_overlap_says_that_it_could_not_compare(tmp_path: Path) -> None:
    asked = data(tmp_path, TRAIN, [NEW])
    (tmp_path / "train.jsonl").unlink()
    [line] = read_overlap(asked).lines
    assert line.startswith("data: whether dev questions stand in train too is not known (")
    assert read_overlap(asked).to_row()["n"] is None


def test_read_overlap_reads_a_file_that_changed_again(tmp_path: Path) -> None:
    assert read_overlap(data(tmp_path, TRAIN, [NEW])).lines == []
    assert len(read_overlap(data(tmp_path, TRAIN, [NEW, TRAIN[1]])).lines) == 1


@pytest.mark.parametrize("name", ["demo", "multihop"])
def test_our_own_train_and_dev_share_nothing(name: str) -> None:
    train, dev = (Questions(path=str(ROOT / f"data_samples/{name}_{side}.jsonl")) for side in ("train", "dev"))
    assert read_overlap(Data(train=train, dev=dev)).lines == []


@pytest.mark.parametrize(
    ("train", "dev"),
    [
        ("musique_ans_train_100.jsonl", "musique_ans_dev_100.jsonl"),
        ("hotpot_train_100.json", "hotpot_dev_distractor_100.json"),
    ],
)
def test_real_train_and_dev_share_nothing(shared_data: Path, train: str, dev: str) -> None:
    asked = Data(train=Questions(path=str(shared_data / train)), dev=Questions(path=str(shared_data / dev)))
    assert read_overlap(asked).lines == []


def test_a_real_dev_set_under_other_ids_is_refused(shared_data: Path, tmp_path: Path) -> None:
    rows = json.loads((shared_data / "hotpot_dev_distractor_100.json").read_text())
    (tmp_path / "train.json").write_text(json.dumps([row | {"_id": f"x{n}"} for n, row in enumerate(rows)]))
    shutil.copy(shared_data / "hotpot_dev_distractor_100.json", tmp_path / "dev.json")
    asked = Data(train=Questions(path=str(tmp_path / "train.json")), dev=Questions(path=str(tmp_path / "dev.json")))
    with pytest.raises(DataError, match=r"all 100 questions of data.dev stand in data.train too"):
        read_overlap(asked)
