"""The key of a request, the journal of replies, and the token account."""

from pathlib import Path
from typing import Any

import pytest

from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, count_usage, request_body, request_key
from mbt_lite.errors import DataError
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Teacher

REQUEST = TeacherRequest("mbt_s", "q0", ({"role": "user", "content": "Why?"},), seed=3)


def settings(**changes: Any) -> Teacher:
    return Teacher(**{"base_url": "http://x/v1", "model": "m", **changes})


def reply(key: str, kind: str = "mbt_s", tokens: tuple[int | None, int | None] = (7, 3), text: str = "Zoë.") -> Reply:
    return Reply(key, kind, f"label {key}", text, "stop", "m", *tokens)


def test_request_body_is_a_chat_completion_request() -> None:
    assert request_body(settings(temperature=0.5, top_p=0.9, max_completion_tokens=64), REQUEST) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Why?"}],
        "temperature": 0.5,
        "top_p": 0.9,
        "max_tokens": 64,
        "seed": 3,
    }


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"temperature": 0.1}, {"top_p": 0.5}, {"max_completion_tokens": 5}],
    ids=lambda change: next(iter(change)),
)
def test_request_key_changes_with_what_shapes_the_reply(change: dict[str, Any]) -> None:
    assert request_key(settings(), REQUEST) != request_key(settings(**change), REQUEST)


@pytest.mark.parametrize(
    ("messages", "seed"),
    [(({"role": "user", "content": "Why"},), 3), (({"role": "system", "content": "Why?"},), 3), (REQUEST.messages, 4)],
    ids=["one letter", "role", "seed"],
)
def test_request_key_changes_with_the_request(messages: Any, seed: int) -> None:
    other = TeacherRequest("mbt_s", "q0", messages, seed)
    assert request_key(settings(), REQUEST) != request_key(settings(), other)


def test_request_key_does_not_change_with_how_it_is_sent_or_what_it_is_called() -> None:
    others = settings(concurrency=1, attempts=9, timeout_seconds=1.0, base_url="http://y/v1", api_key_env="K")
    renamed = TeacherRequest("mbt_r", "q7", REQUEST.messages, REQUEST.seed)
    assert request_key(settings(), REQUEST) == request_key(others, renamed)


def test_reply_journal_gives_back_what_it_was_given(tmp_path: Path) -> None:
    given = [reply("a"), reply("b", tokens=(None, None), text="two\nlines")]
    with ReplyJournal(tmp_path / "new" / "replies.jsonl") as journal:
        for one in given:
            journal.add(one)
            assert len(read_jsonl(tmp_path / "new" / "replies.jsonl")) == len(journal.replies)
    with ReplyJournal(tmp_path / "new" / "replies.jsonl") as journal:
        assert journal.replies == {"a": given[0], "b": given[1]}


def test_reply_journal_forgets_a_torn_line_and_writes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "replies.jsonl"
    with ReplyJournal(path) as journal:
        journal.add(reply("a"))
        journal.add(reply("b"))
    path.write_bytes(path.read_bytes()[:-20])
    with ReplyJournal(path) as journal:
        assert list(journal.replies) == ["a"]
        journal.add(reply("c"))
    assert [row["key"] for row in read_jsonl(path)] == ["a", "c"]


@pytest.mark.parametrize("line", ['{"key": "k"}', "{}", "{", "[]"])
def test_reply_journal_refuses_a_broken_line_and_leaves_no_file_open(tmp_path: Path, line: str) -> None:
    path = tmp_path / "replies.jsonl"
    path.write_text(line + "\n")
    # a file left open is a ResourceWarning, which is an error here
    with pytest.raises(DataError, match=r"replies\.jsonl:1: not "):
        ReplyJournal(path)


def test_count_usage_adds_up_per_kind() -> None:
    replies = [reply("a", "solution"), reply("b"), reply("c", tokens=(5, 1)), reply("d", tokens=(None, None))]
    assert count_usage(replies) == {
        "solution": {"requests": 1, "prompt_tokens": 7, "completion_tokens": 3, "uncounted": 0},
        "mbt_s": {"requests": 3, "prompt_tokens": 12, "completion_tokens": 4, "uncounted": 1},
    }


def test_count_usage_of_nothing_is_empty() -> None:
    assert count_usage([]) == {}


def test_count_missing_counts_equal_requests_once_and_journaled_ones_not(tmp_path: Path) -> None:
    other = TeacherRequest("mbt_s", "q1", ({"role": "user", "content": "Who?"},), seed=3)
    with ReplyJournal(tmp_path / "replies.jsonl") as journal:
        assert journal.count_missing([REQUEST, REQUEST, other], settings()) == 2
        journal.add(reply(request_key(settings(), REQUEST)))
        assert journal.count_missing([REQUEST, REQUEST, other], settings()) == 1
