"""Stage eval: variants of the student answer held-out questions; every number comes with its n and its interval.

::

    dev questions ──trim──▶ prompts ──student (+ adapter)──▶ completions.jsonl ──score──▶ predictions.jsonl
                                                                  predictions ──▶ metrics.json, table, report.html

Completions are journaled one by one, so nothing is generated twice. All that follows from them is cheap and is made
anew on every run: a change of the scoring never needs the model again.

Source: the measures of arXiv 2602.22508. Where we differ:
1. All variants see the same documents: a prompt must fit with the longest system prompt of the variants, and a question
   that cannot fit is left out of all of them.
2. Greedy by default; with `eval.temperature` above 0 the whole distribution is sampled, unless `eval.top_p` or
   `eval.top_k` cut it.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mbt_lite import prompts
from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_question
from mbt_lite.errors import DataError, RunError
from mbt_lite.metrics.aggregate import aggregate, aggregate_aes
from mbt_lite.metrics.answers import rules_for
from mbt_lite.metrics.predictions import score_completion
from mbt_lite.model.chat import refuse_other_template
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Completion, Message, Prediction, Question, from_row, to_row
from mbt_lite.report.contents import read_report
from mbt_lite.report.html import write_plots, write_report
from mbt_lite.report.progress import counting
from mbt_lite.report.table import to_table
from mbt_lite.run_dir import Journal, RunDir, read_json, read_jsonl, write_json, write_jsonl

if TYPE_CHECKING:
    from mbt_lite.model.student import Student

TRAINED = ("sft", "grpo")
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclasses.dataclass(frozen=True, slots=True)
class Exam:
    """What every variant is asked: the trimmed questions, and the ones that do not fit, with the reason."""

    questions: tuple[Question, ...]
    left_out: tuple[Mapping[str, str], ...]
    n_trimmed: int
    prefills_think: bool
    chat_template: str


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Complete what is missing, score everything, print the table and write the report.

    Raises RunError when an adapter is missing or an input changed since the stage began, DataError for questions that
    cannot be scored or do not fit.
    """
    adapters: dict[str, Path | None] = {variant: _adapter(run_dir, variant) for variant in recipe.eval.variants}
    inputs = _inputs(recipe, run_dir, [adapter for adapter in adapters.values() if adapter])
    run_dir.is_done("eval", inputs)
    with run_dir.locked("eval") as folder:
        _refuse_changed_inputs(folder, inputs)
        exam = _set_exam(recipe)
        for adapter in filter(None, adapters.values()):
            refuse_other_template(adapter.parent, exam.chat_template)
        write_jsonl(folder / "left_out.jsonl", exam.left_out)
        _complete_missing(recipe, adapters, exam, folder, console)
        metrics = _score(recipe, exam, folder)
        console.print(to_table(metrics))
        report = read_report(run_dir, exam.questions, recipe.eval.variants)
        write_report(folder / "report.html", report, datetime.datetime.now(datetime.UTC))
        write_plots(folder, report)
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
        line = f"eval: {variant}: {max(len(questions) - n_there, 0)} completions to make, {n_there} there"
        if variant in TRAINED and not _has_adapter(run_dir, variant):
            line += f"; waits for {run_dir.stage_dir(variant) / 'adapter'} (`mbt-lite {variant}` makes it)"
        lines.append(line)
    return lines


def _has_adapter(run_dir: RunDir, variant: str) -> bool:
    return all((run_dir.stage_dir(variant) / "adapter" / name).exists() for name in ADAPTER_FILES)


def _adapter(run_dir: RunDir, variant: str) -> Path | None:
    """Give the adapter folder of a trained variant, None for an untrained one; RunError if it is missing."""
    if variant not in TRAINED:
        return None
    adapter = run_dir.stage_dir(variant) / "adapter"
    if not _has_adapter(run_dir, variant):
        raise RunError(
            f"{adapter}: no adapter for variant {variant} of eval; run `mbt-lite {variant}` first, "
            f"or leave {variant} out of `eval.variants`"
        )
    return adapter


def _inputs(recipe: Recipe, run_dir: RunDir, adapters: Sequence[Path]) -> dict[str, str]:
    """Fingerprint what the stage reads: the question file (a hub name has none) and the adapters."""
    files = [adapter / name for adapter in adapters for name in ADAPTER_FILES]
    dev = Path(recipe.data.dev.path)
    return run_dir.fingerprint([dev, *files] if dev.is_file() else files)


def _refuse_changed_inputs(folder: Path, inputs: Mapping[str, str]) -> None:
    """Hold an unfinished stage to the inputs it began with: its completions answer those."""
    begun = folder / "inputs.json"
    if not begun.exists():
        write_json(begun, inputs)
    before = read_json(begun)
    changed = sorted(name for name in before.keys() | inputs.keys() if before.get(name) != inputs.get(name))
    if changed:
        raise RunError(f"{folder}: {', '.join(changed)} changed since eval began; run `mbt-lite eval` with --overwrite")


def _read_dev_questions(recipe: Recipe) -> list[Question]:
    """Read the dev questions; DataError for one that could be answered but not scored: its source has no rules."""
    questions = read_questions(recipe.data.dev, recipe.data.seed)
    for question in questions:
        try:
            rules_for(question.source)
        except DataError as error:
            raise DataError(f"{recipe.data.dev.path}: question {question.question_id}: {error}") from error
    return questions


