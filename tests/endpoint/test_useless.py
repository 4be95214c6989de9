"""What is paid for and of no use: huge replies, many useless ones in a row, replies spoiled by a server's settings."""

import contextlib
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from teacher_server import Answer, Body, TeacherServer, completion, delta, refusal, stream, teacher_server

from mbt_lite.endpoint.opening import open_endpoints
from mbt_lite.endpoint.reading import NoReplyError, of_use, read_reply, why_useless
from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.endpoint.session import USELESS_IN_A_ROW
from mbt_lite.errors import TeacherError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.recipe.endpoint import Speaker
from mbt_lite.recipe.schema import Teacher

Ask = Callable[..., dict[str, Reply]]
CONCURRENCY = 4


@contextlib.contextmanager
def silent(what: str, total: int) -> Iterator[Callable[[], None]]:
    yield lambda: None


def requests(n: int, *, is_completion: bool = True) -> list[TeacherRequest]:
    """Give requests whose prompts grow."""
    prompts = ["why? " * (i + 1) for i in range(n)]
    return [
        TeacherRequest("draft", f"q{i}", ({"role": "user", "content": text},), i, is_completion=is_completion)
        for i, text in enumerate(prompts)
    ]


def teacher(server: TeacherServer, **changes: int) -> Teacher:
    return Teacher(base_url=server.url, model="m", concurrency=CONCURRENCY, max_completion_tokens=50, **changes)


@pytest.mark.parametrize(
    "huge",
    [
        completion("so " * 3_000_000),
        completion("Yes.", reasoning_content="so " * 3_000_000),
        Answer(200, "<html>" + "so " * 3_000_000),
        stream(*(delta(content="so " * 100_000) for _ in range(30)), delta("stop")),
        refusal(500, "so " * 3_000_000),
        completion("so " * 3_000),
    ],
    ids=["content", "reasoning", "no reply", "stream", "error", "few bytes, but more than the tokens"],
)
def test_complete_takes_a_huge_reply_for_one_failed_attempt(ask: Ask, huge: Answer) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with teacher_server(huge, completion("Yes.")) as server:
        replies = ask(server, max_completion_tokens=50)
        assert len(server.bodies) == 2
    assert replies["q0"].text == "Yes."
    # the server, in this process too, sends nine million bytes and keeps copies of them
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 120 * 1024


def test_complete_says_of_huge_replies_that_they_are(ask: Ask) -> None:
    with (
        teacher_server(completion("so " * 3_000_000)) as server,
        pytest.raises(TeacherError, match=r"far longer than was asked for \(over 1099776 bytes\) after 3 attempts"),
    ):
        ask(server, max_completion_tokens=50)


def test_read_reply_leaves_room_for_every_language() -> None:
    request, speaker = requests(1, is_completion=False)[0], Teacher(model="m", max_completion_tokens=50)
    read_reply("k", request, completion("x" * 1600).content, speaker)
    with pytest.raises(NoReplyError, match=r"longer than 50 tokens can be \(got 1601 characters\)"):
        read_reply("k", request, completion("x" * 1601).content, speaker)


