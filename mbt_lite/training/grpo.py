"""GRPO on the student: what stage `grpo` runs once it may begin.

Load -> read questions -> try the reward on golds -> leave out what is always or never solved -> train, watched -> keep
an adapter. The stage's own file says which files come of it. Import this after the backend: unsloth has to be first.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOConfig

from mbt_lite.console import Screen
from mbt_lite.data.control_tokens import refuse_control_tokens
from mbt_lite.data.held_out import read_left_over
from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_questions
from mbt_lite.errors import RecipeError
from mbt_lite.files import Journal, read_jsonl, write_jsonl, write_text
from mbt_lite.generation.generate import shares_prompts
from mbt_lite.launch import read_launch
from mbt_lite.methods import choose_method
from mbt_lite.methods.law import limits_of
from mbt_lite.methods.method import Ask, Method, PromptRow
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Data, Grpo, Questions, Recipe
from mbt_lite.records import Question
from mbt_lite.report.completion_page import completion_page
from mbt_lite.rewards.scorer import Scorer, choose_scorer
from mbt_lite.student.adapters import add_adapter, check_rollouts_use_adapter, save_adapter
from mbt_lite.student.backend import Backend
from mbt_lite.student.chat_template import record_template, refuse_other_template
from mbt_lite.student.control_tokens import control_finder
from mbt_lite.student.loading import Student, kept_in_float32, load_student
from mbt_lite.student.unsloth_backend import engine_of, hiding_engine
from mbt_lite.training.checkpoints import resume_point, step_of
from mbt_lite.training.dev_reward import BestByDev, score_greedily
from mbt_lite.training.grpo_reward import MethodReward
from mbt_lite.training.grpo_rollouts import check_cache, check_log_probs, passes_by, rollouts
from mbt_lite.training.grpo_trainer import ReducedGRPOTrainer
from mbt_lite.training.grpo_watch import AtSave, WatchCallback
from mbt_lite.training.logit_tiles import narrow_without_triton
from mbt_lite.training.mismatch import healthy_mismatch
from mbt_lite.training.pass_rates import keep_worth_rollouts
from mbt_lite.training.processes import leader_first, share_rows
from mbt_lite.training.save_clock import FollowLeader, KeepNewest, SaveByMinutes
from mbt_lite.training.trackers import Track, tracking
from mbt_lite.training.trainer_settings import common_settings, on_one_card
from mbt_lite.training.training_log import TrainingLog


def train(recipe: Recipe, adapter: Path | None, rates: Path | None, folder: Path, console: Screen) -> dict[str, Any]:
    """Train and save; give the counts for `done.json`. `rates`: gen's pass rates, to filter by them."""
    grpo, checkpointing = recipe.grpo, recipe.grpo.gradient_checkpointing
    method = choose_method(grpo)
    check_log_probs(grpo, method)
    with leader_first():
        checkpoint = resume_point(folder, "grpo", console)
    step = step_of(checkpoint) if checkpoint else 0
    with tracking(recipe, folder, step) as track:
        student = load_student(
            recipe.model, adapter, trainable=True, gradient_checkpointing=checkpointing, engine=engine_of(recipe)
        )
        with leader_first():
            template = record_template(folder, student.tokenizer)
        questions = read_fitting(recipe.data, student, recipe.data.train, method.asks)
        scorer = build_scorer(grpo, student)
        attacked = _check_reward(method, questions, scorer, student, console)
        console.print(f"grpo: rewards are scored by the {scorer.form}")
        if adapter is None:
            add_adapter(student, recipe.lora, grpo.seed, gradient_checkpointing=checkpointing)
        else:
            refuse_other_template(adapter.parent, template)
            # a fresh adapter changes nothing yet
            check_rollouts_use_adapter(student, student_messages(questions[0]))
        questions, counts = keep_worth_rollouts(recipe, student, questions, rates, folder, console)
        held_out = _held_out_questions(recipe, student) if grpo.dev_questions else []
        watch, dev, callbacks = _watchers(grpo, method, student, questions, held_out, folder, console)
        with kept_in_float32(student.model), hiding_engine(student.model):
            trainer, log, journal = build_trainer(
                grpo, method, student, method.rows(questions), scorer, folder, console, step, callbacks, track
            )
        try:
            if checkpoint is not None and step >= grpo.steps:
                trainer.take_up_finished(checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            log.close()
            if journal is not None:
                journal.close()
    with leader_first():
        kept = _keep_adapter(grpo, student, dev, trainer.state.global_step, folder)
    return {
        "questions": len(questions),
        "by_pass_rate": counts,
        "attacks": attacked,
        "steps": trainer.state.global_step,
        "chat_template": template,
        "stopped_early": watch.stopped,
        "warnings": len(read_jsonl(folder / "warnings.jsonl")),
        **kept,
    }


def read_fitting(
    data: Data, student: Student, source: Questions, asks: Sequence[Ask] = (student_messages,)
) -> list[Question]:
    """Read questions and drop distractors until their prompts fit; DataError if none can."""
    return _fitting(data, student, read_questions(source, data.seed), source, asks)


def _fitting(
    data: Data,
    student: Student,
    questions: Sequence[Question],
    source: Questions,
    asks: Sequence[Ask] = (student_messages,),
) -> list[Question]:
    def count(question: Question) -> int:
        return max(student.count_prompt_tokens(ask(question)) for ask in asks)

    fitted = list(trim_questions(questions, data.max_prompt_tokens, count, source.path).questions)
    refuse_control_tokens(fitted, control_finder(student.tokenizer), source)
    return fitted


def _held_out_questions(recipe: Recipe, student: Student) -> list[Question]:
    """Read the dev questions that score checkpoints: none that `eval` scores, so that choosing is not peeking."""
    wanted, data = recipe.grpo.dev_questions, recipe.data
    return _fitting(data, student, read_left_over(data.dev, data.seed, wanted)[:wanted], data.dev)


def build_scorer(grpo: Grpo, student: Student) -> Scorer:
    """Give what scores completions on this machine."""
    return choose_scorer(
        student.tokenizer,
        student.device,
        student.stop_ids,
        limits_of(grpo),
        prefilled_think=student.prefills_think,
    )


def _check_reward(
    method: Method, questions: Sequence[Question], scorer: Scorer, student: Student, console: Screen
) -> dict[str, Any]:
    """Before step one: a gold completion must earn most, broken ones and attacks less, or the reward teaches nothing.

    Tells which attacks earn more than an honest wrong answer; gives what all of them earn.
    """

    def encode(text: str) -> list[int]:
        return list(student.tokenizer.encode(text, add_special_tokens=False))

    findings = method.findings(questions, scorer, encode)
    attacked = None if findings else method.attacked(questions, scorer, encode)
    if attacked is None or attacked.findings:
        said = findings if attacked is None else attacked.findings
        raise RecipeError([f"grpo.reward: {finding}" for finding in said[:10]])
    for line in attacked.told:
        console.print(f"grpo: the reward pays an attack: {line}", soft_wrap=True)
    return attacked.row()


def _watchers(
    grpo: Grpo,
    method: Method,
    student: Student,
    questions: list[Question],
    held_out: list[Question],
    folder: Path,
    console: Screen,
) -> tuple[WatchCallback, BestByDev | None, list[TrainerCallback]]:
    """Give the watch, the scorer of checkpoints (None without held-out questions), and all callbacks in their order."""

    def write_page() -> None:
        rows = read_jsonl(folder / "completions.jsonl", step=int, question_id=str, reward=int | float, terms=dict)
        page = completion_page(rows, questions, grpo.save_every_steps, folder.parent.name)
        write_text(folder / "completions.html", page)

    watch = WatchCallback(folder, (*method.healthy_ranges(), *healthy_mismatch()), grpo.stop_after_dead_steps, console)
    minutes = grpo.save_every_minutes
    clock = [SaveByMinutes(minutes)] if minutes is not None else []
    callbacks = [KeepNewest(), *clock, watch, AtSave(write_page)]
    if not held_out:
        return watch, None, callbacks
    dev = BestByDev(
        student,
        folder,
        functools.partial(score_greedily, student, held_out, grpo, limits_of(grpo)),
        grpo.keep_best_by,
        console,
    )
    return watch, dev, [*callbacks, dev]


def build_trainer(
    grpo: Grpo,
    method: Method,
    student: Student,
    rows: Sequence[PromptRow],
    scorer: Scorer,
    folder: Path,
    console: Screen,
    done: int,
    callbacks: Sequence[TrainerCallback],
    track: Track,
) -> tuple[ReducedGRPOTrainer, TrainingLog, Journal | None]:
    """Build the trainer with its reward, rollouts and logs; `done` is the step of the checkpoint it goes on from.

    Of several processes the leader alone has callbacks and a journal: the others only train.
    """
    check_cache(student, [row.prompt for row in rows], grpo)
    narrow_without_triton()
    completions = folder / "completions.jsonl"
    leads = read_launch().leads
    journal = _go_on_with(completions, done) if leads else None
    record = journal.extend if journal is not None else lambda rows: None
    columns = _columns(rows)
    asked = {row.question.question_id: row.question for row in rows}

    def questions_of(step: int) -> list[str]:
        rows = read_jsonl(completions, step=int, question_id=str)
        return list(dict.fromkeys(row["question_id"] for row in rows if row["step"] == step))

    log = TrainingLog(folder / "metrics.jsonl", "grpo", "reward", console, questions_of, track)
    shared = shares_prompts(student, student.model)
    _tell_of_sharing(grpo, student, console, shared=shared)
    trainer = ReducedGRPOTrainer(
        model=student.model,
        reward_funcs=[MethodReward(method, scorer, tuple(columns), grpo.group_size, record, asked)],
        args=to_grpo_config(
            grpo,
            folder,
            student.compute_dtype,
            student.backend,
            groups=len(method.asks),
            shuffles=not method.lays_out_steps,
        ),
        train_dataset=Dataset.from_dict({"prompt": [row.prompt for row in rows], **columns}),
        processing_class=student.tokenizer,
        callbacks=[*([log, *callbacks] if leads else []), FollowLeader()],
        rollout_func=rollouts(
            student,
            grpo,
            log_probs=method.wants_log_probs,
            passes_of=passes_by(method, rows, prefilled_think=student.prefills_think),
        ),
        shares_prompts=shared,
        whole_groups=student.backend == "unsloth",
    )
    log.quieten(trainer)
    return trainer, log, journal


def _tell_of_sharing(grpo: Grpo, student: Student, console: Screen, *, shared: bool) -> None:
    """Say where the prompt of a group is computed more than once."""
    if student.backend == "unsloth" and grpo.micro_batch_size % grpo.group_size:
        console.print(
            "grpo: unsloth computes a prompt once in micro-batches of whole groups only (got grpo.micro_batch_size "
            f"{grpo.micro_batch_size}, grpo.group_size {grpo.group_size})", soft_wrap=True,
        )  # fmt: skip
    elif student.backend != "unsloth" and not shared:
        console.print("grpo: this model computes the prompt anew for each completion")


def _go_on_with(completions: Path, done: int) -> Journal:
    """Open the journal of completions, without those of steps that are made again."""
    rows = read_jsonl(completions, step=int, question_id=str)
    write_jsonl(completions, [row for row in rows if row["step"] <= done])
    return Journal(completions)


def _columns(rows: Sequence[PromptRow]) -> dict[str, list[Any]]:
    """Give the rows as the columns that reach the reward."""
    own = {name: [row.columns[name] for row in rows] for name in rows[0].columns}
    return {
        "question_id": [row.question.question_id for row in rows],
        "golds": [list(row.question.golds) for row in rows],
        **own,
    }


def to_grpo_config(
    grpo: Grpo,
    folder: Path,
    precision: torch.dtype = torch.float32,
    backend: Backend = "transformers",
    *,
    groups: int = 1,
    shuffles: bool = True,
) -> GRPOConfig:
    """Map the recipe's `grpo` section to TRL's names; one generation batch is one optimizer step.

    `precision` and `backend` are the student's; a question of a step has so many `groups`.
    """
    rows = share_rows(grpo) * groups
    config = GRPOConfig(
        **common_settings(precision, backend),
        output_dir=str(folder / "checkpoints"),
        max_steps=grpo.steps,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=grpo.warmup_fraction,
        per_device_train_batch_size=grpo.micro_batch_size,
        gradient_accumulation_steps=rows // grpo.micro_batch_size,
        steps_per_generation=rows // grpo.micro_batch_size,
        num_generations=grpo.group_size,
        shuffle_dataset=shuffles,
        max_completion_length=grpo.max_completion_tokens,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        scale_rewards=grpo.scale_rewards,
        epsilon=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        beta=grpo.kl_coefficient,
        max_grad_norm=grpo.max_gradient_norm,
        gradient_checkpointing=grpo.gradient_checkpointing,
        # the length term is for completions that were cut off: they train, too
        mask_truncated_completions=False,
        save_steps=grpo.save_every_steps,
        seed=grpo.seed,
        data_seed=grpo.seed,
        remove_unused_columns=False,
    )
    on_one_card(config)
    return config


def _keep_adapter(grpo: Grpo, student: Student, dev: BestByDev | None, step: int, folder: Path) -> dict[str, Any]:
    """Write `grpo/adapter`, the best or the last, if this process leads; say which, of which step, its dev reward."""
    leads = read_launch().leads
    if dev is None or grpo.keep_adapter == "last":
        if leads:
            save_adapter(student, folder / "adapter")
        return {"adapter": "last", "adapter_step": step}
    best = dev.write_best(folder / "adapter") if leads else dev.best()
    return {"adapter": "best", "adapter_step": best["step"], "dev_reward": best["reward"]}
