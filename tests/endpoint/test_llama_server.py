"""Student, teacher and judge at a real llama.cpp server that serves the embedded student, and what servers suffer."""

import contextlib
import io
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fetch_qwen3_tokenizer import FOLDER
from llama_server import MODEL, LlamaServer, free_port, llama_server

from mbt_lite.console import Screen
from mbt_lite.data.questions import read_questions
from mbt_lite.endpoint import session
from mbt_lite.errors import DataError, TeacherError
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.judge.ask import Item, find
from mbt_lite.judge.panel import open_judge
from mbt_lite.judge.subjects import Kind, Subject
from mbt_lite.recipe import RENAMED, resolved, resumable_keys
from mbt_lite.recipe.schema import Judge, Questions, Recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import eval as eval_stage
from mbt_lite.stages import gen

pytestmark = pytest.mark.slow
pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

STUDENT = "embedded:smollm2-135m"
QUESTIONS = Questions(path="data_samples/demo_train.jsonl", limit=6)


SUBJECT = Subject(
    "Who led it?", ("Ann Bell",), "[2] Survey: Led by Ann Bell.", "easy", "Ann Bell", "We read.\n\nIt is Ann Bell."
)


def drafting_at(url: str) -> dict[str, Any]:
    """Give the keys of `gen` that name the student's endpoint."""
    return {"student": {"base_url": url, "model": MODEL, "concurrency": 2}}


def answering_at(url: str, *, attempts: int = 5, **models: str) -> dict[str, Any]:
    """Give the keys of `eval` that name the student's endpoint."""
    return {"student": {"base_url": url, "models": {"base": MODEL, **models}, "attempts": attempts}}


def teaching_at(*urls: str, tokens: int = 24, **keys: Any) -> dict[str, Any]:
    """Give a teacher; the student's replies are no traces, and few tokens of them are enough."""
    patient = {"attempts": 30, "timeout_seconds": 60.0, "concurrency": 2}
    return {"base_url": urls, "model": MODEL, "max_completion_tokens": tokens, **patient, **keys}


def recipe(n: int, **sections: Any) -> Recipe:
    """Give a recipe of n questions."""
    data = {
        "train": {"path": QUESTIONS.path, "limit": n},
        "dev": {"path": "data_samples/demo_dev.jsonl", "limit": n},
        "max_prompt_tokens": 384,
    }
    return Recipe.model_validate({"model": {"name": STUDENT}, "data": data, **sections})


def run(stage: Any, made: Recipe, folder: Path) -> str:
    """Run a stage; give what it printed."""
    out, run_dir = io.StringIO(), RunDir.open(folder, resolved(made), resumable_keys(), RENAMED)
    stage.run(made, run_dir, Screen(file=out, width=300))
    return out.getvalue()


def drafts_of(n: int, teacher: dict[str, Any]) -> Recipe:
    """Give a recipe whose teacher answers n questions itself: short prompts, one reply each, no trace that is kept."""
    return recipe(n, teacher=teacher, gen={"kind": "teacher_distill", "trial_traces": 0})


def run_to_no_trace(made: Recipe, folder: Path) -> list[dict[str, Any]]:
    """Run `gen` with a teacher that writes no trace; give its replies."""
    with pytest.raises(DataError, match="no trace was accepted"):
        run(gen, made, folder)
    return replies(folder)


def replies(folder: Path) -> list[dict[str, Any]]:
    return read_jsonl(folder / "gen/replies.jsonl")


def count_paid(rows: list[dict[str, Any]]) -> int:
    return sum(row["completion_tokens"] for row in rows)


