"""Names that people bring from TRL, axolotl, unsloth, LLaMA-Factory: the key each stands for, or why there is none."""

from __future__ import annotations

_BATCH = ("sft.micro_batch_size", "grpo.micro_batch_size")
_PROMPT = ("data.max_prompt_tokens",)
_COMPLETION = ("grpo.max_completion_tokens", "gen.max_completion_tokens", "eval.max_completion_tokens")
_SEQUENCE = ("sft.max_sequence_tokens",)
_GROUP = ("grpo.group_size",)
_CLIP = ("sft.max_gradient_norm", "grpo.max_gradient_norm")
_RATE = ("sft.learning_rate", "grpo.learning_rate")
_SAVE = ("sft.save_every_steps", "grpo.save_every_steps")
_STEPS = ("grpo.steps", "sft.epochs")
_STUDENT = ("model.name",)
_TRAIN = ("data.train.path",)
_BITS = ("model.quantization",)
_WARMUP = ("sft.warmup_fraction", "grpo.warmup_fraction")

# name -> the keys that say it here, those of its own section first
KEYS = {
    **dict.fromkeys(("model_name_or_path", "model_name", "base_model", "model_id", "pretrained_model"), _STUDENT),
    **dict.fromkeys(("load_in_4bit", "quantization_bit", "bnb_4bit_quant_type", "load_in_8bit"), _BITS),
    **dict.fromkeys(("bf16", "fp16", "torch_dtype", "tf32"), ("model.dtype",)),
    **dict.fromkeys(("use_unsloth",), ("model.backend",)),
    **dict.fromkeys(("dataset", "datasets", "dataset_name", "dataset_path", "train_file", "train_dataset"), _TRAIN),
    **dict.fromkeys(("eval_dataset", "eval_file", "val_file", "test_datasets"), ("data.dev.path",)),
    **dict.fromkeys(("dataset_split", "dataset_train_split"), ("data.train.split",)),
    **dict.fromkeys(("max_samples", "max_train_samples"), ("data.train.limit",)),
    **dict.fromkeys(("dataset_format", "chat_format", "type"), ("data.train.layout",)),
    **dict.fromkeys(("r", "lora_r", "lora_rank", "peft_r"), ("lora.rank",)),
    "lora_alpha": ("lora.alpha",),
    "lora_dropout": ("lora.dropout",),
    **dict.fromkeys(("use_rslora", "use_dora", "peft_use_rslora", "peft_use_dora"), ("lora.variant",)),
    **dict.fromkeys(("adapter_name_or_path", "lora_model_dir"), ("lora.continue_from",)),
    **dict.fromkeys(("lr", "max_lr"), _RATE),
    **dict.fromkeys(("lr_scheduler", "lr_scheduler_type", "scheduler"), ("sft.schedule",)),
    **dict.fromkeys(("warmup_ratio", "warmup_steps"), _WARMUP),
    **dict.fromkeys(("num_train_epochs", "num_epochs", "n_epochs"), ("sft.epochs",)),
    **dict.fromkeys(("max_steps", "num_steps"), _STEPS),
    **dict.fromkeys(("per_device_train_batch_size", "batch_size", "train_batch_size", "micro_batch"), _BATCH),
    **dict.fromkeys(("gradient_accumulation", "grad_accum"), ("sft.gradient_accumulation_steps",)),
    **dict.fromkeys(("sequence_len", "max_seq_length", "max_seq_len", "max_length", "cutoff_len"), _SEQUENCE),
    **dict.fromkeys(("max_grad_norm", "gradient_clipping"), _CLIP),
    **dict.fromkeys(("use_gradient_checkpointing", "gradient_checkpoint"), ("sft.gradient_checkpointing",)),
    **dict.fromkeys(("save_steps", "save_strategy"), _SAVE),
    **dict.fromkeys(("val_set_size", "test_size", "val_size"), ("sft.held_out_traces",)),
    **dict.fromkeys(("eval_steps", "eval_strategy", "evaluation_strategy"), ("sft.evaluate_every_steps",)),
    "early_stopping_patience": ("sft.patience",),
    **dict.fromkeys(("num_generations", "n_generations", "rollout_n", "num_return_sequences"), _GROUP),
    **dict.fromkeys(("beta", "kl_coef", "kl_beta", "init_kl_coef"), ("grpo.kl_coefficient",)),
    **dict.fromkeys(("max_completion_length", "max_new_tokens", "max_tokens", "response_length"), _COMPLETION),
    **dict.fromkeys(("max_prompt_length", "prompt_length"), _PROMPT),
    "epsilon": ("grpo.clip_low",),
    "epsilon_high": ("grpo.clip_high",),
    **dict.fromkeys(("reward_funcs", "reward_weights"), ("grpo.reward.weights",)),
    **dict.fromkeys(("use_vllm", "vllm_mode"), ("grpo.rollout_engine",)),
    **dict.fromkeys(("gpu_memory_utilization", "vllm_gpu_memory_utilization"), ("grpo.vllm_memory_fraction",)),
    "num_samples_per_task": ("eval.samples_per_question",),
    **dict.fromkeys(("report_to", "logging_backend", "wandb_project", "use_wandb"), ("tracking.tracker",)),
    **dict.fromkeys(("api_key", "openai_api_key"), ("teacher.api_key_env", "judge.api_key_env")),
    **dict.fromkeys(("api_base", "endpoint", "url"), ("teacher.base_url", "judge.base_url")),
}  # fmt: skip

