"""Stage `grpo`: continue the SFT adapter with group-relative policy optimization on a reward by rule.

Read questions -> check the reward on gold completions -> roll out, score, train -> write the adapter.
Differs from the paper (arXiv 2602.22508): 1. small groups and steps, no reference model by default; 2. groups whose
rewards are all equal cost no training pass; 3. besides the paper's answer F1, the recipe may weigh seven other terms
(`rewards/terms.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite.errors import DataError, RecipeError, RunError
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Question
from mbt_lite.run_dir import Journal, RunDir, read_jsonl, write_jsonl


def plan(recipe: Recipe, run_dir: RunDir) -> list[str]:
    """Say what a run would do, without loading a model."""
    grpo = recipe.grpo
    return [f"grpo: {grpo.steps} steps of {grpo.prompts_per_step} prompts x {grpo.group_size} completions"]


def run(recipe: Recipe, run_dir: RunDir, console: Console) -> None:
    """Train the adapter `grpo/adapter` from `sft/adapter`, or from nothing; done already: say so and return.

    Raises RunError without an SFT adapter, RecipeError for a reward that does not tell right from wrong.
    """
    adapter = run_dir.stage_dir("sft") / "adapter" if recipe.grpo.start == "sft" else None
    if adapter is not None and not (adapter / "adapter_config.json").exists():
        raise RunError(f"{adapter}: no adapter to continue; run `mbt-lite sft` first, or set grpo.start to base")
    inputs = run_dir.fingerprint([adapter / "adapter_model.safetensors"] if adapter else [])
    if run_dir.is_done("grpo", inputs):
        console.print(f"grpo: done already, adapter in {run_dir.stage_dir('grpo') / 'adapter'}", highlight=False)
        return
    check_reference(recipe)
    with run_dir.locked("grpo") as folder:
        summary = train(recipe, adapter, folder, console)
        run_dir.mark_done("grpo", inputs, summary)
    console.print(f"grpo: adapter in {folder / 'adapter'}", highlight=False)


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


def fitting_questions(recipe: Recipe, student: Any) -> list[Question]:
    """Read the training questions, trimmed to `data.max_prompt_tokens`; DataError if none fits."""
    from mbt_lite.data.questions import read_questions
    from mbt_lite.data.trimming import trim_question
    from mbt_lite.prompts import student_messages

    def count(question: Question) -> int:
        return int(student.count_prompt_tokens(student_messages(question)))

    questions = read_questions(recipe.data.train, recipe.data.seed)
    trimmed = [trim_question(question, recipe.data.max_prompt_tokens, count).question for question in questions]
    fitting = [question for question in trimmed if question is not None]
    if not fitting:
        raise DataError(f"data.max_prompt_tokens: no question fits (got {recipe.data.max_prompt_tokens}); raise it")
    return fitting


def check_reward(recipe: Recipe, questions: list[Question]) -> None:
    """Before step one: a gold completion must score best, broken ones worse, or the reward teaches nothing."""
    from mbt_lite.rewards.dry_run import gold_findings

    weights = recipe.grpo.reward.weights
    findings = [finding for question in questions for finding in gold_findings(question, weights, limits(recipe))]
    if findings:
        raise RecipeError([f"grpo.reward: {finding}" for finding in findings[:10]])


def check_reference(recipe: Recipe) -> None:
    """Refuse a reference model under unsloth: it would be the untrained model, and undo what sft taught."""
    from mbt_lite.model.student import choose_backend

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


def train(recipe: Recipe, adapter: Path | None, folder: Path, console: Console) -> dict[str, Any]:
    """Train and save; give the counts for `done.json`."""
    from mbt_lite.model.adapters import add_adapter, check_rollouts_use_adapter, save_adapter
    from mbt_lite.model.checkpoints import newest_complete
    from mbt_lite.model.student import kept_in_float32, load_student
    from mbt_lite.prompts import student_messages

    checkpoint, set_aside = newest_complete(folder / "checkpoints")
    for partial in set_aside:
        console.print(f"grpo: a kill left a partial checkpoint; set aside as {partial}", highlight=False)
    if checkpoint is not None:
        console.print(f"grpo: going on from {checkpoint}", highlight=False)
    checkpointing = recipe.grpo.gradient_checkpointing
    student = load_student(recipe.model, adapter, trainable=True, gradient_checkpointing=checkpointing)
    questions = fitting_questions(recipe, student)
    check_reward(recipe, questions)
    if adapter is None:
        add_adapter(student, recipe.lora, recipe.grpo.seed, gradient_checkpointing=checkpointing)
    else:
        # a fresh adapter changes nothing yet
        check_rollouts_use_adapter(student, student_messages(questions[0]))
    with kept_in_float32(student.model):
        trainer, log, journal = build_trainer(recipe, student, questions, folder, console, checkpoint)
    try:
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    finally:
        log.close()
        journal.close()
    save_adapter(student, folder / "adapter")
    return {"questions": len(questions), "steps": trainer.state.global_step}


def build_trainer(
    recipe: Recipe, student: Any, questions: list[Question], folder: Path, console: Console, checkpoint: Path | None
) -> tuple[Any, Any, Journal]:
    """Build the trainer with its reward, rollouts and logs."""
    from datasets import Dataset

    from mbt_lite.model.checkpoints import step_of
    from mbt_lite.model.grpo_trainer import ReducedGRPOTrainer
    from mbt_lite.model.logit_tiles import narrow_without_triton
    from mbt_lite.model.training_log import TrainingLog
    from mbt_lite.prompts import student_messages
    from mbt_lite.rewards.trl_reward import LawReward

    narrow_without_triton()
    done = step_of(checkpoint) if checkpoint else 0
    completions = folder / "completions.jsonl"
    write_jsonl(completions, [row for row in read_jsonl(completions) if row["step"] <= done])
    journal = Journal(completions)
    reward = LawReward(
        decode=lambda ids: student.tokenizer.decode(ids, skip_special_tokens=True),
        stop_ids=student.stop_ids,
        weights=recipe.grpo.reward.weights.model_dump(),
        limits=limits(recipe),
        prefilled_think=student.prefills_think,
        record=journal.extend,
    )
    rows = {
        "prompt": [student_messages(question) for question in questions],
        "question_id": [question.question_id for question in questions],
        "golds": [list(question.golds) for question in questions],
    }
    log = TrainingLog(folder / "metrics.jsonl", "grpo", "reward", console)
    trainer = ReducedGRPOTrainer(
        model=student.model,
        reward_funcs=[reward],
        args=to_grpo_config(recipe, folder),
        train_dataset=Dataset.from_dict(rows),
        processing_class=student.tokenizer,
        callbacks=[log],
        rollout_func=rollouts(recipe, student),
    )
    log.quieten(trainer)
    return trainer, log, journal


def rollouts(recipe: Recipe, student: Any) -> Any:
    """Give TRL's rollout function: the groups of a step, each prompt computed once."""
    from mbt_lite.model.chat import prompt_ids
    from mbt_lite.model.generate import generate

    grpo = recipe.grpo

    def roll_out(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        # TRL repeats each prompt group_size times in a row
        unique = prompts[:: grpo.group_size]
        found = list(
            generate(
                student,
                unique,
                samples=grpo.group_size,
                temperature=grpo.temperature,
                top_p=1.0,
                top_k=0,
                max_completion_tokens=grpo.max_completion_tokens,
                batch_size=grpo.rollout_batch_size,
                seed=(grpo.seed + 1) * 1_000_003 + int(trainer.state.global_step) * 1009,
            )
        )
        found.sort(key=lambda rollout: (rollout.prompt_index, rollout.sample_index))
        return {
            "prompt_ids": [prompt_ids(student.tokenizer, prompt) for prompt in prompts],
            "completion_ids": [list(rollout.token_ids) for rollout in found],
            "logprobs": None,
        }

    return roll_out
