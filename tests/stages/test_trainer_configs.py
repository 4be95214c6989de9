"""The one place a stage where the recipe's words become TRL's: every key arrives, under the right name."""

from pathlib import Path
from typing import Any

import pytest

from mbt_lite.errors import RecipeError
from mbt_lite.recipe.schema import Data, Grpo, Model, Questions, Recipe, Sft
from mbt_lite.stages.grpo import check_reference
from mbt_lite.training.grpo import to_grpo_config
from mbt_lite.training.sft import to_sft_config

# No value is a default of ours, nor of TRL's.
SFT = Sft(
    learning_rate=3e-4,
    epochs=2.5,
    micro_batch_size=3,
    gradient_accumulation_steps=5,
    max_sequence_tokens=999,
    warmup_fraction=0.25,
    schedule="linear",
    max_gradient_norm=0.7,
    gradient_checkpointing=False,
    save_every_steps=7,
    save_every_minutes=1.5,
    held_out_traces=4,
    evaluate_every_steps=6,
    patience=2,
    seed=11,
)
GRPO = Grpo(
    start="base",
    steps=21,
    prompts_per_step=6,
    group_size=4,
    micro_batch_size=3,
    rollout_batch_size=5,
    rollout_cache_gib=1.5,
    rollout_engine="vllm",
    vllm_memory_fraction=0.4,
    prefilter="gen",
    prefilter_samples=3,
    dev_questions=9,
    keep_adapter="last",
    keep_best_by="exact_match",
    stop_after_dead_steps=8,
    learning_rate=2e-6,
    warmup_fraction=0.5,
    temperature=0.9,
    max_completion_tokens=123,
    loss_type="dr_grpo",
    scale_rewards="none",
    clip_low=0.1,
    clip_high=0.3,
    kl_coefficient=0.04,
    max_gradient_norm=0.6,
    gradient_checkpointing=False,
    save_every_steps=3,
    save_every_minutes=2.5,
    seed=13,
)

# Recipe key -> what TRL is told; None: the stage itself uses the key, TRL is not told.
SFT_FIELDS: dict[str, dict[str, Any] | None] = {
    "learning_rate": {"learning_rate": 3e-4},
    "epochs": {"num_train_epochs": 2.5, "max_steps": -1},
    "micro_batch_size": {"per_device_train_batch_size": 3},
    "gradient_accumulation_steps": {"gradient_accumulation_steps": 5},
    # rows are measured before training: TRL would cut them
    "max_sequence_tokens": {"max_length": None},
    "warmup_fraction": {"warmup_steps": 0.25},
    "schedule": {"lr_scheduler_type": "linear"},
    "max_gradient_norm": {"max_grad_norm": 0.7},
    "gradient_checkpointing": {"gradient_checkpointing": False},
    "save_every_steps": {"save_strategy": "steps", "save_steps": 7},
    "save_every_minutes": None,
    # the held-out rows are scored a micro-batch at a time, and their logits are not kept
    "held_out_traces": {"eval_strategy": "steps", "per_device_eval_batch_size": 3, "prediction_loss_only": True},
    "evaluate_every_steps": {"eval_steps": 6},
    "patience": None,
    "seed": {"seed": 11, "data_seed": 11},
}
GRPO_FIELDS: dict[str, dict[str, Any] | None] = {
    "method": None,
    "masa": None,
    "ccrl": None,
    "confidence": None,
    "start": None,
    "steps": {"max_steps": 21},
    # 6 prompts x 4 completions are one generation batch and one optimizer step: 8 micro-batches of 3
    "prompts_per_step": {"generation_batch_size": 24, "gradient_accumulation_steps": 8, "steps_per_generation": 8},
    "group_size": {"num_generations": 4},
    "micro_batch_size": {"per_device_train_batch_size": 3},
    "rollout_batch_size": None,
    "rollout_cache_gib": None,
    "rollout_engine": None,
    "vllm_memory_fraction": None,
    "prefilter": None,
    "prefilter_samples": None,
    "dev_questions": None,
    "keep_adapter": None,
    "keep_best_by": None,
    "stop_after_dead_steps": None,
    "learning_rate": {"learning_rate": 2e-6, "lr_scheduler_type": "constant_with_warmup"},
    "warmup_fraction": {"warmup_steps": 0.5},
    "temperature": {"temperature": 0.9},
    "max_completion_tokens": {"max_completion_length": 123},
    "loss_type": {"loss_type": "dr_grpo"},
    "scale_rewards": {"scale_rewards": "none"},
    "clip_low": {"epsilon": 0.1},
    "clip_high": {"epsilon_high": 0.3},
    "kl_coefficient": {"beta": 0.04},
    "max_gradient_norm": {"max_grad_norm": 0.6},
    "gradient_checkpointing": {"gradient_checkpointing": False},
    "reward": None,
    "save_every_steps": {"save_strategy": "steps", "save_steps": 3},
    "save_every_minutes": None,
    "seed": {"seed": 13, "data_seed": 13},
}
# Nothing is sent anywhere, printed twice, or rounded to half precision behind our back.
COMMON = {
    "report_to": [],
    "disable_tqdm": True,
    "bf16": False,
    "fp16": False,
    "logging_steps": 1,
    # older checkpoints are deleted by step, not by their files' times
    "save_total_limit": None,
    # the trainer would put a mean in the place of a loss that is no number
    "logging_nan_inf_filter": False,
}