_LINEAR = "the adapter is on all linear layers; delete the line"
_ADAM = "training uses AdamW; delete the line"
_OUT = "the run folder is named on the command line: --out runs/<name>"
_LOSS = "only completions are trained on; delete the line"
_LOG = "every step is logged; delete the line"
# name -> why there is no key
NONE = {
    **dict.fromkeys(("target_modules", "lora_target", "lora_target_modules", "lora_target_linear"), _LINEAR),
    **dict.fromkeys(("optim", "optimizer"), _ADAM),
    "weight_decay": "an adapter is trained without; delete the line",
    **dict.fromkeys(("output_dir", "run_name", "save_path", "logging_dir"), _OUT),
    **dict.fromkeys(("logging_steps", "logging_strategy"), _LOG),
    "overwrite_output_dir": "give --overwrite on the command line",
    **dict.fromkeys(("resume_from_checkpoint", "auto_resume_from_checkpoints"), "the same command goes on; delete it"),
    "save_total_limit": "the two newest are kept; delete the line",
    **dict.fromkeys(("packing", "sample_packing"), "rows stand end to end without padding; delete the line"),
    **dict.fromkeys(("chat_template", "template"), "the model's own template is used; delete the line"),
    "trust_remote_code": "code of strangers is never run; delete the line",
    **dict.fromkeys(("push_to_hub", "hub_model_id"), "a run is exported by `mbt-lite export`; delete the line"),
    **dict.fromkeys(("flash_attention", "attn_implementation"), "the backend chooses its attention; delete the line"),
    **dict.fromkeys(("deepspeed", "fsdp", "fsdp_config"), "one GPU trains; delete the line"),
    "neftune_noise_alpha": "no noise is added; delete the line",
    **dict.fromkeys(("do_train", "do_eval", "finetuning_type", "adapter"), "the command is the stage; delete the line"),
    **dict.fromkeys(("train_on_inputs", "completion_only_loss", "assistant_only_loss"), _LOSS),
}  # fmt: skip


def hint(section: str, name: str) -> str | None:
    """Say what a foreign name stands for here, with the keys of its section where there are some; None: not known.

    >>> hint("grpo", "per_device_train_batch_size")
    'it is `grpo.micro_batch_size` here'
    """
    name = name.lower().replace("-", "_")
    if name in NONE:
        return NONE[name]
    keys = KEYS.get(name, ())
    near = [key for key in keys if section and key.startswith(f"{section.partition('.')[0]}.")]
    return f"it is {' or '.join(f'`{key}`' for key in near or keys)} here" if keys else None