@contextlib.contextmanager
def after_replies(folder: Path, n: int, act: Callable[[], None]) -> Iterator[None]:
    """Act once, as soon as n replies are on disk; the block must take that long."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            if len(replies(folder)) >= n:
                act()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from mbt_lite.student.loading import load_tokenizer

    return load_tokenizer(recipe(1).model)


CHATS = {
    "user alone": [{"role": "user", "content": " Who wrote it? "}],
    "system": [{"role": "system", "content": "S."}, {"role": "user", "content": "line\n\nline é 中 1234"}],
    "three turns": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b<think>"},
        {"role": "user", "content": "c"},
    ],
}


@pytest.mark.parametrize("chat", CHATS.values(), ids=CHATS)
def test_server_applies_the_template_that_trains(llama: LlamaServer, tokenizer: Any, chat: Any) -> None:
    ours = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
    assert llama.ask("/apply-template", {"messages": chat})["prompt"] == ours
    tokens = llama.ask("/tokenize", {"content": ours, "add_special": True, "parse_special": True})["tokens"]
    # no second start of the text before it
    assert tokens == tokenizer(ours, add_special_tokens=False)["input_ids"]


def test_server_counts_the_tokens_of_real_rows_as_we_do(llama: LlamaServer, tokenizer: Any, shared_data: Path) -> None:
    for question in read_questions(Questions(path=str(shared_data / "musique_ans_dev_100.jsonl")), 0)[:5]:
        for document in question.documents:
            tokens = llama.ask("/tokenize", {"content": document.text})["tokens"]
            assert tokens == tokenizer(document.text, add_special_tokens=False)["input_ids"]


def test_gen_drafts_at_the_server(llama: LlamaServer, tmp_path: Path) -> None:
    section = {**drafting_at(llama.url), "sampling": {"temperature": 0.0}, "max_completion_tokens": 96}
    run(gen, recipe(4, gen={"kind": "mbt_r", **section}), tmp_path)
    drafts, kept = read_jsonl(tmp_path / "gen/rollouts.jsonl"), replies(tmp_path)
    asked = [row for row in kept if row["kind"] == "draft"]
    assert len(drafts) == len(asked) == 4
    assert all(row["text"] for row in drafts)
    # the student's own tokenizer and template count what the server counts
    assert sorted(row["prompt_tokens"] for row in drafts) == sorted(row["prompt_tokens"] for row in asked)
    assert sorted(row["completion_tokens"] for row in drafts) == sorted(row["completion_tokens"] for row in asked)
    stopped = [row for row in drafts if row["finish_reason"] == "stop"]
    assert len(read_jsonl(tmp_path / "gen/traces.jsonl")) == len(stopped) > 0


def test_gen_asks_a_teacher_at_the_server_no_further_than_the_trial(llama: LlamaServer, tmp_path: Path) -> None:
    before = llama.count_written()
    made = recipe(4, teacher=teaching_at(llama.url), gen={"kind": "mbt_s", "trial_traces": 2})
    with pytest.raises(DataError, match="0 of the first 2 traces passed"):
        run(gen, made, tmp_path)
    kept, rejected = replies(tmp_path), read_jsonl(tmp_path / "gen/rejected.jsonl")
    assert len(kept) == len(rejected) == 2
    assert llama.count_written() - before == count_paid(kept)
    assert sorted(row["text"] for row in rejected) == sorted(row["text"] for row in kept)


def test_eval_answers_at_the_server_and_asks_for_nothing_again(llama: LlamaServer, tmp_path: Path) -> None:
    section = {"variants": ("base", "metacognitive"), "max_completion_tokens": 24}
    made = recipe(2, eval={**section, **answering_at(llama.url)})
    before = llama.count_written()
    run(eval_stage, made, tmp_path)
    folder = tmp_path / "eval"
    asked = read_jsonl(folder / "replies.jsonl")
    assert llama.count_written() - before == count_paid(asked) > 0
    for variant in ("base", "metacognitive"):
        assert len(read_jsonl(folder / variant / "predictions.jsonl")) == 2
        assert read_json(folder / variant / "metrics.json")["metrics"]["exact_match"]["n"] == 2
    counted = [
        row for variant in ("base", "metacognitive") for row in read_jsonl(folder / variant / "completions.jsonl")
    ]
    assert sorted(row["prompt_tokens"] for row in counted) == sorted(row["prompt_tokens"] for row in asked)
    (folder / "done.json").unlink(missing_ok=True)
    run(eval_stage, made, tmp_path)
    assert read_jsonl(folder / "replies.jsonl") == asked


def test_judge_at_the_server_gives_verdicts_or_the_reason_why_there_is_none(llama: LlamaServer, tmp_path: Path) -> None:
    kinds: tuple[Kind, ...] = ("accuracy", "metacognition", "quality")
    short = {"max_completion_tokens": 32, "verdict_attempts": 2, "concurrency": 2}
    judge = Judge(base_url=llama.url, model=MODEL, **short)
    with open_judge(judge, tmp_path, lambda what, total: contextlib.nullcontext(lambda: None)) as send:
        found = find({kind: Item(kind, SUBJECT, 0) for kind in kinds}, judge, send, "judge")
    assert list(found) == list(kinds)
    assert all((one.verdict is None) == bool(one.unscored) and not one.by_rule for one in found.values())
    asked = [row for row in read_jsonl(tmp_path / "judge_replies.jsonl") if row["kind"] != "probe"]
    assert len(asked) == sum(one.attempts for one in found.values())
    assert all(row["text"] and row["completion_tokens"] for row in asked)


def test_gen_interrupted_in_mid_stream_keeps_what_is_under_way_and_pays_nothing_twice(
    llama: LlamaServer, tmp_path: Path
) -> None:
    made = drafts_of(6, teaching_at(llama.url))
    before = llama.count_written()
    interrupt = after_replies(tmp_path, 1, lambda: os.kill(os.getpid(), signal.SIGINT))
    with interrupt, pytest.raises(KeyboardInterrupt):
        run(gen, made, tmp_path)
    kept = replies(tmp_path)
    assert 1 <= len(kept) < 6
    assert llama.count_written() - before == count_paid(kept)
    both = run_to_no_trace(made, tmp_path)
    assert both[: len(kept)] == kept
    assert len({row["key"] for row in both}) == len(both) == 6
    assert llama.count_written() - before == count_paid(both)


def test_gen_goes_on_when_the_server_dies_and_comes_back(tmp_path: Path) -> None:
    with llama_server(tmp_path) as server:
        made = drafts_of(4, teaching_at(server.url))

        def restart() -> None:
            server.kill()
            server.start_soon()

        with after_replies(tmp_path, 1, restart):
            kept = run_to_no_trace(made, tmp_path)
        assert len({row["key"] for row in kept}) == len(kept) == 4
        # since its second start it has written what was missing; a few more may have come before it was dead
        assert server.count_written() in [count_paid(kept[there:]) for there in (1, 2, 3)]


def test_gen_ends_with_one_line_when_the_server_stays_dead_and_goes_on_later_at_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "_OUTAGE_WAITS", 3.0)
    with llama_server(tmp_path) as server:
        made = drafts_of(4, teaching_at(server.url, attempts=3))
        line = f"teacher {server.url}: cannot connect, and was not back within 3 s; start the server, then run the same"
        with after_replies(tmp_path, 1, server.kill), pytest.raises(TeacherError) as caught:
            run(gen, made, tmp_path)
        assert str(caught.value).startswith(line)
        kept = replies(tmp_path)
        server.port = free_port()
        server.start()
        both = run_to_no_trace(drafts_of(4, teaching_at(server.url)), tmp_path)
        assert both[: len(kept)] == kept
        assert server.count_written() == count_paid(both) - count_paid(kept)


def test_gen_shares_the_work_between_two_servers(llama: LlamaServer, tmp_path: Path) -> None:
    with llama_server(tmp_path) as second:
        before = llama.count_written()
        made = drafts_of(4, teaching_at(llama.url, second.url, concurrency=4))
        kept = run_to_no_trace(made, tmp_path)
        shares = llama.count_written() - before, second.count_written()
    assert len({row["key"] for row in kept}) == 4
    assert sum(shares) == count_paid(kept)
    assert min(shares) > 0


def test_gen_counts_what_does_not_fit_into_the_context_of_a_slot(tmp_path: Path) -> None:
    with llama_server(tmp_path, slot_tokens=256) as server:
        made = recipe(3, teacher=teaching_at(server.url), gen={"kind": "mbt_s"})
        with pytest.raises(DataError, match=r"no trace was accepted \(rejected \{'refused': 3\}\)"):
            run(gen, made, tmp_path)
        rejected = read_jsonl(tmp_path / "gen/rejected.jsonl")
        assert all("exceeds the available context size (256 tokens)" in row["text"] for row in rejected)
        assert replies(tmp_path) == []
        assert server.count_written() == 0


def test_gen_leaves_out_drafts_that_a_full_context_cut_off_until_it_has_room(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with llama_server(tmp_path, "--ignore-eos", slot_tokens=256) as server:
        section = {**drafting_at(server.url), "max_completion_tokens": 170, "trial_traces": 0}
        made = recipe(2, gen={"kind": "mbt_r", **section})
        for _ in range(2):
            with pytest.raises(DataError, match="no trace was accepted"):
                run(gen, made, tmp_path)
            assert read_jsonl(tmp_path / "gen/rollouts.jsonl") == []
        # the second time one was asked for again
        assert [row["finish_reason"] for row in replies(tmp_path)] == ["context full"] * 3
        assert read_json(tmp_path / "gen/servers.json")["gen.student"] == [
            f"2 of 2 replies of {MODEL} are of no use (context full)"
        ]
        server.kill()
        server.slot_tokens = 1024
        server.start()
        with pytest.raises(DataError, match="no trace was accepted"):
            run(gen, made, tmp_path)
    assert [row["finish_reason"] for row in replies(tmp_path)] == ["context full"] * 3 + ["length"] * 2
    assert len(read_jsonl(tmp_path / "gen/rollouts.jsonl")) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "context is full" in line]
    # told once a command
    assert len(said) == 2
    assert said[0].startswith(f"gen.student {server.url}: it cut a reply after ")


def test_gen_puts_the_trace_back_that_the_server_splits_off(tmp_path: Path) -> None:
    settings = FOLDER / "tokenizer_config.json"
    if not settings.exists():
        pytest.skip("needs the real Qwen3 tokenizer: python tests/fetch_qwen3_tokenizer.py")
    template = tmp_path / "qwen3.jinja"
    template.write_text(json.loads(settings.read_text())["chat_template"])
    # whatever it is asked, it writes this
    grammar = r'root ::= "<think>\nIt rains.\n</think>\n\n<answer>Rain</answer>"'
    with llama_server(tmp_path, "--chat-template-file", str(template), "--grammar", grammar) as server:
        run(gen, recipe(1, gen={"kind": "mbt_r", **drafting_at(server.url), "max_completion_tokens": 96}), tmp_path)
    [draft] = read_jsonl(tmp_path / "gen/rollouts.jsonl")
    assert draft["text"] == "<think>\nIt rains.\n</think>\n\n<answer>Rain</answer>"


def test_eval_refuses_the_server_when_it_answers_as_one_model_to_two_names(llama: LlamaServer, tmp_path: Path) -> None:
    section = {"variants": ("base", "sft"), "max_completion_tokens": 8, **answering_at(llama.url, sft="trained")}
    line = rf"^eval\.student: {MODEL} and trained are answered by one model \(it signs '{MODEL}'\)"
    with pytest.raises(TeacherError, match=line):
        run(eval_stage, recipe(1, eval=section), tmp_path)


def test_eval_at_a_dead_endpoint_is_one_line_that_names_it(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}/v1"
    section = {"variants": ("base",), **answering_at(url, attempts=2)}
    line = f"eval.student {url}: cannot connect after 2 attempts; start the server or set eval.student.base_url"
    with pytest.raises(TeacherError) as dead:
        run(eval_stage, recipe(1, eval=section), tmp_path)
    assert str(dead.value) == line
