"""Stage `gen`: questions to traces.

Read and trim questions -> the student or the teacher drafts -> the teacher writes guides -> the teacher writes traces
-> the gate keeps the good ones; `gen.kind` says which of these steps there are (`traces/kinds.py`). The first few
traces are a trial: if too few of them pass the gate, no more are asked for. Rollouts and replies are on disk before
they count as done, so nothing is paid for twice; the other files are derived from them as a whole, anew where only the
gate has changed. Drafts that did not stop by themselves become no traces, but are counted.

::

    gen/ replies.jsonl     every reply of an endpoint       rollouts.jsonl    the drafts
         solutions.jsonl   the guides                       pass_rates.jsonl  per question: rollouts, valid, correct
         rejected.jsonl    what the gate kept out, and why  traces.jsonl      the training rows
         usage.json        tokens per kind of request
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_questions
from mbt_lite.endpoint.budget import estimate
from mbt_lite.endpoint.opening import Ask, open_endpoints
from mbt_lite.endpoint.replies import TeacherRequest
from mbt_lite.endpoint.served_student import completion_requests, drafting_student, read_completions
from mbt_lite.errors import DataError
from mbt_lite.progress import counting
from mbt_lite.prompts import completion_text, student_messages
from mbt_lite.recipe.endpoint import Speaker
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion, Message, Question, from_row, to_row
from mbt_lite.run_dir import Journal, RunDir, read_json, read_jsonl, write_jsonl
from mbt_lite.traces.asking import Made, Maker, check_trial
from mbt_lite.traces.build import draft_messages
from mbt_lite.traces.checks import rules_for
from mbt_lite.traces.drafts import pass_rates
from mbt_lite.traces.jobs import expected_messages, plan_jobs
from mbt_lite.traces.kinds import KINDS, count_requests
from mbt_lite.traces.tables import counted, rejection_table, spread, usage_table

Drafts = dict[tuple[str, int], Completion]


@dataclasses.dataclass(frozen=True)
class Drafted:
    """The drafts by question and index, and how many replies ended in some other way."""

    drafts: Drafts
    unended: dict[str, int]

    @property
    def valid(self) -> list[Completion]:
        """Give the drafts that stopped by themselves."""
        return [draft for draft in self.drafts.values() if draft.finish_reason == "stop"]

    @property
    def useless(self) -> int:
        """Count the answers of which no trace can be made."""
        return len(self.drafts) - len(self.valid) + sum(self.unended.values())


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
    return [line + again, *_cost_lines(recipe, found)]


def _cost_lines(recipe: Recipe, questions: Sequence[Question]) -> list[str]:
    """Estimate tokens and, with prices, dollars of one attempt at everything that an endpoint is asked."""
    gen, lines = recipe.gen, []
    if KINDS[gen.kind].drafter == "student" and gen.student.is_asked:
        student = drafting_student(gen)
        asked = {question.question_id: draft_messages(question) for question in questions}
        drafts = completion_requests("draft", asked, gen.rollouts_per_question, gen.seed)
        where = f"{student.model} at {', '.join(student.urls)}"
        lines.append(f"gen: drafts by {where}: {estimate(drafts.values(), student).words}")
    # seeds keep equal requests apart
    expected = enumerate(expected_messages(gen, questions))
    requests = [TeacherRequest("plan", str(index), messages, index) for index, messages in expected]
    if requests:
        lines.append(
            f"gen: teacher, drafts and guides in its prompts left out: {estimate(requests, recipe.teacher).words}"
        )
    return lines


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Write `gen/traces.jsonl`; done already by the same gate: say so and return."""
    questions = read_questions(recipe.data.train, recipe.data.seed)
    inputs = run_dir.fingerprint_source(recipe.data.train.path, lambda: questions)
    if run_dir.is_done("gen", inputs) and not _has_another_gate(recipe, run_dir):
        console.print(f"gen: done already, traces in {run_dir.stage_dir('gen') / 'traces.jsonl'}", highlight=False)
        return
    with run_dir.locked("gen", inputs) as folder:
        run_dir.unmark_done("gen")
        summary = _write_traces(recipe, questions, folder, console)
        run_dir.mark_done("gen", inputs, summary, [folder / "traces.jsonl"])
    console.print(f"gen: {summary['traces']} traces in {folder / 'traces.jsonl'} {summary}", highlight=False)


def _gate(recipe: Recipe) -> dict[str, Any]:
    """Give the settings of the gate: with others, the stored replies are passed through it again."""
    return {"gen.min_phases": recipe.gen.min_phases, "sft.max_sequence_tokens": recipe.sft.max_sequence_tokens}


def _has_another_gate(recipe: Recipe, run_dir: RunDir) -> bool:
    """Tell whether the traces passed another gate; marks written before gates were noted say nothing."""
    before = read_json(run_dir.stage_dir("gen") / "done.json")["summary"].get("gate")
    return before is not None and before != _gate(recipe)


