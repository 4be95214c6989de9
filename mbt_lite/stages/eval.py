"""Stage eval: variants of the student answer held-out questions; every number comes with its n and its interval.

::

    dev questions ──trim──▶ prompts ──student (+ adapter)──▶ completions.jsonl ──score──▶ predictions.jsonl
                                      predictions ──judge, if there is one──▶ judgements.jsonl
                                      predictions, judgements ──▶ metrics.json, table, report.html

Completions and the judge's replies are journaled one by one, so nothing is generated or paid for twice. All that
follows from them is cheap and is made anew on every run: a change of the scoring never needs the model again.

Source: the measures of arXiv 2602.22508. Where we differ:
1. All variants see the same documents: a prompt must fit with the longest system prompt of the variants, and a question
   that cannot fit is left out of all of them.
2. Greedy by default; with `eval.temperature` above 0 the whole distribution is sampled, unless `eval.top_p` or
   `eval.top_k` cut it.
3. Answers by rule are all there is without a judge; with one, its verdicts stand beside them and never replace them.
"""

from __future__ import annotations

import dataclasses
import datetime
import functools
import gc
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite import prompts
from mbt_lite.data.answer_keys import read_answer_keys
from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_questions
from mbt_lite.endpoint.budget import estimate
from mbt_lite.endpoint.opening import open_endpoints
from mbt_lite.endpoint.served_student import (
    answering_student,
    completion_requests,
    read_completions,
    refuse_one_model_for_two,
)
from mbt_lite.errors import DataError, RunError
from mbt_lite.generation.decoding import Decoding
from mbt_lite.judge.panel import judge_variants
from mbt_lite.metrics.answers import rules_for
from mbt_lite.metrics.phase_reader import fit_reader, held_out, read_traces
from mbt_lite.metrics.predictions import score_completion, with_phases
from mbt_lite.metrics.scorecard import scorecards
from mbt_lite.progress import counting
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion, Message, Prediction, Question, from_row, to_row
from mbt_lite.report.contents import Report, read_run
from mbt_lite.report.html import write_report
from mbt_lite.report.table import ComparisonTable
from mbt_lite.run_dir import Journal, RunDir, adapter_files, read_jsonl, write_json, write_jsonl
from mbt_lite.student.chat_template import refuse_other_template

TRAINED = ("sft", "grpo")


@dataclasses.dataclass(frozen=True, slots=True)
class Exam:
    """What every variant is asked: the trimmed questions, and the ones that do not fit, with the reason."""

    questions: tuple[Question, ...]
    left_out: tuple[Mapping[str, str], ...]
    n_trimmed: int
    prefills_think: bool
    chat_template: str
    count_prompt: Callable[[Sequence[Message]], int]
    count_text: Callable[[str], int]


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Complete what is missing, score everything, print the table and write the report.

    Raises RunError when an adapter is missing or an input changed since the stage began, DataError for questions that
    cannot be scored or do not fit.
    """
    adapters: dict[str, Path | None] = {variant: _adapter(recipe, run_dir, variant) for variant in recipe.eval.variants}
    inputs = _inputs(recipe, run_dir, [adapter for adapter in adapters.values() if adapter])
    for variant, adapter in adapters.items():
        if adapter is not None:
            run_dir.check_outputs(variant)
    run_dir.is_done("eval", inputs)
    with run_dir.locked("eval", inputs) as folder:
        exam = set_exam(recipe)
        for adapter in filter(None, adapters.values()):
            refuse_other_template(adapter.parent, exam.chat_template)
        exam = _complete_missing(recipe, adapters, exam, folder, console)
        write_jsonl(folder / "left_out.jsonl", exam.left_out)
        write_jsonl(folder / "questions.jsonl", map(to_row, exam.questions))
        metrics = _score(recipe, exam, folder, console)
        console.print(ComparisonTable(metrics))
        report = Report((read_run(run_dir.path, recipe.eval.variants),))
        write_report(folder / "report.html", report, datetime.datetime.now(datetime.UTC))
        summary = {"n_questions": len(exam.questions), "n_left_out": len(exam.left_out), "n_trimmed": exam.n_trimmed}
        run_dir.mark_done("eval", inputs, summary)
    console.print(f"eval: {folder / 'report.html'}", markup=False, highlight=False, soft_wrap=True)


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what `run` would do, without loading a model."""
    questions = _read_dev_questions(recipe)
    limits = f"{recipe.data.max_prompt_tokens} prompt and {recipe.eval.max_completion_tokens} completion tokens"
    sampled = f"temperature {recipe.eval.temperature:g}, top_p {recipe.eval.top_p:g}, top_k {recipe.eval.top_k}"
    drawing = sampled if recipe.eval.temperature else "greedy"
    lines = [f"eval: {len(questions)} questions from {recipe.data.dev.path}, at most {limits}, {drawing}"]
    for variant in recipe.eval.variants:
        n_there = len(read_jsonl(_completions_file(run_dir.stage_dir("eval"), variant)))
        n_wanted = len(questions) * recipe.eval.samples_per_question
        line = f"eval: {variant}: {max(n_wanted - n_there, 0)} completions to make, {n_there} there"
        if recipe.eval.student.is_asked:
            line += f", by {answering_student(recipe.eval, variant).model} at {', '.join(recipe.eval.student.urls)}"
        elif variant in TRAINED and not _has_adapter(run_dir, variant):
            line += f"; waits for {run_dir.stage_dir(variant) / 'adapter'} (`mbt-lite {variant}` makes it)"
        lines.append(line)
    return [*lines, *_served_lines(recipe, questions), *_judge_lines(recipe, len(questions))]


