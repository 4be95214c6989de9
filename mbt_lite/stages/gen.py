"""Stage `gen`: questions to traces.

Read and trim questions -> the student or the teacher drafts -> the teacher writes guides -> the teacher writes traces
-> the gate keeps the good ones; `gen.kind` says which of these steps there are (`traces/kinds.py`). Rollouts and
replies are on disk before they count as done, so nothing is paid for twice; the other files are derived from them as a
whole. Drafts that did not stop by themselves become no traces, but are counted.

::

    gen/ replies.jsonl     every reply of an endpoint       rollouts.jsonl    the drafts
         solutions.jsonl   the guides                       pass_rates.jsonl  per question: rollouts, valid, correct
         rejected.jsonl    what the gate kept out, and why  traces.jsonl      the training rows
         usage.json        tokens per kind of request
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_question
from mbt_lite.endpoint.budget import estimate
from mbt_lite.endpoint.client import complete
from mbt_lite.endpoint.replies import Reply, ReplyJournal, TeacherRequest, count_usage
from mbt_lite.endpoint.served_student import completion_requests, read_completions, served_student
from mbt_lite.errors import DataError
from mbt_lite.prompts import completion_text, student_messages
from mbt_lite.recipe.schema import Recipe, Teacher
from mbt_lite.records import Completion, Message, Question, Solution, Trace, from_row, to_row
from mbt_lite.report.progress import counting
from mbt_lite.run_dir import Journal, RunDir, read_json, read_jsonl, write_json, write_jsonl
from mbt_lite.scripted import server as scripted
from mbt_lite.traces.build import build_trace, draft_messages, solution_messages
from mbt_lite.traces.checks import Rules, draft_rejection, rejection, rules_for
from mbt_lite.traces.drafts import parse_draft, pass_rates
from mbt_lite.traces.jobs import Job, expected_messages, rejected_row, rewrite_jobs, scratch_jobs
from mbt_lite.traces.kinds import KINDS, count_requests
from mbt_lite.traces.tables import rejection_table, spread, usage_table

EMBEDDED = "embedded"

Drafts = dict[tuple[str, int], Completion]


@dataclasses.dataclass(frozen=True)
class Fitted:
    """The questions whose prompts fit, how many documents that cost, and the student's way of counting tokens."""

    questions: list[Question]
    dropped: int
    count_prompt: Callable[[Sequence[Message]], int]
    count_text: Callable[[str], int]

    def count_row(self, question: Question, trace: str, answer: str) -> int:
        """Count the tokens of a training row: prompt, completion, end of turn."""
        return self.count_prompt(student_messages(question)) + self.count_text(completion_text(trace, answer)) + 1


