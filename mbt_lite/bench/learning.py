"""What GRPO teaches: a run's SFT adapter is trained once per seed; held-out questions are scored before and after.

Each seed is a run folder of its own and goes through `mbt-lite grpo`, so a stopped measurement goes on when it is
started again. Two looks at each adapter: `greedy` answers, and `sampled` ones at the temperature that GRPO trains at.
All seeds are told, with the interval of the paired difference over questions.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import multiprocessing
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from mbt_lite.bench.measurement import measured
from mbt_lite.data.questions import read_questions
from mbt_lite.data.trimming import trim_questions
from mbt_lite.errors import RunError
from mbt_lite.files import read_jsonl, write_jsonl
from mbt_lite.methods.law import limits_of
from mbt_lite.metrics.efficiency import accuracy_efficiency_score
from mbt_lite.metrics.paired import paired_differences
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Measurement, Question
from mbt_lite.rewards.law import score, total

PACKAGES = ("torch", "transformers", "trl", "peft", "bitsandbytes")
BOOTSTRAP_SAMPLES = 2000
# rollouts of training have other seeds
_EXAM_SEED = 77_003

Look = Literal["greedy", "sampled"]
Rows = list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Trial:
    """What is trained from where: the recipe's `grpo`, from the SFT adapter of `run`, into `folder`/seed-N."""

    recipe_file: Path
    settings: Sequence[str]
    run: Path | None
    folder: Path
    seeds: int
    samples: int


def measure_learning(trial: Trial, against: Path | None, say: Callable[[str], None]) -> Measurement:
    """Train and score every seed; `against` is the folder of another trial, to be compared with as well.

    `say` gets a line per seed and look. Raises RunError without an SFT adapter or where a training run fails.
    """
    recipe = load_recipe(trial.recipe_file, trial.settings)
    trained = sft_folder(recipe, trial.run)
    others = {} if against is None else {seed: exam_of(against / f"seed-{seed}") for seed in range(trial.seeds)}
    before = _take_exam(recipe, None if trained is None else trained / "adapter", trial.folder, trial.samples)
    found = []
    for seed in range(trial.seeds):
        after = _trained_exam(trial, recipe, trained, seed)
        for look in get_args(Look):
            figures = compared(recipe, look, after, before)
            row = {"seed": seed, "look": look, **figures}
            said = sentence(figures)
            if against is not None:
                row["against"] = compared(recipe, look, after, others[seed])["differences"]
                said += f"; against {against.name}: {differences_said(row['against'])}"
            found.append(row)
            say(f"seed {seed}, {look}: {said}")
    settings = {
        "model": recipe.model.name,
        "grpo": recipe.grpo.model_dump(),
        "questions": len({row["question_id"] for row in before}),
        "samples": trial.samples,
        "against": None if against is None else against.name,
    }
    return measured(
        "learning", result(recipe, trial, found), settings=settings, figures={"runs": found}, packages=PACKAGES
    )


def sft_folder(recipe: Recipe, run: Path | None) -> Path | None:
    """Give the folder of sft whose adapter is trained further; None with `grpo.start: base`. RunError without one."""
    if recipe.grpo.start == "base":
        return None
    if run is None:
        raise RunError("--run: no run to take the SFT adapter from (got none); name one, or set grpo.start to base")
    if not (run / "sft" / "adapter" / "adapter_config.json").exists():
        raise RunError(f"{run}/sft/adapter: no adapter to train from; run `mbt-lite sft` first, or name another --run")
    return run / "sft"


def _trained_exam(trial: Trial, recipe: Recipe, trained: Path | None, seed: int) -> Rows:
    """Train one seed by `mbt-lite grpo` in a process of its own, and let its adapter answer."""
    folder = trial.folder / f"seed-{seed}"
    if trained is not None and not (folder / "sft").exists():
        shutil.copytree(trained, folder / "sft", ignore=shutil.ignore_patterns("checkpoints"))
    overrides = [argument for setting in (*trial.settings, f"grpo.seed={seed}") for argument in ("--set", setting)]
    command = [sys.executable, "-m", "mbt_lite", "grpo", str(trial.recipe_file), "--out", str(folder), *overrides]
    if subprocess.run(command).returncode:
        raise RunError(f"{folder}: training failed (seed {seed}); mend what it says, then run the same command again")
    return _take_exam(recipe, folder / "grpo" / "adapter", folder, trial.samples)


def _take_exam(recipe: Recipe, adapter: Path | None, folder: Path, samples: int) -> Rows:
    """Give the adapter's completions of all dev questions in both looks, from `folder`/exam.jsonl if they are there."""
    file = folder / "exam.jsonl"
    if not file.exists():
        # in a process of its own: what it took is free again for training
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
            write_jsonl(file, pool.submit(answered, recipe, adapter, samples).result())
    return exam_of(folder)


def exam_of(folder: Path) -> Rows:
    """Read the completions of an exam; RunError if there was none."""
    file = folder / "exam.jsonl"
    if not file.exists():
        raise RunError(f"{file}: no completions to compare with (no such file); finish that measurement first")
    return read_jsonl(file)


