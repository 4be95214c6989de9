"""Stage `gen`: questions to traces.

Read and trim questions -> the student drafts (MBT-R) -> the teacher writes guides (MBT-R) -> the teacher writes
monologues -> the gate keeps the good ones. Rollouts and replies are on disk before they count as done, so nothing is
paid for twice; the other files are derived from them as a whole. Drafts that did not stop by themselves are not
rewritten, but counted.
"""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_question
from mbt_lite.errors import DataError
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion, Question, Solution, Trace, from_row, to_row
from mbt_lite.report.progress import counting
from mbt_lite.run_dir import Journal, RunDir, read_jsonl, write_json, write_jsonl
from mbt_lite.teacher import scripted
from mbt_lite.teacher.client import complete
from mbt_lite.teacher.replies import Reply, ReplyJournal, TeacherRequest, count_usage
from mbt_lite.traces.build import build_trace, mbt_r_messages, mbt_s_messages, solution_messages
from mbt_lite.traces.checks import rejection

EMBEDDED = "embedded"


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do: reads the questions, loads no model, sends no request."""
    questions, gen = len(read_questions(recipe.data.train, recipe.data.seed)), recipe.gen
    if gen.kind == "mbt_s":
        return [f"gen: {questions} questions, {questions * gen.traces_per_draft} teacher requests (mbt_s)"]
    drafts = questions * gen.rollouts_per_question
    most = questions + drafts * gen.traces_per_draft
    return [f"gen: {questions} questions, {drafts} drafts of the student, at most {most} teacher requests (mbt_r)"]


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Write `gen/traces.jsonl`; done already: say so and return."""
    source = Path(recipe.data.train.path)
    questions = read_questions(recipe.data.train, recipe.data.seed)
    inputs = run_dir.fingerprint([source]) if source.is_file() else {}
    if run_dir.is_done("gen", inputs):
        console.print(f"gen: done already, traces in {run_dir.stage_dir('gen') / 'traces.jsonl'}", highlight=False)
        return
    with run_dir.locked("gen") as folder:
        summary = _write_traces(recipe, questions, folder, console)
        run_dir.mark_done("gen", inputs, summary)
    console.print(f"gen: {summary['traces']} traces in {folder / 'traces.jsonl'} {summary}", highlight=False)


def _write_traces(recipe: Recipe, questions: list[Question], folder: Path, console: Console) -> dict[str, Any]:
    fitting, trimmed = _fit(recipe, questions)
    drafts = _draft(recipe, fitting, folder, console) if recipe.gen.kind == "mbt_r" else {}
    with _teacher_url(recipe) as url, ReplyJournal(folder / "replies.jsonl") as journal:

        def ask(requests: list[TeacherRequest], what: str) -> dict[str, Reply]:
            with counting(console, f"gen: {what}", journal.count_missing(requests, recipe.teacher)) as step:
                return complete(requests, recipe.teacher, url, journal, on_reply=lambda _: step())

        if recipe.gen.kind == "mbt_r":
            requests, owners = _rewrite_requests(recipe, fitting, drafts, folder, ask)
        else:
            requests, owners = _scratch_requests(recipe, fitting)
        replies = ask(requests, "monologues")
        write_json(folder / "usage.json", count_usage(journal.replies.values(), recipe.teacher))
    traces, rejected = _judge(recipe, replies, owners)
    write_jsonl(folder / "rejected.jsonl", rejected)
    write_jsonl(folder / "traces.jsonl", map(to_row, traces))
    if not traces:
        reasons = dict(collections.Counter(row["reason"] for row in rejected))
        raise DataError(f"{folder}: no trace was accepted (rejected {reasons}); look at rejected.jsonl and the teacher")
    console.print(f"\n{traces[0].trace_id}\n{traces[0].completion[0]['content']}\n", markup=False, highlight=False)
    invalid = sum(draft.finish_reason != "stop" for draft in drafts.values())
    return {
        "questions": len(questions),
        "prompt_too_long": len(questions) - len(fitting),
        "dropped_documents": trimmed,
        "drafts": len(drafts),
        "drafts_cut_off": invalid,
        "traces": len(traces),
        "rejected": dict(collections.Counter(row["reason"] for row in rejected)),
    }


def _fit(recipe: Recipe, questions: Sequence[Question]) -> tuple[list[Question], int]:
    """Drop distractors until prompts fit; give the questions that do, and how many documents were dropped."""
    from mbt_lite.model.chat import count_prompt_tokens
    from mbt_lite.model.student import load_tokenizer

    tokenizer = load_tokenizer(recipe.model)
    limit = recipe.data.max_prompt_tokens

    def count_tokens(question: Question) -> int:
        return count_prompt_tokens(tokenizer, student_messages(question))

    trimmed = [trim_question(question, limit, count_tokens) for question in questions]
    fitting = [found.question for found in trimmed if found.question is not None]
    if not fitting:
        raise DataError(f"data.max_prompt_tokens: no question fits (got {limit}); raise it")
    return fitting, sum(found.dropped for found in trimmed if found.question is not None)