class Ask(Protocol):
    """Who can be asked."""

    def __call__(self, requests: list[TeacherRequest], what: str, settings: Teacher) -> dict[str, Reply]:
        """Send requests, or find their replies in the journal; give replies by label."""


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do: reads the questions, loads no model, sends no request."""
    found, gen = read_questions(recipe.data.train, recipe.data.seed), recipe.gen
    kind, questions = KINDS[gen.kind], len(found)
    requests = sum(count_requests(gen, questions).values())
    parts = [f"{questions} questions"]
    if kind.drafter is not None:
        parts.append(f"{questions * gen.rollouts_per_question} drafts of the {kind.drafter}")
    most = "at most " if kind.wants_guide else ""
    line = f"gen: {', '.join(parts)}, {most}{requests} teacher requests ({gen.kind})"
    again = "" if gen.attempts == 1 else f"; rejected traces are tried up to {gen.attempts} times"
    return [line + again, *_cost_line(recipe, found)]


def _cost_line(recipe: Recipe, questions: Sequence[Question]) -> list[str]:
    """Estimate tokens and, with prices, dollars of one attempt at every trace."""
    expected = expected_messages(recipe.gen, questions)
    if not expected:
        return []
    # seeds keep equal requests apart
    requests = [TeacherRequest("plan", str(index), messages, index) for index, messages in enumerate(expected)]
    cost = estimate(requests, recipe.teacher)
    dollars = "no prices in the recipe" if cost.usd is None else f"at most {cost.usd:.2f} USD"
    return [
        f"gen: about {cost.prompt_tokens:,} prompt tokens without the drafts and guides they will quote, "
        f"at most {cost.completion_tokens:,} completion tokens ({dollars})"
    ]


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
    fitted, kind = _fit(recipe, questions), KINDS[recipe.gen.kind]
    rules = dataclasses.replace(
        rules_for(recipe.gen.kind, recipe.gen.min_phases),
        max_tokens=recipe.sft.max_sequence_tokens,
        count_tokens=fitted.count_row,
    )
    with _open_teacher(recipe, folder, console) as ask:
        drafts, unended = _draft(recipe, fitted, folder, ask, console)
        valid = [draft for draft in drafts.values() if draft.finish_reason == "stop"]
        if kind.request is None:
            traces, rejected = _keep_drafts(recipe, fitted.questions, valid, rules)
        else:
            jobs, rejected = _plan_jobs(recipe, fitted.questions, valid, folder, ask)
            traces = _ask_for_traces(recipe, jobs, rules, ask, rejected)
    write_jsonl(folder / "rejected.jsonl", rejected)
    write_jsonl(folder / "traces.jsonl", map(to_row, traces))
    final = dict(collections.Counter(row["reason"] for row in rejected if not row["retried"]))
    _show(traces, rejected, read_json(folder / "usage.json"), console)
    if not traces:
        raise DataError(f"{folder}: no trace was accepted (rejected {final}); look at rejected.jsonl and the teacher")
    return {
        "questions": len(questions),
        "prompt_too_long": len(questions) - len(fitted.questions),
        "dropped_documents": fitted.dropped,
        "drafts": len(drafts),
        "drafts_cut_off": len(drafts) - len(valid),
        "drafts_not_ended": unended,
        "traces": len(traces),
        "rejected": final,
        "tried_again": dict(collections.Counter(row["reason"] for row in rejected if row["retried"])),
    }


def _show(
    traces: Sequence[Trace], rejected: Sequence[dict[str, Any]], usage: dict[str, dict[str, int]], console: Console
) -> None:
    """Print samples to read, rejections and tokens."""
    for trace in spread(traces):
        console.print(f"\n{trace.trace_id}\n{trace.completion[0]['content']}\n", markup=False, highlight=False)
    if rejected:
        console.print(rejection_table(rejected))
    if usage:
        console.print(usage_table(usage))


def _fit(recipe: Recipe, questions: Sequence[Question]) -> Fitted:
    """Drop distractors until prompts fit; leave out the questions that cannot."""
    from mbt_lite.model.chat import count_prompt_tokens
    from mbt_lite.model.student import load_tokenizer

    tokenizer = load_tokenizer(recipe.model)
    limit = recipe.data.max_prompt_tokens

    def count_prompt(messages: Sequence[Message]) -> int:
        return count_prompt_tokens(tokenizer, messages)

    def count_text(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    trimmed = [trim_question(question, limit, lambda q: count_prompt(student_messages(q))) for question in questions]
    fitting = [found.question for found in trimmed if found.question is not None]
    if not fitting:
        raise DataError(f"data.max_prompt_tokens: no question fits (got {limit}); raise it")
    return Fitted(fitting, sum(found.dropped for found in trimmed if found.question), count_prompt, count_text)


@contextlib.contextmanager
def _open_teacher(recipe: Recipe, folder: Path, console: Console) -> Iterator[Ask]:
    """Lend the function that asks; what was spent is in `usage.json` at the end, also of a run that fails."""
    with contextlib.ExitStack() as stack:
        is_embedded = recipe.teacher.base_url == EMBEDDED
        url = stack.enter_context(scripted.serve()) if is_embedded else recipe.teacher.base_url
        journal = stack.enter_context(ReplyJournal(folder / "replies.jsonl"))

        def ask(requests: list[TeacherRequest], what: str, settings: Teacher) -> dict[str, Reply]:
            base_url = url if settings is recipe.teacher else settings.base_url
            with counting(console, f"gen: {what}", journal.count_missing(requests, settings)) as step:
                return complete(requests, settings, base_url, journal, on_reply=lambda _: step())

        try:
            yield ask
        finally:
            write_json(folder / "usage.json", count_usage(journal.replies.values(), recipe.teacher))


def _draft(recipe: Recipe, fitted: Fitted, folder: Path, ask: Ask, console: Console) -> tuple[Drafts, dict[str, int]]:
    """Let the student or the teacher answer; give the drafts, and how many replies ended in some other way."""
    gen, drafter = recipe.gen, KINDS[recipe.gen.kind].drafter
    unended: dict[str, int] = {}
    if drafter is None:
        return {}, unended
    if drafter == "teacher":
        drafts, unended = _draft_at_endpoint(recipe, fitted, folder, ask, recipe.teacher)
    elif gen.student_base_url is not None:
        drafts, unended = _draft_at_endpoint(recipe, fitted, folder, ask, _student_endpoint(recipe))
    else:
        drafts = _draft_here(recipe, fitted.questions, folder, console)
    by_id = {question.question_id: question for question in fitted.questions}
    write_jsonl(folder / "pass_rates.jsonl", pass_rates(drafts.values(), by_id))
    return drafts, unended


def _student_endpoint(recipe: Recipe) -> Teacher:
    gen = recipe.gen
    assert gen.student_base_url is not None
    assert gen.student_model is not None
    return served_student(
        recipe.teacher,
        base_url=gen.student_base_url,
        model=gen.student_model,
        api_key_env=gen.student_api_key_env,
        temperature=gen.sampling.temperature,
        top_p=gen.sampling.top_p,
        max_completion_tokens=gen.max_completion_tokens,
    )


def _draft_at_endpoint(
    recipe: Recipe, fitted: Fitted, folder: Path, ask: Ask, settings: Teacher
) -> tuple[Drafts, dict[str, int]]:
    """Ask an endpoint for drafts; give them, and how many replies ended in some other way."""
    gen = recipe.gen
    asked = {question.question_id: draft_messages(question) for question in fitted.questions}
    requests = completion_requests("draft", asked, gen.rollouts_per_question, gen.seed)
    replies = ask(list(requests.values()), "drafts", settings)
    drafts, unended = read_completions(requests, replies, fitted.count_prompt, fitted.count_text)
    write_jsonl(folder / "rollouts.jsonl", map(to_row, drafts.values()))
    return drafts, dict(collections.Counter(unended.values()))


def _draft_here(recipe: Recipe, questions: Sequence[Question], folder: Path, console: Console) -> Drafts:
    """Let the student answer in this process; what `rollouts.jsonl` has already is kept."""
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
    for rollout in generate(
        load_student(recipe.model),
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


def _keep_drafts(
    recipe: Recipe, questions: Sequence[Question], valid: Sequence[Completion], rules: Rules
) -> tuple[list[Trace], list[dict[str, Any]]]:
    """Turn right drafts into traces as they are."""
    by_id = {question.question_id: question for question in questions}
    traces: list[Trace] = []
    rejected: list[dict[str, Any]] = []
    for draft in valid:
        job = Job(by_id[draft.question_id], draft, 0)
        reason = draft_rejection(draft, job.question, rules)
        if reason is None:
            parsed = parse_draft(draft.text)
            traces.append(_build(recipe, job, str(parsed.trace), parsed.answer))
        else:
            rejected.append(rejected_row(job, recipe.gen.kind, reason, draft.text))
    return traces, rejected


def _plan_jobs(
    recipe: Recipe, questions: Sequence[Question], valid: Sequence[Completion], folder: Path, ask: Ask
) -> tuple[list[Job], list[dict[str, Any]]]:
    """List the traces to ask for; those whose question got no guide are rejected at once."""
    gen, request = recipe.gen, KINDS[recipe.gen.kind].request
    if request is None or request == "mbt_s":
        return scratch_jobs(questions, gen.traces_per_draft), []
    asked = {draft.question_id for draft in valid}
    by_id = {question.question_id: question for question in questions if question.question_id in asked}
    solutions = _ask_for_guides(recipe, by_id, folder, ask)
    jobs, without_guide = rewrite_jobs(valid, by_id, solutions, request, gen.traces_per_draft)
    return jobs, [rejected_row(job, gen.kind, "no guide", "") for job in without_guide]


def _ask_for_guides(recipe: Recipe, by_id: dict[str, Question], folder: Path, ask: Ask) -> dict[str, Solution]:
    requests = [TeacherRequest("solution", key, solution_messages(q), recipe.gen.seed) for key, q in by_id.items()]
    solutions = {
        key: Solution(key, reply.text, recipe.teacher.model, recipe.teacher.base_url == EMBEDDED)
        for key, reply in ask(requests, "guides", recipe.teacher).items()
        if reply.finish_reason == "stop" and reply.text
    }
    write_jsonl(folder / "solutions.jsonl", map(to_row, solutions.values()))
    return solutions


def _ask_for_traces(
    recipe: Recipe, jobs: Sequence[Job], rules: Rules, ask: Ask, rejected: list[dict[str, Any]]
) -> list[Trace]:
    """Ask until the gate lets a trace pass or its attempts are used up; add to `rejected` what it keeps out."""
    gen, pending, accepted = recipe.gen, list(jobs), dict[str, Trace]()
    for attempt in range(gen.attempts):
        requests = [
            TeacherRequest(
                gen.kind,
                job.label if attempt == 0 else f"{job.label}:again{attempt}",
                job.messages,
                # no two requests for one draft share a seed
                gen.seed + job.trace_index + attempt * gen.traces_per_draft,
            )
            for job in pending
        ]
        replies = ask(requests, "traces" if attempt == 0 else f"traces, attempt {attempt + 1}", recipe.teacher)
        again = []
        for job, request in zip(pending, requests, strict=True):
            reply = replies[request.label]
            reason = rejection(reply.text, reply.finish_reason, job.question, rules)
            if reason is None:
                accepted[job.label] = _build(recipe, job, reply.text, None)
                continue
            # what an endpoint refuses once, it refuses again
            retried = attempt + 1 < gen.attempts and reason != "refused"
            rejected.append(rejected_row(job, gen.kind, reason, reply.text, attempt=attempt + 1, retried=retried))
            again += [job] if retried else []
        pending = again
    return [accepted[job.label] for job in jobs if job.label in accepted]


def _build(recipe: Recipe, job: Job, text: str, answer: str | None) -> Trace:
    own = recipe.gen.kind == "self_distill"
    return build_trace(
        job.question,
        recipe.gen.kind,
        text,
        rollout_index=job.rollout_index,
        trace_index=job.trace_index,
        teacher=recipe.model.name if own else recipe.teacher.model,
        scripted=not own and recipe.teacher.base_url == EMBEDDED,
        answer=answer,
    )