def _served_lines(recipe: Recipe, questions: Sequence[Question]) -> list[str]:
    """Estimate what the endpoint of the student is asked."""
    if not recipe.eval.student.is_asked:
        return []
    lines, samples = [], recipe.eval.samples_per_question
    for variant in recipe.eval.variants:
        asked = {question.question_id: _student_messages(question, variant) for question in questions}
        requests = completion_requests("answer", asked, samples, recipe.eval.seed).values()
        lines.append(f"eval: {variant}: {estimate(requests, answering_student(recipe.eval, variant)).words}")
    return lines


def _judge_lines(recipe: Recipe, n_questions: int) -> list[str]:
    judge = recipe.judge
    if not judge.is_asked:
        return []
    n_things = n_questions * recipe.eval.samples_per_question * len(recipe.eval.variants)
    requests = n_things * len(judge.measures) * judge.repeats
    return [
        f"eval: judged by {judge.model} ({', '.join(judge.measures)}): at most {requests} requests, "
        f"and up to {judge.verdict_attempts} tries of each"
    ]


def _has_adapter(run_dir: RunDir, variant: str) -> bool:
    return all(file.exists() for file in adapter_files(run_dir.stage_dir(variant) / "adapter"))


def _adapter(recipe: Recipe, run_dir: RunDir, variant: str) -> Path | None:
    """Give the adapter folder of a trained variant, None where none is loaded here; RunError if it is missing."""
    if variant not in TRAINED or recipe.eval.student.is_asked:
        return None
    adapter = run_dir.stage_dir(variant) / "adapter"
    if not _has_adapter(run_dir, variant):
        raise RunError(
            f"{adapter}: no adapter for variant {variant} of eval; run `mbt-lite {variant}` first, "
            f"or leave {variant} out of `eval.variants`"
        )
    return adapter


def _inputs(recipe: Recipe, run_dir: RunDir, adapters: Sequence[Path]) -> dict[str, str]:
    """Fingerprint what the stage reads: the questions and the adapters."""
    files = [file for adapter in adapters for file in adapter_files(adapter)]
    questions = functools.partial(read_questions, recipe.data.dev, recipe.data.seed)
    return run_dir.fingerprint_source(recipe.data.dev.path, questions) | run_dir.fingerprint(files)


def _read_dev_questions(recipe: Recipe) -> list[Question]:
    """Read the dev questions; DataError for one that could be answered but not scored: its source has no rules."""
    dev, aliases_path = recipe.data.dev, recipe.eval.aliases_path
    questions = read_questions(dev, recipe.data.seed)
    if aliases_path is not None:
        keys = read_answer_keys(Path(dev.path), dev.layout, Path(aliases_path))
        questions = [dataclasses.replace(one, aliases=keys[one.question_id].aliases) for one in questions]
    for question in questions:
        try:
            rules_for(question.source)
        except DataError as error:
            raise DataError(f"{recipe.data.dev.path}: question {question.question_id}: {error}") from error
    return questions