def _draft(
    recipe: Recipe, questions: Sequence[Question], folder: Path, console: Console
) -> dict[tuple[str, int], Completion]:
    """Let the student answer; what `rollouts.jsonl` has already is kept."""
    path, gen = folder / "rollouts.jsonl", recipe.gen
    with Journal(path) as journal:
        rows = enumerate(read_jsonl(path), 1)
        done = {
            (draft.question_id, draft.rollout_index): draft
            for draft in (from_row(Completion, row, f"{path}:{line}") for line, row in rows)
        }
        wanted = range(gen.rollouts_per_question)
        missing = [q for q in questions if any((q.question_id, index) not in done for index in wanted)]
        if missing:
            with counting(console, "gen: drafts", len(missing) * gen.rollouts_per_question) as step:
                for draft in _roll_out(recipe, missing):
                    if (draft.question_id, draft.rollout_index) not in done:
                        journal.append(to_row(draft))
                        done[draft.question_id, draft.rollout_index] = draft
                    step()
    ids = {question.question_id for question in questions}
    return {key: draft for key, draft in sorted(done.items()) if key[0] in ids and key[1] in wanted}


def _roll_out(recipe: Recipe, questions: Sequence[Question]) -> Iterator[Completion]:
    from mbt_lite.model.generate import generate
    from mbt_lite.model.student import load_student

    gen = recipe.gen
    student = load_student(recipe.model)
    for rollout in generate(
        student,
        [student_messages(question) for question in questions],
        samples=gen.rollouts_per_question,
        temperature=gen.sampling.temperature,
        top_p=gen.sampling.top_p,
        top_k=gen.sampling.top_k,
        max_completion_tokens=gen.max_completion_tokens,
        batch_size=gen.batch_size,
        seed=gen.seed,
    ):
        yield Completion(
            question_id=questions[rollout.prompt_index].question_id,
            rollout_index=rollout.sample_index,
            text=rollout.text,
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            completion_tokens=len(rollout.token_ids),
        )


Owner = tuple[Question, int | None, int]
Ask = Callable[[list[TeacherRequest], str], dict[str, Reply]]


def _rewrite_requests(
    recipe: Recipe, questions: Sequence[Question], drafts: dict[tuple[str, int], Completion], folder: Path, ask: Ask
) -> tuple[list[TeacherRequest], dict[str, Owner]]:
    """MBT-R: a guide per question, then a rewriting of every draft that stopped by itself."""
    valid = [draft for draft in drafts.values() if draft.finish_reason == "stop"]
    asked = {draft.question_id for draft in valid}
    by_id = {question.question_id: question for question in questions if question.question_id in asked}
    guides = ask(
        [TeacherRequest("solution", key, solution_messages(q), recipe.gen.seed) for key, q in by_id.items()], "guides"
    )
    is_scripted = recipe.teacher.base_url == EMBEDDED
    solutions = {
        key: Solution(key, reply.text, recipe.teacher.model, is_scripted)
        for key, reply in guides.items()
        if reply.finish_reason == "stop" and reply.text
    }
    write_jsonl(folder / "solutions.jsonl", map(to_row, solutions.values()))
    requests: list[TeacherRequest] = []
    owners: dict[str, Owner] = {}
    for draft in valid:
        for index in range(recipe.gen.traces_per_draft):
            if draft.question_id not in solutions:
                continue
            label = f"{draft.question_id}:{draft.rollout_index}:{index}"
            question = by_id[draft.question_id]
            messages = mbt_r_messages(question, solutions[draft.question_id], draft)
            requests.append(TeacherRequest("mbt_r", label, messages, recipe.gen.seed + index))
            owners[label] = (question, draft.rollout_index, index)
    return requests, owners


def _scratch_requests(recipe: Recipe, questions: Sequence[Question]) -> tuple[list[TeacherRequest], dict[str, Owner]]:
    """MBT-S: a monologue per question from scratch."""
    requests: list[TeacherRequest] = []
    owners: dict[str, Owner] = {}
    for question in questions:
        for index in range(recipe.gen.traces_per_draft):
            label = f"{question.question_id}:-:{index}"
            requests.append(TeacherRequest("mbt_s", label, mbt_s_messages(question), recipe.gen.seed + index))
            owners[label] = (question, None, index)
    return requests, owners


def _judge(
    recipe: Recipe, replies: dict[str, Reply], owners: dict[str, Owner]
) -> tuple[list[Trace], list[dict[str, Any]]]:
    """Put every reply through the gate: traces, and what was rejected with its reason."""
    traces, rejected = [], []
    for label, reply in replies.items():
        question, rollout_index, trace_index = owners[label]
        reason = rejection(reply.text, reply.finish_reason, question)
        if reason is not None:
            rejected.append({"label": label, "question_id": question.question_id, "reason": reason, "text": reply.text})
            continue
        traces.append(
            build_trace(
                question,
                recipe.gen.kind,
                reply.text,
                rollout_index=rollout_index,
                trace_index=trace_index,
                teacher=recipe.teacher.model,
                scripted=recipe.teacher.base_url == EMBEDDED,
            )
        )
    return traces, rejected


@contextlib.contextmanager
def _teacher_url(recipe: Recipe) -> Iterator[str | tuple[str, ...]]:
    """Give the teacher's base URL, serving the embedded one if it is asked for."""
    if recipe.teacher.base_url != EMBEDDED:
        yield recipe.teacher.base_url
        return
    with scripted.serve() as url:
        yield url
