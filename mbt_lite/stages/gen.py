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
         usage.json        tokens per kind of request       servers.json      what servers gave away about themselves
         forecasts.jsonl   what the student foretold (meta_expert)
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mbt_lite.console import Screen
from mbt_lite.data.control_tokens import refuse_control_tokens
from mbt_lite.data.overlap import read_overlap
from mbt_lite.data.questions import closed_book_lines, read_questions
from mbt_lite.data.trimming import trim_question, trim_questions
from mbt_lite.endpoint.budget import estimate
from mbt_lite.endpoint.opening import Ask, Counting, open_endpoints
from mbt_lite.endpoint.replies import TeacherRequest
from mbt_lite.endpoint.served_student import drafting_student
from mbt_lite.errors import DataError, RunError
from mbt_lite.files import read_json, write_jsonl
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.local_rounds import Generate, LocalRounds
from mbt_lite.generation.served_rounds import ServedRounds, requests_of
from mbt_lite.memory import each_in_phase
from mbt_lite.progress import counting
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Gen, Recipe, Teacher
from mbt_lite.records import Completion, Question, Trace, to_row
from mbt_lite.run_dir import RunDir, adapter_files
from mbt_lite.screen import say
from mbt_lite.strategies import single
from mbt_lite.strategies.rounds import Answers, Key, first_prompts, play
from mbt_lite.strategies.strategy import Settings
from mbt_lite.student.token_counts import TokenCounts
from mbt_lite.traces.asking import Made, Maker, check_trial
from mbt_lite.traces.drafts import pass_rates
from mbt_lite.traces.executed import with_executed
from mbt_lite.traces.jobs import expected_messages, plan_jobs
from mbt_lite.traces.kind import Kind
from mbt_lite.traces.kinds import kind_named
from mbt_lite.traces.meta_rows import expert_rows, replayed
from mbt_lite.traces.tables import counted, rejection_table, spread, usage_table
from mbt_lite.training.out_of_memory import naming_out_of_memory