def answered(recipe: Recipe, adapter: Path | None, samples: int) -> Rows:
    """Answer the dev questions greedily once, and `samples` times as rollouts are."""
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import generate
    from mbt_lite.prompts import student_messages
    from mbt_lite.student.loading import load_student

    student = load_student(recipe.model, adapter, trainable=False)

    def count(question: Question) -> int:
        return student.count_prompt_tokens(student_messages(question))

    data = recipe.data
    asked = read_questions(data.dev, data.seed)
    questions = trim_questions(asked, data.max_prompt_tokens, count, data.dev.path).questions
    looks: dict[Look, tuple[int, float]] = {"greedy": (1, 0.0), "sampled": (samples, recipe.grpo.temperature)}
    return [
        {
            "look": look,
            "question_id": questions[rollout.prompt_index].question_id,
            "golds": list(questions[rollout.prompt_index].golds),
            "rollout_index": rollout.sample_index,
            "completion_tokens": len(rollout.token_ids),
            "finish_reason": rollout.finish_reason,
            "prefilled_think": student.prefills_think,
            "text": rollout.text,
        }
        for look, (count, temperature) in looks.items()
        for rollout in generate(
            student,
            [student_messages(question) for question in questions],
            Decoding(
                samples=count,
                temperature=temperature,
                max_completion_tokens=recipe.grpo.max_completion_tokens,
                batch_size=recipe.grpo.rollout_batch_size,
                seed=_EXAM_SEED,
                cache_gib=recipe.grpo.rollout_cache_gib,
            ),
        )
    ]


def by_question(recipe: Recipe, look: Look, rows: Rows) -> dict[str, dict[str, float]]:
    """Give each question's means in one look: reward, exact, found_and_lost, dwell, tokens."""
    found: dict[str, list[dict[str, float]]] = {}
    limits, weights = limits_of(recipe.grpo), recipe.grpo.reward.weights.model_dump()
    for row in rows:
        if row["look"] != look:
            continue
        terms = score(
            row["text"],
            stopped=row["finish_reason"] == "stop",
            completion_tokens=row["completion_tokens"],
            golds=row["golds"],
            limits=limits,
            prefilled_think=row["prefilled_think"],
        )
        found.setdefault(row["question_id"], []).append(
            {
                "reward": total(terms, weights),
                "exact": terms["exact"],
                "found_and_lost": -terms["keep"],
                "dwell": terms["dwell"],
                "tokens": float(row["completion_tokens"]),
            }
        )
    return {
        question: {name: statistics.fmean(one[name] for one in ones) for name in ones[0]}
        for question, ones in found.items()
    }


def compared(recipe: Recipe, look: Look, after: Rows, before: Rows) -> dict[str, Any]:
    """Give means after and before, their paired differences over questions, and the AES against before.

    Raises RunError if the two did not answer the same questions.
    """
    ours, theirs = by_question(recipe, look, after), by_question(recipe, look, before)
    if ours.keys() != theirs.keys():
        raise RunError(f"{look} answers: the two sides have other questions (got {len(ours)} and {len(theirs)})")
    names = list(next(iter(ours.values())))
    means = [{name: statistics.fmean(one[name] for one in side.values()) for name in names} for side in (ours, theirs)]
    columns = {name: [ours[question][name] - theirs[question][name] for question in ours] for name in names}
    aes = accuracy_efficiency_score(
        tokens=means[0]["tokens"],
        accuracy=means[0]["exact"],
        base_tokens=means[1]["tokens"],
        base_accuracy=means[1]["exact"],
    )
    return {
        "after": means[0],
        "before": means[1],
        "differences": paired_differences(columns, samples=BOOTSTRAP_SAMPLES, seed=0),
        "aes": aes.value,
    }


def sentence(figures: Mapping[str, Any]) -> str:
    """Say what one seed changed in one look."""
    before, aes = figures["before"], figures["aes"]
    start = f"from EM {before['exact']:.1%}, reward {before['reward']:.3f}, tokens {before['tokens']:.1f}"
    return f"{start}: {differences_said(figures['differences'])}; AES {'undefined' if aes is None else f'{aes:+.3f}'}"


def differences_said(differences: Mapping[str, Mapping[str, float | None]]) -> str:
    """Say differences with their 95 % intervals; shares in points of a hundred."""
    names = {"exact": "EM", "found_and_lost": "found and lost"}
    said = []
    for name, one in differences.items():
        scale, digits = (100, 1) if name in names else (1, 1 if name == "tokens" else 3)
        value, low, high = (None if one[key] is None else scale * one[key] for key in ("difference", "low", "high"))  # type: ignore[operator]
        interval = "" if low is None else f" [{low:+.{digits}f}, {high:+.{digits}f}]"
        said.append(f"{names.get(name, name)} {value:+.{digits}f}{interval}")
    return ", ".join(said)


def result(recipe: Recipe, trial: Trial, found: Sequence[Mapping[str, Any]]) -> str:
    """Say the whole in one line: each seed's changes of reward, EM and tokens, sampled and greedy."""
    grpo = recipe.grpo
    looks = []
    for look in get_args(Look):
        rows = [row for row in found if row["look"] == look]

        def seeds(name: str, scale: float, digits: int, rows: Sequence[Mapping[str, Any]] = rows) -> str:
            return ", ".join(f"{scale * row['differences'][name]['difference']:+.{digits}f}" for row in rows)

        first = rows[0]["before"]
        looks.append(
            f"{look}: reward {first['reward']:.2f} ({seeds('reward', 1, 2)}), EM {first['exact']:.1%} "
            f"({seeds('exact', 100, 1)}), found and lost {first['found_and_lost']:.1%} "
            f"({seeds('found_and_lost', 100, 1)}), tokens {first['tokens']:.0f} ({seeds('tokens', 1, 1)}), AES "
            + ", ".join("undefined" if row["aes"] is None else f"{row['aes']:+.2f}" for row in rows)
        )
    return (
        f"{grpo.steps} steps of {grpo.prompts_per_step} x {grpo.group_size}, {trial.seeds} seeds, after sft (change by "
        f"seed); {'; '.join(looks)}"
    )