USELESS = {
    "reasoning only": (completion("", usage=(7, 50), finish_reason="length"), "empty", "max_completion_tokens"),
    "empty": (completion(""), "empty", "thinks where no one reads it"),
    "filtered": (completion("", finish_reason="content_filter"), "content_filter", "see why it ends so"),
    "context full": (completion("We read", finish_reason="length"), "context full", "context length"),
    "reasoning kept back": (
        completion(usage={"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 5}}),
        "hidden reasoning",
        "serve it so that its reasoning shows",
    ),
}


@pytest.mark.parametrize(("answer", "cause", "cure"), USELESS.values(), ids=USELESS.keys())
def test_many_useless_replies_in_a_row_end_it_with_the_cause(
    tmp_path: Path, answer: Answer, cause: str, cure: str
) -> None:
    with teacher_server(answer) as server:
        speaker = teacher(server)
        with (
            open_endpoints(tmp_path, silent, speaker) as ask,
            pytest.raises(
                TeacherError, match=rf"replies in a row are of no use \(last: {cause}\); .*{cure}.* are kept$"
            ),
        ):
            ask(requests(200), "drafts", speaker)
        assert USELESS_IN_A_ROW <= len(server.bodies) < USELESS_IN_A_ROW + CONCURRENCY
    assert len(read_jsonl(tmp_path / "replies.jsonl")) == len(server.bodies)


def test_useless_replies_with_useful_ones_between_them_end_nothing(tmp_path: Path) -> None:
    def answer(number: int, body: Body) -> Answer:
        return completion("" if body["seed"] % 8 else "Yes.")

    with teacher_server(answer) as server:
        speaker = teacher(server)
        with open_endpoints(tmp_path, silent, speaker) as ask:
            assert len(ask(requests(80), "drafts", speaker)) == 80
    assert read_json(tmp_path / "servers.json") == {"teacher": ["70 of 80 replies of m are of no use (empty)"]}


def test_what_failed_before_may_fail_again(tmp_path: Path) -> None:
    with teacher_server(completion("")) as server:
        speaker = teacher(server)
        with open_endpoints(tmp_path, silent, speaker) as ask:
            assert len(ask(requests(50), "traces, attempt 2", speaker, useless=of_use)) == 50


def cut_unless(is_mended: list[bool]) -> Callable[[int, Body], Answer]:
    """Answer as a server whose context is full for all prompts but the shortest, until it is mended."""

    def answer(number: int, body: Body) -> Answer:
        is_short = len(body["messages"][0]["content"]) < 10
        return completion("Yes.") if is_short or is_mended[0] else completion("We read", finish_reason="length")

    return answer


def test_spoiled_replies_are_asked_for_again_once_the_server_does_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    is_mended = [False]

    def ask_all() -> tuple[dict[str, str], int]:
        before = len(server.bodies)
        with open_endpoints(tmp_path, silent, speaker) as ask:
            replies = ask(requests(6), "drafts", speaker)
            assert ask(requests(6), "drafts", speaker) == replies
        return {label: reply.finish_reason for label, reply in replies.items()}, len(server.bodies) - before

    with teacher_server(cut_unless(is_mended)) as server:
        speaker = teacher(server)
        first, paid = ask_all()
        assert paid == 6
        assert [label for label, ending in first.items() if ending == "stop"] == ["q0"]
        # not mended: one request, the longest, and all stay
        assert ask_all() == (first, 1)
        assert server.bodies[-1]["seed"] == 5
        assert "5 replies were spoiled before (context full); it is so again" in capsys.readouterr().err
        is_mended[0] = True
        assert ask_all() == (dict.fromkeys(first, "stop"), 5)
        assert "it came out whole: the others are asked for again" in capsys.readouterr().err
        assert ask_all()[1] == 0
    # all twelve are paid for, and in the account
    assert read_json(tmp_path / "usage.json")["draft"]["requests"] == 12


def test_spoiled_replies_stay_where_the_server_is_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with teacher_server(cut_unless([False])) as server:
        speaker = teacher(server, attempts=1)
        with open_endpoints(tmp_path, silent, speaker) as ask:
            before = ask(requests(3), "drafts", speaker)
    with open_endpoints(tmp_path, silent, speaker) as ask:
        assert ask(requests(3), "drafts", speaker) == before
    assert "cannot be asked (teacher http" in capsys.readouterr().err


def test_servers_json_says_who_signs_and_which_prompts_were_cut_also_later(tmp_path: Path) -> None:
    with teacher_server(completion(model="other", usage=(9, 3))) as server:
        speaker, long = (
            teacher(server),
            [TeacherRequest("mbt_s", "q", ({"role": "user", "content": "why? " * 999},), 0)],
        )
        for _ in range(2):
            with open_endpoints(tmp_path, silent, speaker) as ask:
                ask(long, "traces", speaker)
            assert read_json(tmp_path / "servers.json")["teacher"] == [
                "1 of 1 replies of m are signed by another model, 'other'",
                "1 of 1 replies of m count less than half the prompt tokens that we estimate: the context may have "
                "been cut",
            ]
            (tmp_path / "servers.json").unlink()
        assert len(server.bodies) == 1


def test_why_useless_leaves_a_text_at_its_limit_alone() -> None:
    def reply(text: str, ending: str, tokens: int | None) -> Reply:
        return Reply("k", "mbt_s", "q", text, ending, "m", 9, tokens)

    speaker = Speaker(max_completion_tokens=50)
    assert why_useless(reply("We", "length", 50), speaker) is None
    assert why_useless(reply("We", "length", None), speaker) is None
    assert why_useless(reply("We", "stop", 3), speaker) is None


def test_a_key_that_json_writes_otherwise_is_hidden(ask: Ask, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    secret = "abcdefgh/ijklmnop/qrst"
    monkeypatch.setenv("TEST_SLASHED_KEY", secret)
    content = completion(f"Yes, {secret}.", model=secret).content.replace("/", "\\/")
    assert json.loads(content)["model"] == secret
    with teacher_server(Answer(200, content)) as server:
        assert ask(server, api_key_env="TEST_SLASHED_KEY")["q0"].text == "Yes, ***."
    assert "ijklmnop" not in (tmp_path / "replies.jsonl").read_text()
