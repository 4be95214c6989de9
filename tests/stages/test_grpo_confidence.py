"""Rewards for confidence through the whole stage, on the tiny student, which writes no steps."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from grpo_lab import recipe, run
from trl import GRPOTrainer

from mbt_lite.errors import DataError
from mbt_lite.files import read_jsonl
from mbt_lite.methods.extras import StepConfidence
from mbt_lite.methods.method import Batch
from mbt_lite.recipe.schema import Ccrl, Model, Recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import grpo
from mbt_lite.student.embedded import PACKAGE
from mbt_lite.student.libraries import prepare
from mbt_lite.training import grpo as training


@pytest.fixture(autouse=True)
def switches() -> None:
    prepare()


def asking_for_steps(made: Recipe) -> Recipe:
    parts = {name: getattr(made.data, name).model_copy(update={"ask_for": "steps"}) for name in ("train", "dev")}
    return made.model_copy(update={"data": made.data.model_copy(update=parts)})


def weighed(student_folder: Path, weight: float, **settings: Any) -> Recipe:
    made = asking_for_steps(recipe(student_folder, steps=1, **settings))
    return made.model_copy(update={"grpo": made.grpo.model_copy(update={"ccrl": Ccrl(weight=weight)})})


def test_the_term_is_logged_by_row_and_step_and_off_means_off(student_folder: Path, tmp_path: Path) -> None:
    runs = {weight: RunDir(tmp_path / str(weight)) for weight in (0.0, 0.2)}
    rows, figures = {}, {}
    for weight, run_dir in runs.items():
        run(weighed(student_folder, weight), run_dir)
        folder = run_dir.stage_dir("grpo")
        rows[weight] = read_jsonl(folder / "completions.jsonl")
        [figures[weight]] = [row for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
    assert [row["text"] for row in rows[0.2]] == [row["text"] for row in rows[0.0]]
    # one bridge a question, or two years, and no steps
    assert [row["extra/ccrl"] for row in rows[0.2]] == [-0.2] * 8
    assert figures[0.2]["ccrl/spans"] == 0
    assert figures[0.2]["ccrl/missing"] >= 1
    assert figures[0.2]["extra/ccrl"] == pytest.approx(-0.2)
    assert not [key for row in (*rows[0.0], figures[0.0]) for key in row if "ccrl" in key]
    # all lose alike, so nothing else changes
    assert figures[0.2]["loss"] == pytest.approx(figures[0.0]["loss"], abs=1e-6)


def test_questions_without_bridges_are_told_and_refused_if_none_has_any(
    student_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = weighed(student_folder, 0.2)
    assert grpo.bridge_lines(made) == []
    whole = grpo.read_questions

    def some(*given: Any) -> Any:
        return [dataclasses.replace(one, bridges=()) if n else one for n, one in enumerate(whole(*given))]

    def none(*given: Any) -> Any:
        return [dataclasses.replace(one, bridges=()) for one in whole(*given)]

    monkeypatch.setattr(grpo, "read_questions", some)
    assert grpo.bridge_lines(made) == ["grpo: 5 of 6 questions have no gold bridges: their steps earn nothing"]
    assert grpo.bridge_lines(made)[0] in grpo.plan(made, RunDir(tmp_path))
    monkeypatch.setattr(grpo, "read_questions", none)
    with pytest.raises(
        DataError, match=r"demo_train.jsonl: no question has gold bridges, .* \(got 6 questions\); give"
    ):
        grpo.plan(made, RunDir(tmp_path))
    off = made.model_copy(update={"grpo": made.grpo.model_copy(update={"ccrl": Ccrl()})})
    assert grpo.bridge_lines(off) == []


@pytest.mark.skipif(importlib.util.find_spec(PACKAGE) is None, reason="needs the embedded student")
def test_the_log_probs_of_a_real_student_with_an_adapter_are_trls(
    student_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In float32: in bfloat16 two ways to compute a token differ by what it rounds."""
    batches, theirs = list[Batch](), dict[tuple[int, ...], torch.Tensor]()
    whole_add, whole = training.add_adapter, GRPOTrainer._get_per_token_logps_and_entropies

    def add(student: Any, *given: Any, **settings: Any) -> None:
        whole_add(student, *given, **settings)
        dice = torch.Generator().manual_seed(0)
        with torch.no_grad():
            for name, weight in student.model.named_parameters():
                if "lora_B" in name:
                    weight.copy_(0.01 * torch.randn(weight.shape, generator=dice))

    def heard(self: Any, model: Any, ids: Any, mask: Any, width: int, *rest: Any, **settings: Any) -> Any:
        found = whole(self, model, ids, mask, width, *rest, **settings)
        for row, kept, log_probs in zip(ids[:, -width:], mask[:, -width:].bool(), found[0].detach(), strict=True):
            theirs[tuple(row[kept].tolist())] = log_probs[kept]
        return found

    # every row by its place: a group of equal rewards has no forward pass
    monkeypatch.setattr(StepConfidence, "__call__", lambda self, batch: batches.append(batch) or [*range(2)])
    monkeypatch.setattr(training, "add_adapter", add)
    monkeypatch.setattr(training, "shares_prompts", lambda student, model: False)
    monkeypatch.setattr(training, "_check_reward", lambda *_: {})
    monkeypatch.setattr(GRPOTrainer, "_get_per_token_logps_and_entropies", heard)
    made = weighed(student_folder, 0.2, prompts_per_step=1, group_size=2, micro_batch_size=2, max_completion_tokens=32,
                   reward={"weights": {"answer": 4.0}, "overlong_buffer_tokens": 31})  # fmt: skip
    run(made.model_copy(update={"model": Model(name="embedded:smollm2-135m", dtype="float32")}), RunDir(tmp_path))
    [batch] = batches
    assert batch.log_probs is not None
    for ids, ours in zip(batch.ids, batch.log_probs, strict=True):
        assert torch.allclose(torch.tensor(ours), theirs[tuple(ids)], atol=1e-4, rtol=0)
