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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.console import Screen
from mbt_lite.data.overlap import read_overlap
from mbt_lite.data.questions import closed_book_lines, read_questions
from mbt_lite.endpoint.budget import estimate
from mbt_lite.endpoint.opening import open_endpoints
from mbt_lite.endpoint.served_student import answering_student, refuse_one_model_for_two
from mbt_lite.errors import DataError, RunError
from mbt_lite.files import read_jsonl, write_json, write_jsonl
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.local_rounds import Beside, Generate, LocalRounds, Note, read_journal
from mbt_lite.generation.served_rounds import ServedRounds, requests_of
from mbt_lite.judge.panel import judge_variants
from mbt_lite.memory import each_in_phase
from mbt_lite.metrics.confidences import why_no_evidence
from mbt_lite.metrics.foresight import foresight
from mbt_lite.metrics.phase_reader import fit_reader, held_out, read_traces, require_sklearn, why_no_reader
from mbt_lite.metrics.predictions import score_completion, with_phases
from mbt_lite.metrics.scorecard import BOOTSTRAP_SAMPLES, scorecards
from mbt_lite.progress import counting
from mbt_lite.recipe.endpoint import EMBEDDED
from mbt_lite.recipe.schema import Eval, Judge, Recipe, Variant
from mbt_lite.records import Completion, Prediction, Question, to_row
from mbt_lite.report.contents import Report, read_run
from mbt_lite.report.html import write_report
from mbt_lite.report.table import ComparisonTable
from mbt_lite.report.verdict import verdicts
from mbt_lite.run_dir import RunDir, adapter_files
from mbt_lite.stages.besides import (
    TOLD_BY_ROLLOUTS,
    asked_besides,
    beside_file,
    completions_file,
    settings_of,
    sureness,
)
from mbt_lite.stages.exam import Exam, read_dev_questions, set_exam
from mbt_lite.strategies import strategy_named
from mbt_lite.strategies.rounds import Answers, Place, Played, first_prompts, play
from mbt_lite.student.chat_template import refuse_other_template
from mbt_lite.training.out_of_memory import naming_out_of_memory


