"""GRPO of a recipe by plain TRL, in as many processes as `accelerate launch` starts; see recipes/growth.md.

    accelerate launch --num_processes 2 recipes/growth/grpo_trl.py RECIPE MODEL OUT [SERVER]

MODEL is a 16-bit folder, such as an export of sft; OUT gets the adapter; SERVER is the address of `trl vllm-serve`. The
questions, the reward law, its weights, the settings are the recipe's. What mbt-lite's own trainer does besides is not
here: 4-bit weights, one copy of a group's prompt, groups that are skipped, the kernel, checks before the first step.
"""

import argparse
from pathlib import Path

from mbt_lite.data.questions import read_questions
from mbt_lite.methods.law import limits_of
from mbt_lite.prompts import student_messages
from mbt_lite.recipe import load_recipe
from mbt_lite.rewards.elsewhere import trl_reward
from mbt_lite.student.libraries import prepare


def main() -> None:
    """Train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("model")
    parser.add_argument("out")
    parser.add_argument("server", nargs="?")
    parser.add_argument("--set", action="append", default=[], help="section.key=value of the recipe")
    parser.add_argument("--use-cpu", action="store_true")
    asked = parser.parse_args()
    prepare()
    import accelerate
    from datasets import Dataset
    from peft import LoraConfig
    from transformers import AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    recipe = load_recipe(asked.recipe, asked.set)
    grpo, questions = recipe.grpo, read_questions(recipe.data.train, recipe.data.seed)
    rows_at_once = grpo.micro_batch_size * accelerate.PartialState(cpu=asked.use_cpu).num_processes
    passes, left = divmod(grpo.prompts_per_step * grpo.group_size, rows_at_once)
    if left or not passes:
        parser.error(f"a step's completions cannot be shared {rows_at_once} at a time; lower grpo.micro_batch_size")
    config = GRPOConfig(
        output_dir=asked.out,
        max_steps=grpo.steps,
        learning_rate=grpo.learning_rate,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=grpo.warmup_fraction,
        per_device_train_batch_size=grpo.micro_batch_size,
        gradient_accumulation_steps=passes,
        num_generations=grpo.group_size,
        max_completion_length=grpo.max_completion_tokens,
        temperature=grpo.temperature,
        loss_type=grpo.loss_type,
        scale_rewards=grpo.scale_rewards,
        epsilon=grpo.clip_low,
        epsilon_high=grpo.clip_high,
        beta=0.0,
        mask_truncated_completions=False,
        seed=grpo.seed,
        report_to=[],
        logging_steps=1,
        use_cpu=asked.use_cpu,
        bf16=not asked.use_cpu,
        use_vllm=asked.server is not None,
        vllm_mode="server",
        vllm_server_base_url=asked.server,
    )
    tokenizer = AutoTokenizer.from_pretrained(asked.model)
    reward = trl_reward(grpo.reward.weights.model_dump(), limits_of(grpo), [tokenizer.eos_token_id])
    rows = [{"prompt": list(student_messages(one)), "golds": list(one.golds)} for one in questions]
    trainer = GRPOTrainer(
        model=asked.model,
        reward_funcs=[reward],
        args=config,
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=recipe.lora.rank, lora_alpha=recipe.lora.alpha, target_modules="all-linear"),
    )
    trainer.train()
    trainer.save_model(asked.out)


if __name__ == "__main__":
    main()
