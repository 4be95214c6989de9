"""Two real steps of a stage at full length, in a process of its own (`student/process.py`).

The stage's own trainer runs on a student of the recipe's architecture with random weights (the embedded student and
models that are no known architecture are taken as they are). Three things are put in
place of the real ones, because random text would end the test early: prompts are filler of the planned length,
completions do not stop before their limit, and rewards take turns, so that every row has an advantage. Rows differ by
one token in length, as real rows differ: where they are padded, attention then gets its mask.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bitsandbytes
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

from mbt_lite.architecture.families import EMBEDDED_PREFIX, RANDOM_PREFIX, known_name
from mbt_lite.console import Screen
from mbt_lite.memory import Probe
from mbt_lite.methods import choose_method
from mbt_lite.plan.stages import Lengths
from mbt_lite.prompts import student_messages
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Document, Question
from mbt_lite.student.adapters import add_adapter
from mbt_lite.student.freed_memory import give_back_freed_memory
from mbt_lite.student.loading import Student, kept_in_float32, load_student
from mbt_lite.training import grpo, sft
from mbt_lite.training.rows import Row

# What loading imports late is to count as there before.
assert all((bitsandbytes, AutoModelForCausalLM, AutoTokenizer))

STEPS = 2
_MOST_ACCUMULATED = 2


def main(request_file: str, result_file: str) -> None:
    """Run what the request asks for and write the peaks: bytes by phase."""
    request = json.loads(Path(request_file).read_text(encoding="utf-8"))
    recipe = Recipe.model_validate_json(json.dumps(request["recipe"]))
    peaks = run(request["stage"], recipe, Lengths(**request["lengths"]), request["vram_gib"])
    Path(result_file).write_text(json.dumps(peaks), encoding="utf-8")


def run(stage: str, recipe: Recipe, lengths: Lengths, vram_gib: float | None) -> dict[str, int]:
    """Run two steps of sft or grpo; give the peak of each phase, on a card of what it allocated, else of the process.

    `vram_gib` caps what CUDA may allocate. Raises torch's out-of-memory error if the cap does not suffice.
    """
    on_cuda = torch.cuda.is_available()
    if on_cuda and vram_gib is not None:
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, vram_gib * 2**30 / whole))
    give_back_freed_memory()
    probe = Probe(on_cuda=on_cuda, baseline=0)
    with tempfile.TemporaryDirectory() as folder:
        trainer = {"sft": _sft_trainer, "grpo": _grpo_trainer}[stage](_small(recipe), lengths, probe, Path(folder))
        trainer.add_callback(_Marks(probe))
        trainer.train()
    return probe.peaks


def _small(recipe: Recipe) -> Recipe:
    """Give the recipe with random weights and as few micro-batches as show the peak."""
    known = None if recipe.model.name.startswith(EMBEDDED_PREFIX) else known_name(recipe.model.name)
    model = recipe.model if known is None else recipe.model.model_copy(update={"name": RANDOM_PREFIX + known})
    accumulated = min(recipe.sft.gradient_accumulation_steps, _MOST_ACCUMULATED)
    prompts = min(recipe.grpo.prompts_per_step, max(1, recipe.grpo.rollout_batch_size // recipe.grpo.group_size))
    sft = {"gradient_accumulation_steps": accumulated, "save_every_steps": 1000, "epochs": 1.0}
    grpo = {"prompts_per_step": prompts, "steps": STEPS, "save_every_steps": 1000}
    return recipe.model_copy(
        update={
            "model": model,
            "sft": recipe.sft.model_copy(update=sft),
            "grpo": recipe.grpo.model_copy(update=grpo),
        }
    )


def _load(recipe: Recipe, probe: Probe, *, checkpointing: bool, seed: int) -> Any:
    student = load_student(recipe.model, gradient_checkpointing=checkpointing)
    add_adapter(student, recipe.lora, seed, gradient_checkpointing=checkpointing)
    probe.mark("load")
    return student


def _sft_trainer(recipe: Recipe, lengths: Lengths, probe: Probe, folder: Path) -> Any:
    settings = recipe.sft
    student = _load(recipe, probe, checkpointing=settings.gradient_checkpointing, seed=settings.seed)
    n_rows = STEPS * settings.micro_batch_size * settings.gradient_accumulation_steps
    rows = []
    for index in range(n_rows):
        tokens = lengths.row - index % 2
        ids = tuple(3 + (index * 7919 + place * 31) % 40000 % (student.model.config.vocab_size - 3)
                    for place in range(tokens))  # fmt: skip
        rows.append(Row(str(index), ids, (0,) * (tokens // 4) + (1,) * (tokens - tokens // 4)))
    with kept_in_float32(student.model):
        trainer, _ = sft.build_trainer(recipe, student, rows, (), folder, Screen(quiet=True), _untracked)
    trainer.args.save_strategy = "no"
    return trainer


class _Endless(Student):
    """A student that never ends its turn."""

    @property
    def stop_ids(self) -> frozenset[int]:
        return frozenset({-1})


def _grpo_trainer(recipe: Recipe, lengths: Lengths, probe: Probe, folder: Path) -> Any:
    loaded = _load(recipe, probe, checkpointing=recipe.grpo.gradient_checkpointing, seed=recipe.grpo.seed)
    student = _Endless(loaded.model, loaded.tokenizer, loaded.backend, loaded.compute_dtype)
    questions = [_filler(student, lengths.prompt - index % 2, index) for index in range(recipe.grpo.prompts_per_step)]
    with kept_in_float32(student.model):
        method, scorer = choose_method(recipe.grpo), grpo.build_scorer(recipe.grpo, student)
        rows = method.rows(questions)
        trainer, _, _ = grpo.build_trainer(
            recipe.grpo, method, student, rows, scorer, folder, Screen(quiet=True), 0, (), _untracked
        )
    trainer.args.save_strategy = "no"
    roll_out = trainer.rollout_func
    assert roll_out is not None

    def marked(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        found: dict[str, Any] = roll_out(prompts, trainer)
        probe.mark("rollout")
        # rows of one length would need no mask
        found["completion_ids"] = [ids[:-1] if index % 2 else ids for index, ids in enumerate(found["completion_ids"])]
        return found

    trainer.rollout_func = marked
    trainer.reward_funcs = [_taking_turns]
    return trainer


def _untracked(values: Mapping[str, float], step: int) -> None:
    """Send a row to no tracker."""


def _taking_turns(completions: Sequence[Any], **_: Any) -> list[float | None]:
    """Reward every other completion, so that no group is dead."""
    return [float(index % 2) for index in range(len(completions))]


def _filler(student: Any, tokens: int, index: int) -> Question:
    """Make a question whose prompt has so many tokens, or one or two less."""

    def question(words: int) -> Question:
        document = Document(title="t", text=" the" * words, is_supporting=True)
        return Question(f"q{index}", "who?", "a", (), (document,), "filler")

    words = max(1, tokens - student.count_prompt_tokens(student_messages(question(1))) + 1)
    while words > 1 and student.count_prompt_tokens(student_messages(question(words))) > tokens:
        words -= 1
    return question(words)


class _Marks(TrainerCallback):
    """End the phases of a step."""

    def __init__(self, probe: Probe) -> None:
        self.probe = probe

    def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.probe.mark("backward")

    def on_optimizer_step(self, *_: Any, **__: Any) -> None:
        self.probe.mark("optimizer")