def set_exam(recipe: Recipe) -> Exam:
    """Read the dev questions and drop distractors until each prompt fits; loads the tokenizer only."""
    from mbt_lite.student import chat_template as chat
    from mbt_lite.student.loading import load_tokenizer

    questions = _read_dev_questions(recipe)
    tokenizer = load_tokenizer(recipe.model)
    metacognitive = "metacognitive" in recipe.eval.variants
    limit = recipe.data.max_prompt_tokens

    def count_tokens(question: Question) -> int:
        return chat.count_prompt_tokens(tokenizer, prompts.student_messages(question, metacognitive=metacognitive))

    fitted = trim_questions(questions, limit, count_tokens, recipe.data.dev.path)
    reason = f"prompt longer than {limit} tokens even without distractors"
    return Exam(
        questions=fitted.questions,
        left_out=tuple({"question_id": one.question_id, "reason": reason} for one in fitted.too_long),
        n_trimmed=fitted.n_trimmed,
        prefills_think=chat.prefills_think(tokenizer),
        chat_template=chat.template_hash(tokenizer),
        count_prompt=lambda messages: chat.count_prompt_tokens(tokenizer, messages),
        count_text=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
    )


def _completions_file(folder: Path, variant: str) -> Path:
    return folder / variant / "completions.jsonl"


def _complete_missing(
    recipe: Recipe, adapters: Mapping[str, Path | None], exam: Exam, folder: Path, console: Console
) -> Exam:
    """Make every completion that is not in the journals; give the exam without what an endpoint would not answer."""
    if recipe.eval.student.is_asked:
        return _complete_at_endpoint(recipe, exam, folder, console)
    missing = {variant: _missing(recipe, folder, variant, exam) for variant in adapters}
    # variants without an adapter share one loaded student
    for adapter in dict.fromkeys(adapters.values()):
        todo = {variant: missing[variant] for variant in adapters if adapters[variant] == adapter and missing[variant]}
        if todo:
            _complete_with(recipe, adapter, todo, exam, folder, console)
            # a model is full of cycles; the next one needs its memory
            gc.collect()
    return exam


def _keys_there(folder: Path, variant: str) -> set[tuple[str, int]]:
    rows = read_jsonl(_completions_file(folder, variant))
    return {(row["question_id"], row["rollout_index"]) for row in rows}


def _missing(recipe: Recipe, folder: Path, variant: str, exam: Exam) -> frozenset[int]:
    """Give the places of the questions that have not all their completions."""
    there, samples = _keys_there(folder, variant), range(recipe.eval.samples_per_question)
    return frozenset(
        place
        for place, question in enumerate(exam.questions)
        if any((question.question_id, index) not in there for index in samples)
    )


def _messages(exam: Exam, variant: str) -> list[list[Message]]:
    return [_student_messages(question, variant) for question in exam.questions]


def _student_messages(question: Question, variant: str) -> list[Message]:
    return prompts.student_messages(question, metacognitive=variant == "metacognitive")


def _complete_with(
    recipe: Recipe,
    adapter: Path | None,
    todo: Mapping[str, Collection[int]],
    exam: Exam,
    folder: Path,
    console: Console,
) -> None:
    """Load one student, make the missing completions of its variants, let it go."""
    with console.status(f"loading {recipe.model.name}"):
        roll_out = _load_engine(recipe, adapter)
    for variant, wanted in todo.items():
        there = _keys_there(folder, variant)
        with (
            Journal(_completions_file(folder, variant)) as journal,
            counting(console, f"eval: {variant} completions", len(wanted) * recipe.eval.samples_per_question) as count,
        ):
            for completion in _completions(recipe, roll_out, exam, variant, wanted):
                if (completion.question_id, completion.rollout_index) not in there:
                    journal.append(to_row(completion))
                count()


def _load_engine(recipe: Recipe, adapter: Path | None) -> Callable[..., Iterator[Any]]:
    """Load the student; give the function that completes prompts with it."""
    if recipe.eval.engine == "vllm":
        from mbt_lite.generation.vllm_engine import VllmEngine

        limit = recipe.data.max_prompt_tokens + recipe.eval.max_completion_tokens
        return VllmEngine(recipe.model, adapter, limit).generate
    from mbt_lite.generation.generate import generate
    from mbt_lite.student.loading import load_student

    return functools.partial(generate, load_student(recipe.model, adapter))


