"""The scripted teacher's writer: it reads the request and nothing else, always writes the same, and passes the gate."""

import dataclasses
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import pytest

from mbt_lite.data.questions import read_questions
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import Completion, Document, Message, Question, Solution
from mbt_lite.scripted.writer import UnreadableRequestError, read_brief, write_reply
from mbt_lite.text.paragraphs import paragraphs
from mbt_lite.text.phases import PHASES
from mbt_lite.traces.checks import Rules, draft_rejection, rejection
from mbt_lite.traces.kinds import kind_named, mbt_s
from mbt_lite.traces.reply import read_reply
from mbt_lite.traces.requests import solution_request, student_request

Build = Callable[[Question], Sequence[Message]]
WORDS = (120, 300)
ROOT = Path(__file__).parents[2]
REAL = ("musique_ans_train_100.jsonl", "hotpot_train_100.json", "2wikimultihop_dev_150.json")
WRITE_MANY = """
import hashlib
from mbt_lite.data.questions import read_questions
from mbt_lite.recipe.schema import Questions
from mbt_lite.scripted.writer import write_reply
from mbt_lite.traces.kinds import mbt_s
from mbt_lite.traces.requests import solution_request

rows = read_questions(Questions(path="data_samples/multihop_train.jsonl"), 0)[:25]
chats = [chat[0]["content"] for row in rows for chat in (mbt_s.trace_request(row, (120, 300)), solution_request(row))]
print(hashlib.sha256("\\0".join(write_reply([chat], 5) for chat in chats).encode()).hexdigest())
"""


def contents(messages: Sequence[Message]) -> list[str]:
    return [message["content"] for message in messages if message["role"] == "user"]


def rewrite(
    question: Question, draft_text: str, request: Literal["mbt_r", "distill_r"] = "mbt_r"
) -> tuple[Message, ...]:
    draft = Completion(question.question_id, 0, draft_text, "stop", 1, 1)
    guide = Solution(question.question_id, "A guide.", "scripted", True)
    return kind_named(request).trace_request(question, WORDS, draft, guide)


def sample(name: str, limit: int) -> list[Question]:
    return read_questions(Questions(path=f"data_samples/{name}.jsonl"), 0)[:limit]


def test_write_reply_depends_on_seed_and_content_only() -> None:
    first, second = sample("demo_train", 2)
    chat = contents(mbt_s.trace_request(first, WORDS))
    assert write_reply(chat, 1) == write_reply(chat, 1)
    assert len({write_reply(chat, seed) for seed in range(10)}) >= 5
    assert write_reply(chat, 1) != write_reply(contents(mbt_s.trace_request(second, WORDS)), 1)


def test_write_reply_is_the_same_in_another_process() -> None:
    written = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
        command = [sys.executable, "-c", WRITE_MANY]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
        written.add(done.stdout.strip())
    assert len(written) == 1
    assert len(written.pop()) == 2 * hashlib.sha256().digest_size


def test_requests_hold_nothing_that_a_teacher_must_not_see() -> None:
    for question in sample("multihop_train", 20):
        documents = [dataclasses.replace(d, is_supporting=not d.is_supporting) for d in question.documents]
        other = Question("other", question.question, question.answer, ("Alias",), tuple(documents), "x", 9, "y", "z")
        assert mbt_s.trace_request(question, WORDS) == mbt_s.trace_request(other, WORDS)
        assert rewrite(question, "Hm.") == rewrite(other, "Hm.")


def test_write_reply_guide_names_facts_steps_and_pitfalls() -> None:
    for question in sample("multihop_train", 20):
        guide = write_reply(contents(solution_request(question)), 0)
        assert [part.partition(":")[0] for part in guide.split("\n\n")] == ["Key facts", "Steps", "Pitfalls"]
        assert question.answer in guide
        supporting = [n for n, document in enumerate(question.documents, 1) if document.is_supporting]
        assert all(f"Document {number} (" in guide for number in supporting)


def test_write_reply_guide_stands_without_links_and_distractors() -> None:
    request = contents(solution_request(sample("demo_train", 1)[0]))[0]
    before, _, after = request.partition("=== documents ===\n")
    gold = sample("demo_train", 1)[0].answer
    only = f"{before}=== documents ===\n[1] Lake: {gold}.\n=== question ==={after.partition('=== question ===')[2]}"
    parts = write_reply([only], 0).split("\n\n")
    assert [part.partition(":")[0] for part in parts] == ["Key facts", "Steps", "Pitfalls"]
    assert all(part.partition(": ")[2] for part in parts)


@pytest.mark.parametrize("build", [solution_request, lambda question: mbt_s.trace_request(question, WORDS)])
def test_write_reply_declines_where_no_document_names_the_answer(build: Build) -> None:
    question = sample("demo_train", 1)[0]
    asked = build(dataclasses.replace(question, answer="Atlantis"))
    assert read_reply(write_reply(contents(asked), 0), has_phases=True).unsupported == "no document names this answer"
    assert read_reply(write_reply(contents(build(question)), 0), has_phases=True).unsupported is None


def test_write_reply_of_a_guide_does_not_change_with_the_seed() -> None:
    chat = contents(solution_request(sample("demo_train", 1)[0]))
    assert len({write_reply(chat, seed) for seed in range(5)}) == 1


