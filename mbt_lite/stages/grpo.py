"""Stage `grpo`: continue the SFT adapter with group-relative policy optimization on a reward by rule.

Read questions -> check the reward on gold completions -> leave out what is always or never solved -> roll out, score,
train, watch -> keep the best or the last adapter.

::

    grpo/ metrics.jsonl      the figures of each step       warnings.jsonl     figures that stayed outside their range
          completions.jsonl  every completion with terms    completions.html   the best, the worst, the lost ones
          pass_rates.jsonl   what the prefilter sampled     dev_rewards.jsonl  the reward on held-out questions
          best/              adapters of the best scores    adapter/           what eval reads

Differs from the paper (arXiv 2602.22508): 1. small groups and steps, no reference model by default; 2. groups whose
rewards are all equal cost no training pass; 3. besides the paper's answer F1, the recipe may weigh seven other terms
(`rewards/terms.py`); 4. on request, questions are filtered by pass rate and the adapter is chosen by a dev reward.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite.errors import DataError, RecipeError, RunError
from mbt_lite.recipe.schema import Questions, Recipe
from mbt_lite.records import Question
from mbt_lite.run_dir import Journal, RunDir, adapter_files, read_jsonl, write_jsonl, write_text


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do, without loading a model."""
    grpo = recipe.grpo
    lines = [f"grpo: {grpo.steps} steps of {grpo.prompts_per_step} prompts x {grpo.group_size} completions"]
    if grpo.prefilter == "start":
        lines.append(f"grpo: before them, {grpo.prefilter_samples} completions of each question to filter by")
    if grpo.dev_questions:
        scorings = 1 + -(-grpo.steps // grpo.save_every_steps)
        lines.append(f"grpo: {scorings} scorings of {grpo.dev_questions} held-out questions; keeps {kept(recipe)}")
    return lines


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Train the adapter `grpo/adapter` from `sft/adapter`, or from nothing; done already: say so and return.

    Raises RunError without an SFT adapter, RecipeError for a reward that does not tell right from wrong, ModelError for
    a missing tracker or too little memory.
    """
    from mbt_lite.data.questions import read_questions
    from mbt_lite.training.out_of_memory import naming_out_of_memory
    from mbt_lite.training.trackers import check_tracker

    adapter = run_dir.stage_dir("sft") / "adapter" if recipe.grpo.start == "sft" else None
    if adapter is not None and not (adapter / "adapter_config.json").exists():
        raise RunError(f"{adapter}: no adapter to continue; run `mbt-lite sft` first, or set grpo.start to base")
    rates = run_dir.stage_dir("gen") / "pass_rates.jsonl" if recipe.grpo.prefilter == "gen" else None
    if rates is not None and not rates.exists():
        raise RunError(f"{rates}: no pass rates of gen's drafts to filter by; set grpo.prefilter to start or off")
    if adapter is not None:
        run_dir.check_outputs("sft")
    inputs = run_dir.fingerprint([*(adapter_files(adapter) if adapter else []), *([rates] if rates else [])])
    for source in (recipe.data.train, *([recipe.data.dev] if recipe.grpo.dev_questions else [])):
        inputs |= run_dir.fingerprint_source(source.path, functools.partial(read_questions, source, recipe.data.seed))
    if run_dir.is_done("grpo", inputs):
        console.print(f"grpo: done already, adapter in {run_dir.stage_dir('grpo') / 'adapter'}", highlight=False)
        return
    check_reference(recipe)
    check_tracker(recipe.tracking.tracker)
    with run_dir.locked("grpo", inputs) as folder, naming_out_of_memory(recipe, "grpo", folder):
        summary = train(recipe, adapter, rates, folder, console)
        run_dir.mark_done("grpo", inputs, summary, adapter_files(folder / "adapter"))
    which = f"{summary['adapter']}, of step {summary['adapter_step']}"
    console.print(f"grpo: adapter in {folder / 'adapter'} ({which})", highlight=False, soft_wrap=True)


def to_grpo_config(recipe: Recipe, folder: Path) -> Any:
    """Map the recipe's `grpo` section to TRL's names; one generation batch is one optimizer step."""
    import torch
    from trl import GRPOConfig

    grpo = recipe.grpo
    rows = grpo.prompts_per_step * grpo.group_size
    if rows % grpo.micro_batch_size:
        raise RecipeError(
            [f"grpo.micro_batch_size: must divide prompts_per_step x group_size = {rows} (got {grpo.micro_batch_size})"]
        )
    return GRPOConfig(
        output_dir=str(folder / "checkpoints"),
        max_steps=grpo.steps,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=grpo.warmup_fraction,
        per_device_train_batch_size=grpo.micro_batch_size,
        gradient_accumulation_steps=rows // grpo.micro_batch_size,
        steps_per_generation=rows // grpo.micro_batch_size,
        num_generations=grpo.group_size,
        max_completion_length=grpo.max_completion_tokens,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        scale_rewards=grpo.scale_rewards,
        epsilon=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        beta=grpo.kl_coefficient,
        max_grad_norm=grpo.max_gradient_norm,
        gradient_checkpointing=grpo.gradient_checkpointing,
        save_strategy="steps",
        save_steps=grpo.save_every_steps,
        save_total_limit=2,
        logging_steps=1,
        # a loss that is no number is to be seen, not averaged away
        logging_nan_inf_filter=False,
        seed=grpo.seed,
        data_seed=grpo.seed,
        bf16=False,
        fp16=False,
        use_cpu=not torch.cuda.is_available(),
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        remove_unused_columns=False,
    )


def read_fitting(recipe: Recipe, student: Any, source: Questions) -> list[Question]:
    """Read questions and drop distractors until their prompts fit; DataError if none can."""
    from mbt_lite.data.questions import read_questions

    return fitting(recipe, student, read_questions(source, recipe.data.seed), source.path)


def fitting(recipe: Recipe, student: Any, questions: Sequence[Question], path: str) -> list[Question]:
    """Drop distractors until prompts fit `data.max_prompt_tokens`; DataError, naming their file, if no question can."""
    from mbt_lite.data.trimming import trim_questions
    from mbt_lite.prompts import student_messages

    def count(question: Question) -> int:
        return int(student.count_prompt_tokens(student_messages(question)))

    return list(trim_questions(questions, recipe.data.max_prompt_tokens, count, path).questions)


def held_out_questions(recipe: Recipe, student: Any) -> list[Question]:
    """Read the dev questions that score checkpoints: none that `eval` scores, so that choosing is not peeking."""
    from mbt_lite.data.held_out import read_left_over

    wanted = recipe.grpo.dev_questions
    dev = recipe.data.dev
    return fitting(recipe, student, read_left_over(dev, recipe.data.seed, wanted)[:wanted], dev.path)


def leave_out(
    recipe: Recipe, student: Any, questions: list[Question], rates: Path | None, folder: Path, console: Console
) -> tuple[list[Question], dict[str, int]]:
    """Keep the questions worth rollouts (`grpo.prefilter`), and count the sorts; none are counted where it is off.

    Raises DataError if too few are left for a step.
    """
    from mbt_lite.traces.prefilter import sort_by_pass_rate

    counts: dict[str, int] = {}
    if recipe.grpo.prefilter != "off":
        rows = read_jsonl(rates) if rates else measured_pass_rates(recipe, student, questions, folder, console)
        found = sort_by_pass_rate([question.question_id for question in questions], rows)
        questions = [question for question in questions if question.question_id in found.kept]
        counts = found.counts()
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        console.print(f"grpo: questions by pass rate: {said}; trains on {len(questions)}", highlight=False)
        check_drafts(recipe, counts)
    if len(questions) < recipe.grpo.prompts_per_step:
        raise DataError(
            f"grpo.prompts_per_step: only {len(questions)} questions to train on (got {recipe.grpo.prompts_per_step}, "
            f"grpo.prefilter {recipe.grpo.prefilter}); give more questions, train sft longer, or lower it"
        )
    return questions, counts


def check_drafts(recipe: Recipe, counts: dict[str, int]) -> None:
    """Refuse gen's drafts where they cannot tell: one a question, or another writer's."""
    from mbt_lite.traces.kinds import kind_named

    if recipe.grpo.prefilter == "gen" and (
        kind_named(recipe.gen.kind).drafter != "student" or counts["unknown"] == sum(counts.values())
    ):
        raise RecipeError(
            [
                f"grpo.prefilter: gen has not two drafts a question by the student (got gen.kind {recipe.gen.kind}, "
                f"gen.rollouts_per_question {recipe.gen.rollouts_per_question}); set it to start or off"
            ]
        )


def measured_pass_rates(
    recipe: Recipe, student: Any, questions: Sequence[Question], folder: Path, console: Console
) -> list[dict[str, Any]]:
    """Sample completions of each question by the adapter that training starts from; what is journaled is kept."""
    from mbt_lite.progress import counting
    from mbt_lite.training.pass_rates import measure_pass_rates

    with (
        Journal(folder / "pass_rates.jsonl") as journal,
        counting(console, "grpo: pass rates", len(questions)) as step,
    ):
        return measure_pass_rates(student, questions, recipe.grpo, journal, step)


def build_scorer(recipe: Recipe, student: Any) -> Any:
    """Give what scores completions on this machine."""
    from mbt_lite.rewards.scorer import choose_scorer

    return choose_scorer(
        student.tokenizer, student.device, student.stop_ids, limits(recipe), prefilled_think=student.prefills_think
    )


def check_reward(recipe: Recipe, questions: list[Question], scorer: Any, tokenizer: Any) -> None:
    """Before step one: a gold completion must score best, broken ones worse, or the reward teaches nothing."""
    from mbt_lite.rewards.dry_run import reward_findings

    def encode(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    findings = reward_findings(questions, recipe.grpo.reward.weights, scorer, encode)
    if findings:
        raise RecipeError([f"grpo.reward: {finding}" for finding in findings[:10]])


def check_reference(recipe: Recipe) -> None:
    """Refuse a reference model under unsloth: it would be the untrained model, and undo what sft taught."""
    from mbt_lite.student.backend import choose_backend

    kl = recipe.grpo.kl_coefficient
    if kl > 0 and choose_backend(recipe.model.backend) == "unsloth":
        raise RecipeError(
            [
                "grpo.kl_coefficient: unsloth would pull to the untrained model, away from the SFT adapter "
                f"(got {kl:g}); set it to 0, or `model.backend` to transformers"
            ]
        )


def limits(recipe: Recipe) -> Any:
    """Give the reward law's limits."""
    from mbt_lite.rewards.law import RewardLimits

    return RewardLimits(
        max_completion_tokens=recipe.grpo.max_completion_tokens,
        verification_words=recipe.grpo.reward.verification_words,
        overlong_buffer_tokens=recipe.grpo.reward.overlong_buffer_tokens,
    )


def train(recipe: Recipe, adapter: Path | None, rates: Path | None, folder: Path, console: Console) -> dict[str, Any]:
    """Train and save; give the counts for `done.json`. `rates`: gen's pass rates, to filter by them."""
    # of model/ only what leaves transformers alone: loading the student may import unsloth, which has to be first
    from mbt_lite.prompts import student_messages
    from mbt_lite.student.adapters import add_adapter, check_rollouts_use_adapter
    from mbt_lite.student.chat_template import record_template, refuse_other_template
    from mbt_lite.student.loading import kept_in_float32, load_student
    from mbt_lite.student.unsloth_backend import engine_of, hiding_engine
    from mbt_lite.training.checkpoints import resume_point, step_of
    from mbt_lite.training.trackers import tracking

    checkpoint = resume_point(folder, "grpo", console)
    checkpointing = recipe.grpo.gradient_checkpointing
    step = step_of(checkpoint) if checkpoint else 0
    with tracking(recipe, folder, step) as track:
        student = load_student(
            recipe.model, adapter, trainable=True, gradient_checkpointing=checkpointing, engine=engine_of(recipe)
        )
        template = record_template(folder, student.tokenizer)
        questions = read_fitting(recipe, student, recipe.data.train)
        scorer = build_scorer(recipe, student)
        check_reward(recipe, questions, scorer, student.tokenizer)
        console.print(f"grpo: rewards are scored by the {scorer.form} form of the law", highlight=False)
        if adapter is None:
            add_adapter(student, recipe.lora, recipe.grpo.seed, gradient_checkpointing=checkpointing)
        else:
            refuse_other_template(adapter.parent, template)
            # a fresh adapter changes nothing yet
            check_rollouts_use_adapter(student, student_messages(questions[0]))
        questions, counts = leave_out(recipe, student, questions, rates, folder, console)
        watch, dev, callbacks = watchers(recipe, student, questions, folder, console)
        with kept_in_float32(student.model), hiding_engine(student.model):
            trainer, log, journal = build_trainer(
                recipe, student, questions, scorer, folder, console, step, callbacks, track
            )
        try:
            if checkpoint is not None and step >= recipe.grpo.steps:
                trainer.take_up_finished(checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        finally:
            log.close()
            journal.close()
    return {
        "questions": len(questions),
        "by_pass_rate": counts,
        "steps": trainer.state.global_step,
        "chat_template": template,
        "stopped_early": watch.stopped,
        "warnings": len(read_jsonl(folder / "warnings.jsonl")),
        **keep_adapter(recipe, student, dev, trainer.state.global_step, folder),
    }


def kept(recipe: Recipe) -> str:
    """Say which adapter is kept: without dev questions there is no best."""
    return recipe.grpo.keep_adapter if recipe.grpo.dev_questions else "last"


def keep_adapter(recipe: Recipe, student: Any, dev: Any, step: int, folder: Path) -> dict[str, Any]:
    """Write `grpo/adapter`, the best or the last; say which, of which step, with its dev reward."""
    from mbt_lite.student.adapters import save_adapter

    which = kept(recipe)
    if which == "last":
        save_adapter(student, folder / "adapter")
        return {"adapter": which, "adapter_step": step}
    best = dev.write_best(folder / "adapter")
    return {"adapter": which, "adapter_step": best["step"], "dev_reward": best["reward"]}


def watchers(
    recipe: Recipe, student: Any, questions: list[Question], folder: Path, console: Console
) -> tuple[Any, Any, list[Any]]:
    """Give the watch, the scorer of checkpoints (None without dev questions), and all callbacks in their order."""
    from mbt_lite.report.completion_page import completion_page
    from mbt_lite.training.dev_reward import BestAdapter, score_greedily
    from mbt_lite.training.grpo_watch import AtSave, WatchCallback, rules
    from mbt_lite.training.save_clock import SaveByMinutes

    grpo = recipe.grpo

    def write_page() -> None:
        rows = read_jsonl(folder / "completions.jsonl")
        page = completion_page(rows, questions, grpo.save_every_steps, folder.parent.name)
        write_text(folder / "completions.html", page)

    watch = WatchCallback(folder, rules(grpo.max_completion_tokens), grpo.stop_after_dead_steps, console)
    minutes = grpo.save_every_minutes
    callbacks: list[Any] = [*([SaveByMinutes(minutes)] if minutes is not None else []), watch, AtSave(write_page)]
    dev = None
    if grpo.dev_questions:
        held_out = held_out_questions(recipe, student)
        dev = BestAdapter(student, folder, lambda: score_greedily(student, held_out, grpo, limits(recipe)), console)
        callbacks.append(dev)
    return watch, dev, callbacks


def build_trainer(
    recipe: Recipe,
    student: Any,
    questions: list[Question],
    scorer: Any,
    folder: Path,
    console: Console,
    done: int,
    callbacks: Sequence[Any],
    track: Any,
) -> tuple[Any, Any, Journal]:
    """Build the trainer with its reward, rollouts and logs; `done` is the step of the checkpoint it goes on from."""
    from datasets import Dataset

    from mbt_lite.generation.generate import shares_prompts
    from mbt_lite.prompts import student_messages
    from mbt_lite.rewards.trl_reward import LawReward
    from mbt_lite.training.grpo_rollouts import check_cache, rollouts
    from mbt_lite.training.grpo_trainer import ReducedGRPOTrainer
    from mbt_lite.training.logit_tiles import narrow_without_triton
    from mbt_lite.training.training_log import TrainingLog

    prompts = [student_messages(question) for question in questions]
    check_cache(student, prompts, recipe.grpo)
    narrow_without_triton()
    completions = folder / "completions.jsonl"
    write_jsonl(completions, [row for row in read_jsonl(completions) if row["step"] <= done])
    journal = Journal(completions)
    reward = LawReward(scorer, recipe.grpo.reward.weights.model_dump(), journal.extend)
    rows = {
        "prompt": prompts,
        "question_id": [question.question_id for question in questions],
        "golds": [list(question.golds) for question in questions],
    }

    def questions_of(step: int) -> list[str]:
        return list(dict.fromkeys(row["question_id"] for row in read_jsonl(completions) if row["step"] == step))

    log = TrainingLog(folder / "metrics.jsonl", "grpo", "reward", console, questions_of, track)
    shared = shares_prompts(student, student.model)
    if not shared:
        console.print("grpo: this model or backend computes the prompt anew for each completion", highlight=False)
    trainer = ReducedGRPOTrainer(
        model=student.model,
        reward_funcs=[reward],
        args=to_grpo_config(recipe, folder),
        train_dataset=Dataset.from_dict(rows),
        processing_class=student.tokenizer,
        callbacks=[log, *callbacks],
        rollout_func=rollouts(student, recipe.grpo),
        shares_prompts=shared,
    )
    log.quieten(trainer)
    return trainer, log, journal
