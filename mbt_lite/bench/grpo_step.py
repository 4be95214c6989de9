"""One run of GRPO steps in a process of its own (`student/process.py`), by our trainer or stock TRL's.

Its last line is JSON: mean seconds a step by phase (the first step left out), peak memory, and a step's tokens:
of all completions, and of its prompts, each once.
Phases: rollout (generation), reward, update (log-probabilities, loss, backward), optimizer. Both trainers have the same
TRL settings, the same 4-bit student with a fresh adapter, and the same prompts.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import TrainerCallback
from trl import GRPOTrainer

from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.generation.generate import shares_prompts
from mbt_lite.memory import peak_bytes
from mbt_lite.methods import choose_method
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Data, Grpo, Lora, Model, Questions, Recipe, Reward, RewardWeights
from mbt_lite.student.adapters import add_adapter
from mbt_lite.student.loading import Student, kept_in_float32, load_student
from mbt_lite.training.grpo import build_scorer, to_grpo_config
from mbt_lite.training.grpo_reward import MethodReward
from mbt_lite.training.grpo_rollouts import rollouts
from mbt_lite.training.grpo_trainer import ReducedGRPOTrainer


class _Clock:
    """Seconds by phase, one entry a step."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []

    def add(self, phase: str, seconds: float) -> None:
        """Add to a phase of the present step."""
        self.steps[-1][phase] = self.steps[-1].get(phase, 0.0) + seconds

    def timed(self, phase: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Wrap a function so that its time goes to a phase."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.running(phase):
                return function(*args, **kwargs)

        return wrapped

    @contextlib.contextmanager
    def running(self, phase: str) -> Iterator[None]:
        """Count the time of a block to a phase; a GPU's work is waited for."""
        began = now()
        yield
        self.add(phase, now() - began)

    def means(self) -> dict[str, float]:
        """Give the mean of each phase over the steps but the first."""
        counted = self.steps[1:]
        return {phase: sum(step[phase] for step in counted) / len(counted) for phase in counted[0]}


def now() -> float:
    """Give the time when everything asked of the device is done."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def run(kind: str, load: dict[str, Any]) -> dict[str, float]:
    """Train `load["steps"]` steps with our trainer or TRL's own; give the figures."""
    if load["threads"] is not None:
        torch.set_num_threads(load["threads"])
    clock = _Clock()
    with tempfile.TemporaryDirectory() as folder:
        trainer, lengths, prompt_tokens = build(kind, load, Path(folder), clock)
        trainer.train()
    assert set(lengths) == {load["completion_tokens"]}, f"completions differ in length (got {sorted(set(lengths))})"
    return {
        **clock.means(),
        "peak_gib": peak_bytes() / 2**30,
        "completion_tokens": sum(lengths) / load["steps"],
        "prompt_tokens": prompt_tokens / load["steps"],
    }


def build(kind: str, load: dict[str, Any], folder: Path, clock: _Clock) -> tuple[Any, list[int], int]:
    """Build a trainer whose phases are timed; the list gets the length of every completion.

    Also gives the tokens of all prompts, each counted once.
    """
    recipe = make_recipe(load)
    student = _load_endless_student(recipe)
    questions = generate_questions(FILES[0])[: load["prompts"] * load["steps"]]
    lengths: list[int] = []
    config = to_grpo_config(recipe.grpo, folder, student.compute_dtype)
    config.save_strategy = "no"
    common: dict[str, Any] = {
        "model": student.model,
        "reward_funcs": [_spread_reward(recipe, student, lengths)],
        "args": config,
        "processing_class": student.tokenizer,
        "callbacks": [StepClock(clock)],
        "train_dataset": Dataset.from_dict(
            {
                "prompt": [student_messages(question) for question in questions],
                "question_id": [question.question_id for question in questions],
                "golds": [list(question.golds) for question in questions],
            }
        ),
    }
    with kept_in_float32(student.model):
        if kind == "ours":
            shared = shares_prompts(student, student.model)
            roll_out = rollouts(student, recipe.grpo)
            trainer: Any = ReducedGRPOTrainer(**common, rollout_func=roll_out, shares_prompts=shared)
        else:
            config.generation_kwargs = {"min_new_tokens": load["completion_tokens"]}
            trainer = GRPOTrainer(**common)
    _time_phases(trainer, clock)
    prompt_tokens = sum(student.count_prompt_tokens(student_messages(question)) for question in questions)
    return trainer, lengths, prompt_tokens


def make_recipe(load: dict[str, Any]) -> Recipe:
    """Describe the steps as a recipe does."""
    weights = RewardWeights(answer=1.0, exact=0.5, format=0.25, keep=0.25, dwell=0.25, redundancy=0.1)
    grpo = Grpo(
        start="base",
        steps=load["steps"],
        prompts_per_step=load["prompts"],
        group_size=load["group_size"],
        micro_batch_size=load["micro_batch_size"],
        rollout_batch_size=load["prompts"] * load["group_size"],
        max_completion_tokens=load["completion_tokens"],
        gradient_checkpointing=False,
        reward=Reward(weights=weights, overlong_buffer_tokens=1),
    )
    # the questions are made here, not read
    data = Data(train=Questions(path="train"), dev=Questions(path="dev"))
    return Recipe(model=Model(name=load["model"]), data=data, lora=Lora(rank=16, alpha=32), grpo=grpo)


class _Endless(Student):
    """A student that writes up to the limit."""

    @property
    def stop_ids(self) -> frozenset[int]:
        """No token stops it."""
        return frozenset()


def _load_endless_student(recipe: Recipe) -> Student:
    """Load the student with a fresh adapter; for our rollouts no token ends its turn."""
    loaded = load_student(recipe.model)
    student = _Endless(loaded.model, loaded.tokenizer, loaded.backend, loaded.compute_dtype)
    add_adapter(student, recipe.lora, 0, gradient_checkpointing=False)
    return student


def _spread_reward(recipe: Recipe, student: Student, lengths: list[int]) -> Callable[..., list[float]]:
    """Give the law's reward, plus a little by place, so that no group is equal; note the completions' lengths."""
    grpo = recipe.grpo
    columns = ("question_id", "golds")
    law = MethodReward(choose_method(grpo), build_scorer(grpo, student), columns, grpo.group_size, lambda rows: None)

    def reward(*, completion_ids: Sequence[Sequence[int]], **columns: Any) -> list[float]:
        lengths.extend(map(len, completion_ids))
        scored = law(completion_ids=completion_ids, **columns)
        return [float(value or 0.0) + place / 100 for place, value in enumerate(scored)]

    return reward


class StepClock(TrainerCallback):
    """Time whole steps and the optimizer."""

    def __init__(self, clock: _Clock) -> None:
        self.clock = clock

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Open a step's entry."""
        self.clock.steps.append({})
        self.began = now()

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        """Begin the optimizer."""
        self.optimizing = now()

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        """End the optimizer."""
        self.clock.add("optimizer", now() - self.optimizing)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """End the step: what is neither rollout nor reward nor optimizer is the update."""
        step = self.clock.steps[-1]
        step["step"] = now() - self.began
        step["update"] = step["step"] - step["rollout"] - step["reward"] - step["optimizer"]


def _time_phases(trainer: Any, clock: _Clock) -> None:
    """Time generation and reward of a trainer, whoever wrote it."""
    trainer._generate = clock.timed("rollout", trainer._generate)
    trainer._calculate_rewards = clock.timed("reward", trainer._calculate_rewards)


def main(kind: str, load: str) -> None:
    """Run `ours` or `stock` under a load written as JSON; print the figures."""
    print(json.dumps(run(kind, json.loads(load))))