@pytest.mark.parametrize(
    "draft",
    [
        "<think>Hm.</think><answer>Nora</answer>",
        "x\n=== end ===\n=== question ===\nWhy?\n=== draft ===\ny\n=== end ===\nz",
        "{{answer}} {draft} \\1 $5",
    ],
    ids=["plain", "section lines", "slots"],
)
def test_read_brief_gives_back_what_the_request_was_made_from(draft: str) -> None:
    (question,) = sample("demo_train", 1)
    brief = read_brief(contents(rewrite(question, draft)))
    assert (brief.task, brief.question, brief.gold, brief.draft) == ("mbt_r", question.question, question.answer, draft)
    assert brief.documents == tuple((document.title, document.text) for document in question.documents)


def test_read_brief_tells_the_tasks_apart() -> None:
    (question,) = sample("demo_train", 1)
    for task, messages in (("solution", solution_request(question)), ("mbt_s", mbt_s.trace_request(question, WORDS))):
        brief = read_brief(contents(messages))
        assert (brief.task, brief.draft) == (task, None)


@pytest.mark.parametrize("section", ["question", "correct answer"])
def test_read_brief_names_a_missing_section(section: str) -> None:
    (content,) = contents(mbt_s.trace_request(sample("demo_train", 1)[0], WORDS))
    with pytest.raises(UnreadableRequestError, match=f"no section {section}"):
        read_brief([content.replace(f"=== {section} ===", section)])


@pytest.mark.parametrize("chat", [[], ["Hello"], ["Task: something else.\nx"]], ids=["empty", "another's", "near"])
def test_read_brief_refuses_another_chat(chat: list[str]) -> None:
    with pytest.raises(UnreadableRequestError, match="opens with none of: Task: write a solution guide"):
        read_brief(chat)


def test_read_brief_refuses_documents_without_a_numbered_line() -> None:
    (content,) = contents(mbt_s.trace_request(sample("demo_train", 1)[0], WORDS))
    content = re.sub(r"(?m)^\[\d+\]", "-", content)
    with pytest.raises(UnreadableRequestError, match=r"holds no line such as `\[1\] Title: text`"):
        read_brief([content])


@pytest.mark.parametrize("name", ["demo_train", "multihop_train"])
def test_synthetic_traces_pass_the_gate_and_show_all_phases(name: str) -> None:
    texts = [
        (question, read_reply(write_reply(contents(messages), 0), has_phases=True))
        for question in sample(name, 60)
        for messages in (
            mbt_s.trace_request(question, WORDS),
            rewrite(question, "<answer>Paris</answer>"),
            rewrite(question, f"<answer>{question.answer}</answer>"),
        )
    ]
    accepted = [read for question, read in texts if rejection(read.text, "stop", question, None, read.phases) is None]
    assert len(accepted) / len(texts) >= 0.95
    for read in accepted:
        assert tuple(span.phase for span in read.phases) == PHASES
        assert [read.text[span.start : span.end] for span in read.phases] == paragraphs(read.text)


@pytest.mark.parametrize("name", REAL)
def test_real_traces_mostly_pass_the_gate(shared_data: Path, name: str) -> None:
    questions = read_questions(Questions(path=str(shared_data / name)), 0)[:12]
    faults = [
        rejection(read_reply(write_reply(contents(messages), 0), has_phases=True).text, "stop", question)
        for question in questions
        for messages in (mbt_s.trace_request(question, WORDS), rewrite(question, "<answer>Paris</answer>"))
    ]
    # measured: all of them on all three; the floor leaves room for odd rows
    assert faults.count(None) / len(faults) >= 0.9, sorted(filter(None, faults))


def answer(question: Question) -> Completion:
    return Completion(question.question_id, 0, write_reply(contents(student_request(question)), 0), "stop", 1, 1)


def test_read_brief_reads_the_student_prompt_without_a_gold() -> None:
    (question,) = sample("demo_train", 1)
    brief = read_brief(contents(student_request(question)))
    assert (brief.task, brief.question, brief.gold, brief.draft) == ("student", question.question, "", None)
    assert brief.documents == tuple((document.title, document.text) for document in question.documents)


def test_write_reply_to_the_student_prompt_depends_on_what_the_student_sees_only() -> None:
    for question in sample("multihop_train", 10):
        other = dataclasses.replace(question, answer="Somebody Else", aliases=("Alias",))
        assert answer(question).text == answer(other).text


def test_write_reply_to_the_student_prompt_is_often_right_on_synthetic_questions_and_never_malformed() -> None:
    reasons = [draft_rejection(answer(question), question, Rules()) for question in sample("demo_train", 60)]
    # measured: 58 of 60
    assert reasons.count(None) >= 50
    assert set(reasons) <= {None, "wrong answer"}


def test_write_reply_to_the_student_prompt_says_that_it_guesses_between_two() -> None:
    documents = (Document("Red Mill", "Red Mill opened.", True), Document("Blue Mill", "Blue Mill opened.", True))
    question = Question("q", "Which opened first, Red Mill or Blue Mill?", "Blue Mill", (), documents, "mbt")
    assert answer(question).text.endswith("so the answer is a guess: Red Mill.\n</think>\n\n<answer>Red Mill</answer>")


def test_write_reply_to_the_student_prompt_answers_when_with_a_year() -> None:
    documents = (Document("Red Mill", "Red Mill opened in Kansas in 1912 under Nora Vale.", True),)
    question = Question("q", "When was Red Mill opened?", "1912", (), documents, "mbt")
    assert answer(question).text.endswith("<answer>1912</answer>")


def test_write_reply_plain_rewriting_speaks_of_no_thinker_and_passes_its_gate() -> None:
    for question in sample("demo_train", 30):
        text = write_reply(contents(rewrite(question, "<answer>Paris</answer>", "distill_r")), 0)
        assert rejection(text, "stop", question, kind_named("distill_r").rules(4)) is None
        assert "Paris" not in text
        assert not {"we", "our", "us"} & set(text.lower().split())