def run(recipe: Recipe, run_dir: RunDir, console: Screen) -> None:
    """Complete what is missing, score everything, print the table and write the report.

    Raises RunError when an adapter is missing or an input changed since the stage began, DataError for questions that
    cannot be scored or do not fit.
    """
    variants = recipe.eval.full_variants
    if recipe.judge.base_url == EMBEDDED or why_no_reader(read_traces(run_dir.path)) is None:
        # before anything is answered
        require_sklearn()
    adapters = {variant.name: _adapter(recipe.eval, run_dir, variant) for variant in variants}
    inputs = _inputs(recipe, run_dir, [adapter for adapter in adapters.values() if adapter])
    for variant in variants:
        if adapters[variant.name] is not None and variant.stage is not None:
            run_dir.check_outputs(variant.stage)
    run_dir.is_done("eval", inputs)
    for line in read_overlap(recipe.data).lines:
        console.print(line, soft_wrap=True)
    with run_dir.locked("eval", inputs) as folder, naming_out_of_memory(recipe, "eval", folder):
        exam = set_exam(recipe)
        for line in closed_book_lines(exam.questions, "eval"):
            console.print(line)
        for adapter in filter(None, adapters.values()):
            refuse_other_template(adapter.parent, exam.counts.chat_template)
        exam = _answer(recipe, adapters, exam, folder, console)
        write_jsonl(folder / "left_out.jsonl", exam.left_out)
        write_jsonl(folder / "questions.jsonl", map(to_row, exam.questions))
        metrics = _score(recipe, exam, folder, console)
        console.print(ComparisonTable(metrics))
        report = Report((read_run(run_dir.path, [variant.name for variant in variants]),))
        for line in (*report.runs[0].servers, *verdicts(report)):
            console.print(f"eval: {line}")
        write_report(folder / "report.html", report, datetime.datetime.now(datetime.UTC))
        summary = {
            "n_questions": len(exam.questions),
            "n_left_out": len(exam.left_out),
            "n_trimmed": exam.n_trimmed,
            "servers": report.runs[0].servers,
        }
        run_dir.mark_done("eval", inputs, summary)
    console.print(f"eval: {folder / 'report.html'}", soft_wrap=True)


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what `run` would do, without loading a model; RunError for an adapter of elsewhere that is not there."""
    questions = read_dev_questions(recipe)
    limits = f"{recipe.data.max_prompt_tokens} prompt and {recipe.eval.max_completion_tokens} completion tokens"
    sampled = f"temperature {recipe.eval.temperature:g}, top_p {recipe.eval.top_p:g}, top_k {recipe.eval.top_k}"
    drawing = sampled if recipe.eval.temperature else "greedy"
    lines = [f"eval: {len(questions)} questions from {recipe.data.dev.path}, at most {limits}, {drawing}"]
    for variant in recipe.eval.full_variants:
        n_there = len(read_jsonl(completions_file(run_dir.stage_dir("eval"), variant.name)))
        n_wanted = len(questions) * recipe.eval.samples_per_question
        line = f"eval: {variant.name}: {max(n_wanted - n_there, 0)} completions to make, {n_there} there"
        if recipe.eval.student.is_asked:
            line += f", by {answering_student(recipe.eval, variant).model} at {', '.join(recipe.eval.student.urls)}"
        elif variant.stage is None:
            # nothing in this run will make it
            _adapter(recipe.eval, run_dir, variant)
        elif not _is_there(adapter := run_dir.stage_dir(variant.stage) / "adapter"):
            line += f"; waits for {adapter} (`mbt-lite {variant.stage}` makes it)"
        lines.append(line)
    if recipe.eval.foresight:
        lines.append(f"eval: a forecast a question and variant: {len(questions) * len(recipe.eval.variants)} in all")
    if recipe.eval.without_evidence:
        n_asked = sum(why_no_evidence(question) is None for question in questions) * len(recipe.eval.variants)
        lines.append(f"eval: a completion a question and variant without evidence: at most {n_asked} in all")
    asked = [*_served_lines(recipe.eval, questions), *_judge_lines(recipe.judge, recipe.eval, len(questions))]
    return [*lines, *asked, *read_overlap(recipe.data).lines]


def _served_lines(eval_: Eval, questions: Sequence[Question]) -> list[str]:
    """Estimate what the endpoint of the student is asked."""
    if not eval_.student.is_asked:
        return []
    lines, samples = [], eval_.samples_per_question
    for variant in eval_.full_variants:
        strategy = strategy_named(variant.strategy)
        prompts_ = first_prompts(strategy, questions, settings_of(eval_, variant), samples)
        requests = [request for _, request in requests_of(prompts_, "answer", eval_.seed)]
        further = "" if strategy.is_one_call else ", and further rounds"
        lines.append(f"eval: {variant.name}: {estimate(requests, answering_student(eval_, variant)).words}{further}")
    return lines


def _judge_lines(judge: Judge, eval_: Eval, n_questions: int) -> list[str]:
    if not judge.is_asked:
        return []
    n_things = n_questions * eval_.samples_per_question * len(eval_.variants)
    requests = n_things * len(judge.measures) * judge.repeats
    return [
        f"eval: judged by {judge.model} ({', '.join(judge.measures)}): at most {requests} requests, "
        f"and up to {judge.verdict_attempts} tries of each"
    ]


def _is_there(adapter: Path) -> bool:
    return all(file.exists() for file in adapter_files(adapter))


def _adapter(eval_: Eval, run_dir: RunDir, variant: Variant) -> Path | None:
    """Give the adapter folder of a trained variant, None where none is loaded here; RunError if it is missing."""
    adapter = None if eval_.student.is_asked else variant.adapter_folder(run_dir.path)
    if adapter is not None and not _is_there(adapter):
        cure = f"run `mbt-lite {variant.stage}` first" if variant.stage else "name the folder of one"
        raise RunError(
            f"{adapter}: no adapter for variant {variant.name} of eval; {cure}, "
            f"or leave {variant.name} out of `eval.variants`"
        )
    return adapter


def _inputs(recipe: Recipe, run_dir: RunDir, adapters: Sequence[Path]) -> dict[str, str]:
    """Fingerprint what the stage reads: the questions and the adapters."""
    files = [file for adapter in adapters for file in adapter_files(adapter)]
    questions = functools.partial(read_questions, recipe.data.dev, recipe.data.seed)
    return run_dir.fingerprint_source(recipe.data.dev.path, questions) | run_dir.fingerprint(files)


def _play(eval_: Eval, variant: Variant, exam: Exam, answers: Answers) -> Played:
    strategy, settings = strategy_named(variant.strategy), settings_of(eval_, variant)
    return play(strategy, exam.questions, settings, eval_.samples_per_question, answers)


def _write_answers(played: Played, folder: Path, name: str) -> None:
    write_jsonl(completions_file(folder, name), (to_row(one) for _, one in sorted(played.completions.items())))


def _answer(recipe: Recipe, adapters: Mapping[str, Path | None], exam: Exam, folder: Path, console: Screen) -> Exam:
    """Make every completion that is not there; give the exam without what an endpoint would not answer."""
    if recipe.eval.student.is_asked:
        return _answer_at_endpoint(recipe.eval, exam, folder, console)
    # variants without an adapter share one loaded student
    for adapter in dict.fromkeys(adapters.values()):
        variants = [variant for variant in recipe.eval.full_variants if adapters[variant.name] == adapter]
        _answer_here(recipe, adapter, variants, exam, folder, console)
        # a model is full of cycles; the next one needs its memory
        gc.collect()
    return exam


def _answer_here(
    recipe: Recipe, adapter: Path | None, variants: Sequence[Variant], exam: Exam, folder: Path, console: Screen
) -> None:
    """Let one student answer for its variants; it is loaded if something is missing, and let go at the end."""
    eval_ = recipe.eval

    @functools.cache
    def open_student() -> Generate:
        from mbt_lite.generation import local

        limit = recipe.data.max_prompt_tokens + eval_.max_completion_tokens
        with console.status(f"loading {recipe.model.name}"):
            return each_in_phase("rollouts", local.open_student(recipe.model, adapter, eval_.engine, limit))

    noted = dict[str, Note]()
    if told := [reading for reading in eval_.confidence if reading in TOLD_BY_ROLLOUTS]:
        from mbt_lite.generation import local

        known = local.notes(recipe.model, exam.questions, prefills_think=exam.counts.prefills_think)
        noted = {reading: known[reading] for reading in told}

    def besides(journal: Path) -> list[Beside]:
        return [Beside(beside_file(journal, reading), note) for reading, note in noted.items()]

    for variant in variants:
        decoding = Decoding(
            max_completion_tokens=eval_.max_completion_tokens,
            top_p=eval_.top_p,
            top_k=eval_.top_k,
            batch_size=eval_.batch_size,
            seed=eval_.seed,
            log_probs=bool(noted),
        )
        is_one_call = strategy_named(variant.strategy).is_one_call
        journal = completions_file(folder, variant.name) if is_one_call else folder / variant.name / "calls.jsonl"
        what, count = f"eval: {variant.name} completions", functools.partial(counting, console)
        answers = LocalRounds(open_student, decoding, journal, is_one_call, what, count, besides(journal))
        played = _play(eval_, variant, exam, answers)
        if not is_one_call:
            _write_answers(played, folder, variant.name)
        for one in asked_besides(eval_, variant, exam):
            file, what = one.file(folder / variant.name), f"eval: {variant.name} {one.what}"
            one.ask(LocalRounds(open_student, decoding, file, True, what, count, besides(file)), file.parent)


def _answer_at_endpoint(eval_: Eval, exam: Exam, folder: Path, console: Screen) -> Exam:
    """Ask an endpoint that serves the student; what it will not answer is left out of all variants, with the reason."""
    refused: dict[str, str] = {}
    signed: dict[str, str] = {}
    with open_endpoints(folder, functools.partial(counting, console), eval_.student) as ask:
        for variant in eval_.full_variants:
            student, what = answering_student(eval_, variant), f"eval: {variant.name} completions"
            prefills_think = exam.counts.prefills_think
            answers = ServedRounds(ask, student, exam.counts, "answer", eval_.seed, what, prefills_think)
            played = _play(eval_, variant, exam, answers)
            refuse_one_model_for_two(student, answers.replies, signed)
            _write_answers(played, folder, variant.name)
            for one in asked_besides(eval_, variant, exam):
                rounds = dataclasses.replace(answers, kind=one.kind, what=f"eval: {variant.name} {one.what}")
                played.refused.update(one.ask(rounds, folder / variant.name).refused)
            why = f"endpoint gave no completion for {variant.name}: "
            refused |= {key[0]: why + ending for key, ending in sorted(played.refused.items())}
    kept = tuple(question for question in exam.questions if question.question_id not in refused)
    if not kept:
        first = next(iter(refused.values()))
        raise DataError(f"{eval_.student.key}: no question was answered (first: {first}); mend the server")
    left_out = [{"question_id": question_id, "reason": reason} for question_id, reason in refused.items()]
    return dataclasses.replace(exam, questions=kept, left_out=(*exam.left_out, *left_out))


def _score(recipe: Recipe, exam: Exam, folder: Path, console: Screen) -> dict[str, dict[str, Any]]:
    """Score the stored completions anew: predictions.jsonl and metrics.json of each variant; give the metrics."""
    traces = read_traces(folder.parent)
    phases = held_out(traces)
    reader = fit_reader(traces) if phases["undefined_reason"] is None else None
    predictions: dict[str, list[Prediction]] = {
        variant.name: with_phases(
            _predictions(recipe.eval, exam, folder, variant.name), reader, prefilled_think=exam.counts.prefills_think
        )
        for variant in recipe.eval.full_variants
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
        prefilled_think=exam.counts.prefills_think,
    )
    foretold = {
        variant: foresight(
            questions,
            rows,
            {one.question_id: one for one in _forecasts(folder, variant)},
            tolerance=recipe.grpo.masa.length_tolerance,
            law=recipe.grpo.masa.rate_law,
            prefilled_think=exam.counts.prefills_think,
            samples=BOOTSTRAP_SAMPLES,
            seed=recipe.eval.seed,
        )
        for variant, rows in predictions.items()
        if recipe.eval.foresight
    }
    metrics = scorecards(
        predictions,
        questions,
        recipe.eval,
        phases=phases,
        judged=judged,
        left_out=exam.left_out,
        in_train=read_overlap(recipe.data).to_row(),
        foresight=foretold or None,
        more=sureness(recipe.eval, exam, folder, predictions),
        prefilled_think=exam.counts.prefills_think,
    )
    for name, card in metrics.items():
        write_json(folder / name / "metrics.json", card)
    return metrics


def _forecasts(folder: Path, name: str) -> list[Completion]:
    return list(read_journal(folder / name / "forecasts.jsonl", is_one_call=True).values())


def _predictions(eval_: Eval, exam: Exam, folder: Path, name: str) -> list[Prediction]:
    """Score a variant's completions in the order of the questions."""
    completions = read_journal(completions_file(folder, name), is_one_call=True)
    return [
        score_completion(
            question,
            completions[Place(question.question_id, index)],
            name,
            prefilled_think=exam.counts.prefills_think,
        )
        for question in exam.questions
        for index in range(eval_.samples_per_question)
    ]