@dataclasses.dataclass(frozen=True)
class Drafted:
    """The drafts by question and index, and how many replies ended in some other way."""

    drafts: Mapping[Key, Completion]
    unended: Mapping[str, int]

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

    questions: Sequence[Question]
    dropped: int
    counts: TokenCounts


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do: reads the questions, loads no model, sends no request; what it lacks is refused."""
    _earlier_files(recipe.gen)
    found, gen = read_questions(recipe.data.train, recipe.data.seed), recipe.gen
    kind, questions = kind_named(gen.kind), len(found)
    requests = sum(kind.count_requests(gen, questions).values())
    parts = [f"{questions} questions"]
    if kind.drafter is not None:
        parts.append(f"{questions * kind.drafts_per_question(gen)} drafts of the {kind.drafter}")
    most = "at most " if kind.wants_guide else ""
    line = f"gen: {', '.join(parts)}, {most}{requests} teacher requests ({gen.kind})"
    again = "" if gen.attempts == 1 else f"; rejected traces are tried up to {gen.attempts} times"
    return [line + again, *_cost_lines(kind, gen, recipe.teacher, found), *read_overlap(recipe.data).lines]


def _cost_lines(kind: Kind, gen: Gen, teacher: Teacher, questions: Sequence[Question]) -> list[str]:
    """Estimate tokens and, with prices, dollars of one attempt at everything that an endpoint is asked."""
    lines = []
    if kind.drafter == "student" and gen.student.is_asked:
        student = drafting_student(gen)
        prompts = first_prompts(single.STRATEGY, questions, _drafting(kind, gen), gen.rollouts_per_question)
        drafts = [request for _, request in requests_of(prompts, "draft", gen.seed)]
        where = f"{student.model} at {', '.join(student.urls)}"
        lines.append(f"gen: drafts by {where}: {estimate(drafts, student).words}")
    # seeds keep equal requests apart
    expected = enumerate(expected_messages(kind, gen, questions))
    requests = [TeacherRequest("plan", str(index), messages, index) for index, messages in expected]
    if requests:
        lines.append(f"gen: teacher, drafts and guides in its prompts left out: {estimate(requests, teacher).words}")
    return lines


def run(recipe: Recipe, run_dir: RunDir, console: Screen) -> None:
    """Write `gen/traces.jsonl`; done already by the same gate: say so and return."""
    questions = read_questions(recipe.data.train, recipe.data.seed)
    inputs = run_dir.fingerprint_source(recipe.data.train.path, lambda: questions)
    inputs |= run_dir.fingerprint(_earlier_files(recipe.gen))
    if run_dir.is_done("gen", inputs) and not _has_another_gate(recipe, run_dir):
        console.print(f"gen: done already, traces in {run_dir.stage_dir('gen') / 'traces.jsonl'}")
        return
    for line in [*read_overlap(recipe.data).lines, *closed_book_lines(questions, "gen")]:
        console.print(line, soft_wrap=True)
    with run_dir.locked("gen", inputs) as folder, naming_out_of_memory(recipe, "gen", folder):
        run_dir.unmark_done("gen")
        summary = _write_traces(recipe, questions, folder, console)
        run_dir.mark_done("gen", inputs, summary, [folder / "traces.jsonl"])
    console.print(f"gen: {summary['traces']} traces in {folder / 'traces.jsonl'} {summary}")


def _earlier_files(gen: Gen) -> list[Path]:
    """Give the files of earlier runs that are read; RunError for one that is missing."""
    files = [] if gen.student_adapter is None else adapter_files(Path(gen.student_adapter))
    for file in files:
        if not file.is_file():
            raise RunError(f"{file}: no adapter to draft with; name the folder of one in gen.student_adapter")
    if gen.replay is None:
        return files
    # missing, it says what to name
    replayed(Path(gen.replay), 0, 0, ())
    return [*files, Path(gen.replay)]


def _gate(recipe: Recipe) -> dict[str, Any]:
    """Give the settings of the gate: with others, the stored replies are passed through it again."""
    gate = {"gen.min_phases": recipe.gen.min_phases, "sft.max_sequence_tokens": recipe.sft.max_sequence_tokens}
    if recipe.gen.confidence_from != "agreement":
        return {**gate, "gen.confidence_from": recipe.gen.confidence_from}
    if kind_named(recipe.gen.kind).carries_out is None:
        return gate
    return {**gate, "gen.executed_share": recipe.gen.executed_share, "gen.plan_rows": recipe.gen.plan_rows}


def _has_another_gate(recipe: Recipe, run_dir: RunDir) -> bool:
    """Tell whether the traces passed another gate; marks written before gates were noted say nothing."""
    before = read_json(run_dir.stage_dir("gen") / "done.json", summary=dict)["summary"].get("gate")
    return before is not None and before != _gate(recipe)


def _write_traces(recipe: Recipe, questions: list[Question], folder: Path, console: Screen) -> dict[str, Any]:
    kind, gen, teacher = kind_named(recipe.gen.kind), recipe.gen, recipe.teacher
    fitted = _fit(recipe, kind, questions)
    rules = dataclasses.replace(
        kind.rules(gen.min_phases),
        max_tokens=recipe.sft.max_sequence_tokens,
        count_tokens=lambda question, trace, answer: fitted.counts.row(
            kind.row_prompt(question), kind.completion(trace, answer)
        ),
        controls=fitted.counts.controls,
    )

    def count(what: str, total: int) -> AbstractContextManager[Callable[[], None]]:
        return counting(console, f"gen: {what}", total)

    with open_endpoints(folder, count, teacher, gen.student) as ask:
        ask_teacher = functools.partial(ask, settings=teacher)
        maker = Maker(kind, gen, teacher, recipe.model.name, rules, ask_teacher, folder)
        drafter = functools.partial(
            _drafter, recipe, kind, fitted.counts, ask=ask, counting=count, open_=_opener(recipe)
        )
        answers = drafter(folder / "rollouts.jsonl", "drafts")
        drafted = _try_first(fitted, maker, answers, console)
        if drafted is None:
            drafted = _draft(kind, gen, fitted.questions, answers, folder)
        made = _make(maker, fitted, drafted, lambda: drafter(folder / "forecasts.jsonl", "forecasts"))
    rows = with_executed(kind, made.traces, fitted.questions, gen, rules)
    again = _replay(gen, rows.traces)
    write_jsonl(folder / "rejected.jsonl", made.rejected)
    write_jsonl(folder / "traces.jsonl", map(to_row, [*rows.traces, *again]))
    servers = read_json(folder / "servers.json")
    _show(made, read_json(folder / "usage.json"), servers, console)
    if not made.traces:
        raise DataError(f"{folder}: no trace was accepted (rejected {dict(made.final)}); look at rejected.jsonl")
    if kind.carries_out is not None:
        why = f" (others could not be: {counted(rows.without)})" if rows.without else ""
        console.print(f"gen: {rows.executed} plans are carried out{why}")
    if not rows.traces:
        raise DataError(f"{folder}: no plan could be carried out ({dict(rows.without)}); set gen.plan_rows to true")
    return {
        "questions": len(questions),
        "prompt_too_long": len(questions) - len(fitted.questions),
        "dropped_documents": fitted.dropped,
        "drafts": len(drafted.drafts),
        "drafts_cut_off": len(drafted.drafts) - len(drafted.valid),
        "drafts_not_ended": drafted.unended,
        "traces": len(rows.traces),
        **({} if kind.carries_out is None else {"executed": rows.executed, "not_executed": dict(rows.without)}),
        **({} if gen.replay is None else {"replayed": len(again)}),
        "rejected": dict(made.final),
        "tried_again": dict(collections.Counter(row["reason"] for row in made.rejected if row["retried"])),
        "taken_off": dict(made.taken_off),
        "gate": _gate(recipe),
        "servers": servers,
    }


def _make(maker: Maker, fitted: Fitted, drafted: Drafted, foreteller: Callable[[], Answers | None]) -> Made:
    """Make the rows of a kind: of all drafts together, with forecasts, or one by one."""
    kind, gen, questions, every = maker.kind, maker.gen, fitted.questions, drafted.drafts.values()
    if kind.rows_of_drafts is not None:
        return kind.rows_of_drafts(kind, questions, every, maker.rules, maker.student, gen.seed, gen.confidence_from)
    if kind.second_request is not None:
        forecasts = _foretell(kind, gen, questions, foreteller())
        return expert_rows(kind, questions, every, forecasts, maker.rules, maker.student, gen.seed)
    return maker.make(plan_jobs(kind, gen, questions, drafted.valid), gen.attempts)


def _try_first(fitted: Fitted, maker: Maker, answers: Answers | None, console: Screen) -> Drafted | None:
    """Ask for the first few traces; DataError if too few pass. Nothing is lost: the replies are in the journal.

    Gives the drafts if they are complete: those made in this process cost nothing and all come first, of those of an
    endpoint only as many are asked for as the trial needs.
    """
    kind, gen = maker.kind, maker.gen
    if not gen.trial_traces or not (kind.trace_request or kind.drafter == "teacher"):
        return None
    first = fitted.questions
    if isinstance(answers, ServedRounds):
        first = first[: math.ceil(gen.trial_traces / gen.rollouts_per_question)]
    drafted = _draft(kind, gen, first, answers, maker.folder)
    jobs = plan_jobs(kind, gen, first, drafted.valid)
    is_whole = len(first) == len(fitted.questions)
    if len(jobs) > gen.trial_traces or gen.attempts > 1 or not is_whole:
        made = maker.make(jobs[: gen.trial_traces], attempts=1)
        useless = drafted.useless if kind.drafter == "teacher" else 0
        console.print(f"gen: {check_trial(made, useless, gen.min_acceptance, maker.folder)}")
    return drafted if is_whole else None


def _show(made: Made, usage: dict[str, dict[str, int]], servers: Mapping[str, Sequence[str]], console: Screen) -> None:
    """Print samples to read, rejections, what was taken off, tokens, what servers gave away."""
    for trace in spread(made.traces):
        console.print(f"\n{trace.trace_id}\n{trace.completion[0]['content']}\n")
    if made.rejected:
        console.print(rejection_table(len(made.traces), made.rejected))
    if made.taken_off:
        console.print(f"gen: taken off accepted traces: {counted(made.taken_off)}")
    for line in made.told:
        console.print(f"gen: {line}", soft_wrap=True)
    if usage:
        console.print(usage_table(usage))
    for key, lines in servers.items():
        for line in lines:
            console.print(f"gen: {key}: {line}")


def _fit(recipe: Recipe, kind: Kind, questions: Sequence[Question]) -> Fitted:
    """Drop distractors until prompts fit; leave out the questions that cannot, refuse control tokens."""
    from mbt_lite.generation import local

    counts = local.read_counts(recipe.model)
    fitted = trim_questions(
        questions,
        recipe.data.max_prompt_tokens,
        lambda question: counts.prompt(kind.row_prompt(question)),
        recipe.data.train.path,
    )
    refuse_control_tokens(fitted.questions, counts.controls, recipe.data.train)
    _tell_of_later_prompts(recipe, fitted.questions, counts)
    return Fitted(fitted.questions, fitted.n_dropped, counts)


def _tell_of_later_prompts(recipe: Recipe, questions: Sequence[Question], counts: TokenCounts) -> None:
    """Say, before anything is paid, if no prompt of `eval` will fit into the limit: its system prompt is long."""
    limit = recipe.data.max_prompt_tokens

    def count(question: Question) -> int:
        return counts.prompt(student_messages(question, metacognitive=True))

    if any(variant.is_metacognitive for variant in recipe.eval.full_variants) and not any(
        trim_question(question, limit, count).question for question in questions
    ):
        say(
            f"gen: data.max_prompt_tokens: no question fits beside eval's metacognitive system prompt (got {limit}, "
            f"the shortest needs {min(map(count, questions))}); raise it, or leave that variant out of `eval.variants`",
            error=True,
        )


def _drafting(kind: Kind, gen: Gen) -> Settings:
    return Settings(kind.draft_request, gen.sampling.temperature, gen.max_completion_tokens)


def _opener(recipe: Recipe) -> Callable[[], Generate]:
    """Give what loads the student that drafts, once."""

    @functools.cache
    def open_student() -> Generate:
        from mbt_lite.generation import local

        adapter = recipe.gen.student_adapter
        return each_in_phase("rollouts", local.open_student(recipe.model, None if adapter is None else Path(adapter)))

    return open_student


def _drafter(
    recipe: Recipe,
    kind: Kind,
    counts: TokenCounts,
    journal: Path,
    what: str,
    *,
    ask: Ask,
    counting: Counting,
    open_: Callable[[], Generate],
) -> Answers | None:
    """Give who drafts, if the kind of trace wants that: an endpoint, or the student in this process."""
    gen = recipe.gen
    if kind.drafter is None:
        return None
    if kind.drafter == "teacher" or gen.student.is_asked:
        speaker = recipe.teacher if kind.drafter == "teacher" else drafting_student(gen)
        asked = "draft" if what == "drafts" else "forecast"
        return ServedRounds(ask, speaker, counts, kind=asked, seed=gen.seed, what=what, prefills_think=False)
    decoding = Decoding(
        max_completion_tokens=gen.max_completion_tokens,
        top_p=gen.sampling.top_p,
        top_k=gen.sampling.top_k,
        batch_size=gen.batch_size,
        seed=gen.seed,
    )
    return LocalRounds(open_, decoding, journal, True, what, counting)


def _draft(kind: Kind, gen: Gen, questions: Sequence[Question], answers: Answers | None, folder: Path) -> Drafted:
    """Let the drafter answer."""
    if answers is None:
        return Drafted({}, {})
    made = play(single.STRATEGY, questions, _drafting(kind, gen), gen.rollouts_per_question, answers)
    drafts = dict(sorted(made.completions.items()))
    if isinstance(answers, ServedRounds):
        write_jsonl(folder / "rollouts.jsonl", map(to_row, drafts.values()))
    by_id = {question.question_id: question for question in questions}
    write_jsonl(folder / "pass_rates.jsonl", pass_rates(drafts.values(), by_id))
    return Drafted(drafts, dict(collections.Counter(made.refused.values())))


def _foretell(kind: Kind, gen: Gen, questions: Sequence[Question], answers: Answers | None) -> list[Completion]:
    """Let the drafter answer the second request, as often as the first."""
    assert kind.second_request is not None, kind.name
    assert answers is not None, kind.name
    settings = Settings(kind.second_request, gen.sampling.temperature, gen.max_completion_tokens)
    made = play(single.STRATEGY, questions, settings, gen.rollouts_per_question, answers)
    return [one for _, one in sorted(made.completions.items())]


def _replay(gen: Gen, traces: Sequence[Trace]) -> list[Trace]:
    """Choose rows of an earlier run, as many as there are new ones."""
    if gen.replay is None:
        return []
    return replayed(Path(gen.replay), len(traces), gen.seed, [trace.trace_id for trace in traces])