def _completions(
    recipe: Recipe, roll_out: Callable[..., Iterator[Any]], exam: Exam, variant: str, wanted: Collection[int]
) -> Iterator[Completion]:
    """Ask a student the wanted questions of a variant, in the order they finish."""
    rollouts = roll_out(
        _messages(exam, variant),
        Decoding(
            samples=recipe.eval.samples_per_question,
            temperature=recipe.eval.temperature,
            top_p=recipe.eval.top_p,
            top_k=recipe.eval.top_k,
            max_completion_tokens=recipe.eval.max_completion_tokens,
            batch_size=recipe.eval.batch_size,
            seed=recipe.eval.seed,
        ),
        wanted,
    )
    for rollout in rollouts:
        yield Completion(
            question_id=exam.questions[rollout.prompt_index].question_id,
            rollout_index=rollout.sample_index,
            text=rollout.text,
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            completion_tokens=len(rollout.token_ids),
        )


def _complete_at_endpoint(recipe: Recipe, exam: Exam, folder: Path, console: Console) -> Exam:
    """Ask an endpoint that serves the student; what it will not answer is left out of all variants, with the reason."""
    refused: dict[str, str] = {}
    signed: dict[str, str] = {}
    files, count = (folder / "replies.jsonl", folder / "usage.json"), functools.partial(counting, console)
    with open_endpoints(*files, count, recipe.eval.student) as ask:
        for variant in recipe.eval.variants:
            asked = dict(zip((q.question_id for q in exam.questions), _messages(exam, variant), strict=True))
            requests = completion_requests("answer", asked, recipe.eval.samples_per_question, recipe.eval.seed)
            student = answering_student(recipe.eval, variant)
            replies = ask(list(requests.values()), f"eval: {variant} completions", student)
            refuse_one_model_for_two(student, replies.values(), signed)
            completions, unended = read_completions(
                requests, replies, exam.count_prompt, exam.count_text, prefilled_think=exam.prefills_think
            )
            write_jsonl(_completions_file(folder, variant), map(to_row, completions.values()))
            refused |= {key[0]: f"endpoint gave no completion for {variant}: {why}" for key, why in unended.items()}
    kept = tuple(question for question in exam.questions if question.question_id not in refused)
    if not kept:
        why = next(iter(refused.values()))
        raise DataError(f"{recipe.eval.student.key}: no question was answered (first: {why}); mend the server")
    left_out = [{"question_id": question_id, "reason": reason} for question_id, reason in refused.items()]
    return dataclasses.replace(exam, questions=kept, left_out=(*exam.left_out, *left_out))


def _score(recipe: Recipe, exam: Exam, folder: Path, console: Console) -> dict[str, dict[str, Any]]:
    """Score the stored completions anew: predictions.jsonl and metrics.json of each variant; give the metrics."""
    traces = read_traces(folder.parent)
    phases = held_out(traces)
    reader = fit_reader(traces) if phases["undefined_reason"] is None else None
    predictions: dict[str, list[Prediction]] = {
        variant: with_phases(_predictions(recipe, exam, folder, variant), reader, prefilled_think=exam.prefills_think)
        for variant in recipe.eval.variants
    }
    for variant, rows in predictions.items():
        write_jsonl(folder / variant / "predictions.jsonl", map(to_row, rows))
    questions = {question.question_id: question for question in exam.questions}
    judged = judge_variants(
        recipe,
        questions,
        predictions,
        folder,
        functools.partial(counting, console),
        prefilled_think=exam.prefills_think,
    )
    metrics = scorecards(predictions, questions, recipe.eval, phases=phases, judged=judged, left_out=exam.left_out)
    for name, card in metrics.items():
        write_json(folder / name / "metrics.json", card)
    return metrics


def _predictions(recipe: Recipe, exam: Exam, folder: Path, variant: str) -> list[Prediction]:
    """Score a variant's completions in the order of the questions."""
    path = _completions_file(folder, variant)
    rows = enumerate(read_jsonl(path), 1)
    read = [from_row(Completion, row, f"{path}:{number}") for number, row in rows]
    completions = {(completion.question_id, completion.rollout_index): completion for completion in read}
    return [
        score_completion(
            question, completions[question.question_id, index], variant, prefilled_think=exam.prefills_think
        )
        for question in exam.questions
        for index in range(recipe.eval.samples_per_question)
    ]