def recipe(**sections: Any) -> Recipe:
    data = Data(train=Questions(path="train.jsonl"), dev=Questions(path="dev.jsonl"))
    return Recipe(model=Model(name="tiny"), data=data, **sections)


@pytest.fixture(scope="module")
def sft_config() -> Any:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    return to_sft_config(recipe(sft=SFT), Path("run/sft"))


@pytest.fixture(scope="module")
def grpo_config() -> Any:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    return to_grpo_config(GRPO, Path("run/grpo"))


def told(config: Any, expected: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(config, name) for name in expected}


def test_the_tables_name_every_key_with_a_value_of_its_own() -> None:
    for section, table in ((SFT, SFT_FIELDS), (GRPO, GRPO_FIELDS)):
        defaults = type(section)()
        assert table.keys() == type(section).model_fields.keys()
        same = [key for key, value in section if value == getattr(defaults, key)]
        # of a method and its reward TRL knows nothing
        assert same == [key for key in ("method", "masa", "ccrl", "confidence", "reward") if key in table]


@pytest.mark.parametrize("key", [key for key, expected in SFT_FIELDS.items() if expected])
def test_to_sft_config_maps_each_key(key: str, sft_config: Any) -> None:
    expected = SFT_FIELDS[key]
    assert expected is not None
    assert told(sft_config, expected) == expected


@pytest.mark.parametrize("key", [key for key, expected in GRPO_FIELDS.items() if expected])
def test_to_grpo_config_maps_each_key(key: str, grpo_config: Any) -> None:
    expected = GRPO_FIELDS[key]
    assert expected is not None
    assert told(grpo_config, expected) == expected


@pytest.mark.parametrize("name", COMMON)
def test_configs_keep_the_trainer_quiet_and_exact(name: str, sft_config: Any, grpo_config: Any) -> None:
    assert (getattr(sft_config, name), getattr(grpo_config, name)) == (COMMON[name], COMMON[name])


def test_configs_write_checkpoints_into_the_stage_folder(sft_config: Any, grpo_config: Any) -> None:
    assert Path(sft_config.output_dir) == Path("run/sft/checkpoints")
    assert Path(grpo_config.output_dir) == Path("run/grpo/checkpoints")


def test_configs_use_the_device_there_is(sft_config: Any, grpo_config: Any) -> None:
    import torch

    assert sft_config.use_cpu is grpo_config.use_cpu is not torch.cuda.is_available()


def test_configs_warm_up_for_a_share_of_the_steps(sft_config: Any, grpo_config: Any) -> None:
    assert sft_config.get_warmup_steps(100) == 25
    assert grpo_config.get_warmup_steps(100) == 50


def test_to_sft_config_measures_no_dev_loss_without_held_out_traces() -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    assert to_sft_config(recipe(sft=Sft()), Path("run/sft")).eval_strategy == "no"


def test_to_sft_config_takes_loss_on_the_completion_only(sft_config: Any) -> None:
    assert sft_config.completion_only_loss is True


def test_to_grpo_config_keeps_the_columns_that_the_reward_reads(grpo_config: Any) -> None:
    assert grpo_config.remove_unused_columns is False


def test_to_grpo_config_refuses_micro_batches_that_do_not_divide_a_step(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    with pytest.raises(RecipeError, match=r"grpo.micro_batch_size: must divide .* = 24 \(got 5\)"):
        to_grpo_config(GRPO.model_copy(update={"micro_batch_size": 5}), tmp_path)


@pytest.mark.parametrize("shuffles", [True, False])
def test_to_grpo_config_shuffles_rows_unless_they_are_laid_out(shuffles: bool, tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    assert to_grpo_config(GRPO, tmp_path, shuffles=shuffles).shuffle_dataset is shuffles


def test_to_grpo_config_counts_every_group_of_a_question(tmp_path: Path) -> None:
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    one, two = (to_grpo_config(GRPO, tmp_path, groups=groups) for groups in (1, 2))
    assert two.gradient_accumulation_steps == two.steps_per_generation == 2 * one.steps_per_generation
    assert two.num_generations == one.num_generations


@pytest.mark.parametrize(
    ("backend", "kl_coefficient", "refused"),
    [("unsloth", 0.04, True), ("unsloth", 0.0, False), ("transformers", 0.04, False)],
)
def test_check_reference_refuses_what_unsloth_would_pull_to(
    backend: str, kl_coefficient: float, refused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`auto` becomes a backend on the machine only: a recipe cannot know."""
    monkeypatch.setattr("mbt_lite.stages.grpo.backend_of", lambda made, stage: backend)
    made = recipe(grpo=GRPO.model_copy(update={"kl_coefficient": kl_coefficient}))
    if refused:
        with pytest.raises(RecipeError, match=r"grpo.kl_coefficient: .* \(got 0.04\)"):
            check_reference(made)
    else:
        check_reference(made)