def _write_traces(recipe: Recipe, questions: list[Question], folder: Path, console: Console) -> dict[str, Any]:
    fitted, gen = _fit(recipe, questions), recipe.gen
    rules = dataclasses.replace(
        rules_for(gen.kind, gen.min_phases), max_tokens=recipe.sft.max_sequence_tokens, count_tokens=fitted.count_row
    )
    with _open_teacher(recipe, folder, console) as ask:
        maker = Maker(recipe, rules, lambda requests, what: ask(requests, what, recipe.teacher), folder)
        drafted = _try_first(recipe, fitted, maker, ask, console)
        if drafted is None:
            drafted = _draft(recipe, fitted, folder, ask, console)
        made = maker.make(plan_jobs(gen, fitted.questions, drafted.valid), gen.attempts)
    write_jsonl(folder / "rejected.jsonl", made.rejected)
    write_jsonl(folder / "traces.jsonl", map(to_row, made.traces))
    _show(made, read_json(folder / "usage.json"), console)
    if not made.traces:
        raise DataError(f"{folder}: no trace was accepted (rejected {dict(made.final)}); look at rejected.jsonl")
    return {
        "questions": len(questions),
        "prompt_too_long": len(questions) - len(fitted.questions),
        "dropped_documents": fitted.dropped,
        "drafts": len(drafted.drafts),
        "drafts_cut_off": len(drafted.drafts) - len(drafted.valid),
        "drafts_not_ended": drafted.unended,
        "traces": len(made.traces),
        "rejected": dict(made.final),
        "tried_again": dict(collections.Counter(row["reason"] for row in made.rejected if row["retried"])),
        "taken_off": dict(made.taken_off),
        "gate": _gate(recipe),
    }


def _try_first(recipe: Recipe, fitted: Fitted, maker: Maker, ask: Ask, console: Console) -> Drafted | None:
    """Ask for the first few traces; DataError if too few pass. Nothing is lost: the replies are in the journal.

    Gives the drafts if they are complete: those made in this process cost nothing and all come first, of those of an
    endpoint only as many are asked for as the trial needs.
    """
    gen, kind = recipe.gen, KINDS[recipe.gen.kind]
    if not gen.trial_traces or not (kind.request or kind.drafter == "teacher"):
        return None
    first = fitted
    if kind.drafter == "teacher" or gen.student.is_asked:
        count = math.ceil(gen.trial_traces / gen.rollouts_per_question)
        first = dataclasses.replace(fitted, questions=fitted.questions[:count])
    drafted = _draft(recipe, first, maker.folder, ask, console)
    jobs = plan_jobs(gen, first.questions, drafted.valid)
    is_whole = len(first.questions) == len(fitted.questions)
    if len(jobs) > gen.trial_traces or gen.attempts > 1 or not is_whole:
        made = maker.make(jobs[: gen.trial_traces], attempts=1)
        useless = drafted.useless if kind.drafter == "teacher" else 0
        console.print(f"gen: {check_trial(made, useless, gen.min_acceptance, maker.folder)}", highlight=False)
    return drafted if is_whole else None


def _show(made: Made, usage: dict[str, dict[str, int]], console: Console) -> None:
    """Print samples to read, rejections, what was taken off, tokens."""
    for trace in spread(made.traces):
        console.print(f"\n{trace.trace_id}\n{trace.completion[0]['content']}\n", markup=False, highlight=False)
    if made.rejected:
        console.print(rejection_table(len(made.traces), made.rejected))
    if made.taken_off:
        console.print(f"gen: taken off accepted traces: {counted(made.taken_off)}", highlight=False)
    if usage:
        console.print(usage_table(usage))


def _fit(recipe: Recipe, questions: Sequence[Question]) -> Fitted:
    """Drop distractors until prompts fit; leave out the questions that cannot."""
    from mbt_lite.student.chat_template import count_prompt_tokens
    from mbt_lite.student.loading import load_tokenizer

    tokenizer = load_tokenizer(recipe.model)

    def count_prompt(messages: Sequence[Message]) -> int:
        return count_prompt_tokens(tokenizer, messages)

    def count_text(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False)["input_ids"])

    limit = recipe.data.max_prompt_tokens
    fitted = trim_questions(
        questions, limit, lambda question: count_prompt(student_messages(question)), recipe.data.train.path
    )
    return Fitted(list(fitted.questions), fitted.n_dropped, count_prompt, count_text)


def _open_teacher(recipe: Recipe, folder: Path, console: Console) -> AbstractContextManager[Ask]:
    """Lend the function that asks the teacher, or the student where it is served."""

    def count(what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        return counting(console, f"gen: {what}", total)

    return open_endpoints(folder / "replies.jsonl", folder / "usage.json", count, recipe.teacher, recipe.gen.student)


def _draft(recipe: Recipe, fitted: Fitted, folder: Path, ask: Ask, console: Console) -> Drafted:
    """Let the student or the teacher answer, if the kind of trace wants that."""
    gen, drafter = recipe.gen, KINDS[recipe.gen.kind].drafter
    unended: dict[str, int] = {}
    if drafter is None:
        return Drafted({}, unended)
    if drafter == "teacher":
        drafts, unended = _draft_at_endpoint(recipe, fitted, folder, ask, recipe.teacher)
    elif gen.student.is_asked:
        drafts, unended = _draft_at_endpoint(recipe, fitted, folder, ask, drafting_student(gen))
    else:
        drafts = _draft_here(recipe, fitted.questions, folder, console)
    by_id = {question.question_id: question for question in fitted.questions}
    write_jsonl(folder / "pass_rates.jsonl", pass_rates(drafts.values(), by_id))
    return Drafted(drafts, unended)


def _draft_at_endpoint(
    recipe: Recipe, fitted: Fitted, folder: Path, ask: Ask, settings: Speaker
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
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import generate
    from mbt_lite.student.loading import load_student

    gen = recipe.gen
    for rollout in generate(
        load_student(recipe.model),
        [student_messages(question) for question in questions],
        Decoding(
            samples=gen.rollouts_per_question,
            temperature=gen.sampling.temperature,
            top_p=gen.sampling.top_p,
            top_k=gen.sampling.top_k,
            max_completion_tokens=gen.max_completion_tokens,
            batch_size=gen.batch_size,
            seed=gen.seed,
        ),
    ):
        yield Completion(
            question_id=questions[rollout.prompt_index].question_id,
            rollout_index=rollout.sample_index,
            text=rollout.text,
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            completion_tokens=len(rollout.token_ids),
        )
