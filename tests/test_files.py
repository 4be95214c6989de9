"""Files that survive a kill: journals, whole files, whole folders."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mbt_lite.errors import DataError, RunError
from mbt_lite.files import Journal, read_json, read_jsonl, whole_folder, write_json, write_jsonl

ROOT = Path(__file__).parents[1]


def start(code: str, *arguments: object) -> "subprocess.Popen[str]":
    """Start Python code in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_journal_appends_rows_that_are_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "rows.jsonl"
    with Journal(path) as journal:
        journal.append({"id": 1, "text": "ä\n\u2028 "})
        journal.extend([{"id": 2}, {"id": 3}])
    with Journal(path) as journal:
        journal.append({"id": 4})
    assert [row["id"] for row in read_jsonl(path)] == [1, 2, 3, 4]
    assert read_jsonl(path)[0]["text"] == "ä\n\u2028 "


def test_journal_syncs_each_append_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    synced: list[int] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced.append(path.stat().st_size)

    monkeypatch.setattr(os, "fsync", fsync)
    with Journal(path) as journal:
        journal.append({"id": 1})
        journal.extend([{"id": 2}, {"id": 3}])
    assert synced == [len('{"id": 1}\n'), 3 * len('{"id": 1}\n')]


@given(st.integers(min_value=0, max_value=40), st.booleans())
@settings(deadline=None)
def test_journal_cut_anywhere_keeps_the_whole_lines(cut: int, reopen: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        whole = b"".join(json.dumps({"t": "ä" * n}, ensure_ascii=False).encode() + b"\n" for n in range(4))
        path.write_bytes(whole[:cut])
        n_whole = whole[:cut].count(b"\n")
        if reopen:
            with Journal(path) as journal:
                journal.append({"t": "next"})
            assert [row["t"] for row in read_jsonl(path)] == [*("ä" * n for n in range(n_whole)), "next"]
        else:
            assert [row["t"] for row in read_jsonl(path)] == ["ä" * n for n in range(n_whole)]


def test_journal_survives_a_kill_in_the_middle_of_appends(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    process = start(
        """
        import sys
        from pathlib import Path
        from mbt_lite.files import Journal

        journal = Journal(Path(sys.argv[1]))
        number = 0
        while True:
            journal.append({"id": number, "text": "x" * 50_000})
            number += 1
            print(number, flush=True)
        """,
        path,
    )
    assert process.stdout is not None
    promised = 0
    while promised < 20:
        promised = int(process.stdout.readline())
    process.kill()
    promised = max([promised, *map(int, process.stdout.read().split())])
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    rows = read_jsonl(path)
    assert len(rows) >= promised, "a row whose append had returned is lost"
    with Journal(path) as journal:
        journal.append({"id": len(rows), "text": "x" * 50_000})
    assert [row["id"] for row in read_jsonl(path)] == list(range(len(rows) + 1))
    assert all(len(row["text"]) == 50_000 for row in read_jsonl(path))


def test_read_jsonl_gives_no_rows_of_a_missing_or_an_empty_file(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "none.jsonl") == []
    (tmp_path / "empty.jsonl").touch()
    assert read_jsonl(tmp_path / "empty.jsonl") == []


BROKEN = {
    "half a row": ('{"id": 1}\n{"id"\n', r"rows\.jsonl:2: not JSON \(Expecting ':' delimiter\); delete the line"),
    "blank line": ('{"id": 1}\n\n{"id": 2}\n', r"rows\.jsonl:2: not JSON \(Expecting value\); delete the line"),
    "list": ("[1]\n", r"rows\.jsonl:1: not a JSON object \(got list\); delete the line"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_read_jsonl_names_the_broken_line(case: str, tmp_path: Path) -> None:
    text, message = BROKEN[case]
    (tmp_path / "rows.jsonl").write_text(text)
    with pytest.raises(DataError, match=message):
        read_jsonl(tmp_path / "rows.jsonl")


# Whole files


def test_write_json_replaces_the_file_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    write_json(path, {"a": 1})
    with path.open(encoding="utf-8") as still_open:
        write_json(path, {"a": "ä"})
        assert json.load(still_open) == {"a": 1}, "a reader sees the old file or the new one"
    assert read_json(path) == {"a": "ä"}
    assert [file.name for file in path.parent.iterdir()] == ["a.json"]


def test_write_jsonl_writes_one_row_a_line(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", [{"a": 1}, {"a": 2}])
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"a": 2}]


def test_read_json_names_a_broken_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{\n"a": }')
    with pytest.raises(DataError, match=r"a\.json: not JSON \(Expecting value on line 2\); bring a whole"):
        read_json(tmp_path / "a.json")


def test_whole_folder_is_whole_or_the_old_one(tmp_path: Path) -> None:
    place = tmp_path / "adapter"
    for content in ("old", "new"):
        with whole_folder(place) as beside:
            assert list(beside.iterdir()) == []
            (beside / "a").write_text(content)
    with pytest.raises(KeyError), whole_folder(place) as beside:
        (beside / {}["no such"]).touch()
    assert (place / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["adapter"]


def test_whole_folder_takes_away_what_a_kill_left(tmp_path: Path) -> None:
    (tmp_path / ".adapter.partial").mkdir()
    (tmp_path / ".adapter.partial" / "half").touch()
    with whole_folder(tmp_path / "adapter"):
        pass
    assert list((tmp_path / "adapter").iterdir()) == []


def test_whole_folder_where_no_folder_can_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = r"file/adapter: cannot be written \(.+\); choose another place"
    with pytest.raises(RunError, match=said), whole_folder(tmp_path / "file" / "adapter"):
        pass


def test_read_jsonl_names_the_line_that_has_not_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"step": 1}\n{"step": "2"}\n')
    assert len(read_jsonl(path)) == 2
    with pytest.raises(DataError, match=r"rows\.jsonl:2: `step` is not what was written \(got str\); delete the line"):
        read_jsonl(path, step=int)


def test_write_json_writes_through_no_link_beside_its_place(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    (tmp_path / f".a.json.{os.getpid()}.partial").symlink_to(tmp_path / "mine")
    write_json(tmp_path / "a.json", {})
    assert (tmp_path / "mine").read_text() == "mine"
    assert read_json(tmp_path / "a.json") == {}