def _set_exam(recipe: Recipe) -> Exam:
    """Read the dev questions and drop distractors until each prompt fits; loads the tokenizer only."""
    from mbt_lite.model import chat
    from mbt_lite.model.student import load_tokenizer

    questions = _read_dev_questions(recipe)
    tokenizer = load_tokenizer(recipe.model)
    metacognitive = "metacognitive" in recipe.eval.variants
    limit = recipe.data.max_prompt_tokens
    kept, left_out, n_trimmed = [], [], 0

    def count_tokens(question: Question) -> int:
        return chat.count_prompt_tokens(tokenizer, prompts.student_messages(question, metacognitive=metacognitive))

    for question in questions:
        trimmed = trim_question(question, limit, count_tokens)
        if trimmed.question is None:
            reason = f"prompt longer than {limit} tokens even without distractors"
            left_out.append({"question_id": question.question_id, "reason": reason})
            continue
        n_trimmed += trimmed.dropped > 0
        kept.append(trimmed.question)
    if not kept:
        raise DataError(
            f"{recipe.data.dev.path}: no question fits into `data.max_prompt_tokens` (got {limit}); raise it"
        )
    return Exam(tuple(kept), tuple(left_out), n_trimmed, chat.prefills_think(tokenizer), chat.template_hash(tokenizer))


def _completions_file(folder: Path, variant: str) -> Path:
    return folder / variant / "completions.jsonl"


def _complete_missing(
    recipe: Recipe, adapters: Mapping[str, Path | None], exam: Exam, folder: Path, console: Console
) -> None:
    """Generate every completion that is not in the journals; variants without an adapter share one loaded student."""
    missing = {variant: _missing(folder, variant, exam) for variant in adapters}
    for adapter in dict.fromkeys(adapters.values()):
        todo = {variant: missing[variant] for variant in adapters if adapters[variant] == adapter and missing[variant]}
        if todo:
            _complete_with(recipe, adapter, todo, folder, console)
            # a model is full of cycles; the next one needs its memory
            gc.collect()


def _missing(folder: Path, variant: str, exam: Exam) -> list[Question]:
    there = {row["question_id"] for row in read_jsonl(_completions_file(folder, variant))}
    return [question for question in exam.questions if question.question_id not in there]


def _complete_with(
    recipe: Recipe, adapter: Path | None, todo: Mapping[str, Sequence[Question]], folder: Path, console: Console
) -> None:
    """Load one student, generate the missing completions of its variants, let it go."""
    from mbt_lite.model.student import load_student

    with console.status(f"loading {recipe.model.name}"):
        student = load_student(recipe.model, adapter)
    for variant, questions in todo.items():
        with (
            Journal(_completions_file(folder, variant)) as journal,
            counting(console, f"eval: {variant} completions", len(questions)) as count,
        ):
            for completion in _completions(recipe, student, variant, questions):
                journal.append(to_row(completion))
                count()


def _completions(recipe: Recipe, student: Student, variant: str, questions: Sequence[Question]) -> Iterator[Completion]:
    """Ask a student the questions of a variant, one completion each, in the order they finish."""
    from mbt_lite.model.generate import generate

    asked: list[list[Message]] = [
        prompts.student_messages(question, metacognitive=variant == "metacognitive") for question in questions
    ]
    rollouts = generate(
        student,
        asked,
        samples=1,
        temperature=recipe.eval.temperature,
        top_p=recipe.eval.top_p,
        top_k=recipe.eval.top_k,
        max_completion_tokens=recipe.eval.max_completion_tokens,
        batch_size=recipe.eval.batch_size,
        seed=recipe.eval.seed,
    )
    for rollout in rollouts:
        yield Completion(
            question_id=questions[rollout.prompt_index].question_id,
            rollout_index=rollout.sample_index,
            text=rollout.text,
            finish_reason=rollout.finish_reason,
            prompt_tokens=rollout.prompt_tokens,
            completion_tokens=len(rollout.token_ids),
        )


def _score(recipe: Recipe, exam: Exam, folder: Path) -> dict[str, dict[str, Any]]:
    """Score the stored completions anew: predictions.jsonl and metrics.json of each variant; give the metrics."""
    samples, seed = recipe.eval.bootstrap_samples, recipe.eval.seed
    predictions = {variant: _predictions(exam, folder, variant) for variant in recipe.eval.variants}
    metrics: dict[str, dict[str, Any]] = {}
    for variant, rows in predictions.items():
        write_jsonl(folder / variant / "predictions.jsonl", map(to_row, rows))
        # base against itself is 0 by definition: no number at all is more honest
        compared = "base" in predictions and variant != "base"
        metrics[variant] = {
            "variant": variant,
            **aggregate(rows, samples=samples, seed=seed),
            "aes": aggregate_aes(rows, predictions["base"], samples=samples, seed=seed) if compared else None,
            "left_out": list(exam.left_out),
        }
        write_json(folder / variant / "metrics.json", metrics[variant])
    return metrics


def _predictions(exam: Exam, folder: Path, variant: str) -> list[Prediction]:
    """Score a variant's completions in the order of the questions."""
    path = _completions_file(folder, variant)
    rows = enumerate(read_jsonl(path), 1)
    completions = {row["question_id"]: from_row(Completion, row, f"{path}:{number}") for number, row in rows}
    return [
        score_completion(question, completions[question.question_id], variant, prefilled_think=exam.prefills_think)
        for question in exam.questions
    ]
