"""Hub paths through the real `datasets` package, on local folders and without a network."""

import json
import subprocess
import sys

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions

pytest.importorskip("datasets", reason="needs the train extra")

HOTPOT = {
    "id": "5a",
    "question": "Who?",
    "answer": "Ann Lee",
    "type": "bridge",
    "level": "easy",
    "supporting_facts": {"title": ["Cat"], "sent_id": [0]},
    "context": {"title": ["Cat", "Cow"], "sentences": [["One.", " Two."], ["Three."]]},
}
MUSIQUE = {
    "id": "2hop__1_2",
    "paragraphs": [{"idx": 0, "title": "Cat", "paragraph_text": "One.", "is_supporting": True}],
    "question": "Who?",
    "answer": "Ann Lee",
    "answer_aliases": [],
    "answerable": True,
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A dataset folder; the library's cache goes to the test's own folder."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = tmp_path / "set"
    folder.mkdir()
    return folder


def write_split(folder, split, rows):
    (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("row", [HOTPOT, MUSIQUE], ids=["hotpot", "musique"])
def test_read_questions_loads_a_split_through_datasets(folder, row):
    write_split(folder, "train", [row])
    write_split(folder, "test", [row | {"id": "other"}, row | {"id": "third"}])
    questions = read_questions(Questions(path=f"hub:{folder}", split="test"), 0)
    assert [question.question_id for question in questions] == ["other", "third"]
    write_split(folder.parent, "file", [row | {"id": "other"}, row | {"id": "third"}])
    assert questions == read_questions(Questions(path=str(folder.parent / "file.jsonl")), 0)


def test_read_questions_loads_a_config(folder):
    for config, rows in (("hard", [HOTPOT]), ("easy", [HOTPOT, HOTPOT])):
        (folder / config).mkdir()
        write_split(folder / config, "train", rows)
    card = "---\nconfigs:\n- config_name: hard\n  data_dir: hard\n- config_name: easy\n  data_dir: easy\n---\n"
    (folder / "README.md").write_text(card, encoding="utf-8")
    assert len(read_questions(Questions(path=f"hub:{folder}:hard", split="train"), 0)) == 1


def refusal(path, split):
    with pytest.raises(DataError) as caught:
        read_questions(Questions(path=path, split=split), 0)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_read_questions_hub_path_needs_a_split(folder):
    assert refusal(f"hub:{folder}", None).startswith(f"hub:{folder}: a hub dataset needs its split; set `split`")


def test_read_questions_names_the_faulty_hub_row(folder):
    write_split(folder, "train", [HOTPOT, HOTPOT])
    message = refusal(f"hub:{folder}", "train")
    assert message.startswith(f"hub:{folder} train: record 2: id stands twice (got '5a', first at ")


@pytest.mark.parametrize(
    ("config", "split", "reason"),
    [("", "dev", 'Unknown split "dev"'), (":hard", "train", "BuilderConfig 'hard' not found")],
    ids=["split", "config"],
)
def test_read_questions_says_what_the_dataset_has_not(folder, config, split, reason):
    write_split(folder, "train", [HOTPOT])
    message = refusal(f"hub:{folder}{config}", split)
    assert reason in message
    assert message.endswith("or download the dataset's file and name that")


def test_read_questions_refuses_an_empty_dataset_folder(folder):
    assert "doesn't contain any data files" in refusal(f"hub:{folder}", "train")


OFFLINE = """
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError
from mbt_lite.recipe.schema import Questions
try:
    read_questions(Questions(path="hub:no-such-owner/no-such-set", split="train"), 0)
except DataError as error:
    print(error)
"""


def test_read_questions_offline_is_one_line_with_the_cure(tmp_path):
    environment = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "PATH": ""}
    ran = subprocess.run([sys.executable, "-c", OFFLINE], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("hub:no-such-owner/no-such-set: cannot be loaded (split train: Couldn't reach")
    assert ran.stdout.count("\n") == 1
