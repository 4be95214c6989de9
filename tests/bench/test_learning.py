"""What a measurement of learning says: hand-made answers, and one small trial from end to end."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mbt_lite.bench.learning import (
    Trial,
    by_question,
    compared,
    differences_said,
    exam_of,
    measure_learning,
    result,
    sft_folder,
)  # fmt: skip
from mbt_lite.bench.measurement import read_measurements
from mbt_lite.errors import RunError
from mbt_lite.files import read_jsonl
from mbt_lite.recipe.schema import Recipe

ROOT = Path(__file__).parents[2]
RIGHT = "<think>It is Rome.</think><answer>Rome</answer>"
LOST = "<think>It is Rome.</think><answer>Oslo</answer>"


def recipe(**grpo: Any) -> Recipe:
    reward = {"weights": {"answer": 1.0, "keep": 0.5}}
    questions = {"path": "questions.jsonl"}
    sections = {"model": {"name": "m"}, "data": {"train": questions, "dev": questions}}
    return Recipe.model_validate_json(json.dumps(sections | {"grpo": {"reward": reward, **grpo}}))


def row(question: str, text: str, tokens: int, look: str = "greedy", index: int = 0) -> dict[str, Any]:
    return {
        "look": look, "question_id": question, "golds": ["Rome"], "rollout_index": index, "completion_tokens": tokens,
        "finish_reason": "stop", "prefilled_think": False, "text": text,
    }  # fmt: skip


def test_by_question_takes_means_over_samples_of_one_look() -> None:
    rows = [row("a", RIGHT, 10, "sampled", 0), row("a", LOST, 20, "sampled", 1), row("a", LOST, 90)]
    assert by_question(recipe(), "sampled", rows) == {
        "a": {"reward": 0.25, "exact": 0.5, "found_and_lost": 0.5, "dwell": 0.0, "tokens": 15.0}
    }


def test_compared_gives_paired_differences_and_the_aes_by_hand() -> None:
    before = [row("a", LOST, 20), row("b", RIGHT, 20)]
    after = [row("b", RIGHT, 12), row("a", RIGHT, 18)]
    figures = compared(recipe(), "greedy", after, before)
    assert (figures["before"]["exact"], figures["after"]["exact"]) == (0.5, 1.0)
    assert (figures["before"]["reward"], figures["after"]["reward"]) == (0.25, 1.0)
    assert figures["differences"]["tokens"]["difference"] == -5.0
    assert figures["differences"]["found_and_lost"]["difference"] == -0.5
    # a quarter of the tokens saved, and accuracy doubled: 0.25 + 3 x 1
    assert figures["aes"] == pytest.approx(3.25)


def test_compared_refuses_other_questions() -> None:
    with pytest.raises(RunError, match="greedy answers: the two sides have other questions"):
        compared(recipe(), "greedy", [row("a", RIGHT, 9)], [row("b", RIGHT, 9)])


def test_differences_said_gives_shares_in_points_and_leaves_out_missing_intervals() -> None:
    said = differences_said(
        {
            "exact": {"difference": 0.125, "low": 0.01, "high": 0.24, "p": 0.03},
            "tokens": {"difference": 0.0, "low": None, "high": None, "p": 1.0},
        }
    )
    assert said == "EM +12.5 [+1.0, +24.0], tokens +0.0"


def test_result_names_every_seed() -> None:
    figures = compared(recipe(), "greedy", [row("a", RIGHT, 18)], [row("a", LOST, 20)])
    found = [{"seed": seed, "look": look, **figures} for seed in range(2) for look in ("greedy", "sampled")]
    said = result(recipe(steps=3), Trial(Path("r"), (), None, Path("f"), 2, 1), found)
    assert said.startswith("3 steps of 8 x 8, 2 seeds, after sft (change by seed); greedy: reward -0.50 (+1.50, +1.50)")
    assert "EM 0.0% (+100.0, +100.0)" in said
    assert "AES undefined, undefined" in said


@pytest.mark.parametrize(("run", "says"), [(None, "--run: no run"), ("empty", "empty/sft/adapter: no adapter")])
def test_sft_folder_refuses_where_there_is_no_adapter(run: str | None, says: str) -> None:
    with pytest.raises(RunError, match=says):
        sft_folder(recipe(), None if run is None else Path(run))


def test_sft_folder_of_an_untrained_start_is_none() -> None:
    assert sft_folder(recipe(start="base"), Path("anything")) is None


def test_exam_of_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"exam\.jsonl: no completions to compare with"):
        exam_of(tmp_path)


def test_bench_learning_trains_scores_and_keeps_what_is_done(
    student_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")
    out, rows = tmp_path / "trial", tmp_path / "rows.jsonl"
    settings = [
        f"model.name={student_folder}", "model.dtype=float32", "data.train.limit=4", "data.dev.limit=3", "lora.rank=4",
        "data.max_prompt_tokens=1024", "sft.max_sequence_tokens=2048", "grpo.start=base", "grpo.steps=1",
        "grpo.prompts_per_step=2", "grpo.group_size=4", "grpo.micro_batch_size=4", "grpo.learning_rate=0.05",
        "grpo.warmup_fraction=0", "grpo.max_completion_tokens=64", "grpo.reward.weights.length=1.0",
        "grpo.reward.overlong_buffer_tokens=63",
    ]  # fmt: skip
    overrides = [argument for setting in settings for argument in ("--set", setting)]
    command = [
        sys.executable, "-m", "mbt_lite", "bench", "learning", "recipes/demo.yaml", "--out", str(out), "--seeds", "1",
        "--samples", "2", "--append", str(rows), *overrides,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    before, after = read_jsonl(out / "exam.jsonl"), read_jsonl(out / "seed-0" / "exam.jsonl")
    assert len(before) == len(after) == 3 * (1 + 2)
    assert before != after, "training changed no answer"
    measurement = read_measurements(rows)[0]
    assert [(run["seed"], run["look"]) for run in measurement.figures["runs"]] == [(0, "greedy"), (0, "sampled")]
    # an exam that is on disk is not taken again
    trial = Trial(Path("recipes/demo.yaml"), tuple(settings), None, out, 1, 2)
    marked = [{**row, "completion_tokens": row["completion_tokens"] + 100} for row in after]
    (out / "seed-0" / "exam.jsonl").write_text("".join(json.dumps(row) + "\n" for row in marked))
    again = measure_learning(trial, None, lambda line: None)
    for old, new in zip(measurement.figures["runs"], again.figures["runs"], strict=True):
        assert new["after"]["tokens"] == pytest.approx(old["after"]["tokens"] + 100)
