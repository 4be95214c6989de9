"""Stage grpo in this process on the tiny 4-bit student: prefilter, watch, dev rewards, the kept adapter, the page."""

import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from grpo_lab import QUESTIONS, recipe, run
from safetensors.torch import load_file

from mbt_lite.errors import DataError, ModelError, RecipeError, RunError
from mbt_lite.files import Journal, read_json, read_jsonl, write_jsonl
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import grpo
from mbt_lite.student.libraries import prepare
from mbt_lite.training import dev_reward, pass_rates
from mbt_lite.training import grpo as training

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def switches() -> None:
    prepare()


@pytest.fixture
def run_dir(tmp_path: Path) -> RunDir:
    return RunDir(tmp_path / "run")


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "adapter_model.safetensors")


@pytest.mark.parametrize("rewards", [[0.5, 0.25, 0.25], [0.1, 0.3, 0.2]], ids=["start", "middle"])
def test_run_keeps_the_adapter_with_the_best_dev_reward(
    rewards: list[float], student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, real = iter(rewards), dev_reward.score_greedily
    seen = []

    def scored(*arguments: Any) -> dict[str, float]:
        found = real(*arguments)
        seen.append({name: p.detach().clone() for name, p in arguments[0].model.named_parameters() if p.requires_grad})
        return found | {"reward": next(asked)}

    monkeypatch.setattr(training, "score_greedily", scored)
    said = run(recipe(student_folder, dev_questions=3), run_dir)
    folder = run_dir.stage_dir("grpo")
    rows = read_jsonl(folder / "dev_rewards.jsonl")
    assert [(row["step"], row["questions"], row["reward"]) for row in rows] == [
        (step, 3, reward) for step, reward in enumerate(rewards)
    ]
    step = rewards.index(max(rewards))
    summary = read_json(folder / "done.json")["summary"]
    assert (summary["adapter"], summary["adapter_step"], summary["dev_reward"]) == ("best", step, max(rewards))
    assert f"(best, of step {step})" in said
    kept = weights(folder / "adapter")
    expected = {name.replace(".default", ""): weight for name, weight in seen[step].items()}
    assert kept.keys() == expected.keys()
    assert all(torch.equal(weight, expected[name]) for name, weight in kept.items())
    assert not all(torch.equal(seen[0][name], seen[2][name]) for name in seen[0]), "the steps trained nothing"


def test_run_without_dev_questions_keeps_the_last_adapter_and_writes_the_page(
    student_folder: Path, run_dir: RunDir
) -> None:
    said = run(recipe(student_folder), run_dir)
    folder = run_dir.stage_dir("grpo")
    summary = read_json(folder / "done.json")["summary"]
    assert (summary["adapter"], summary["adapter_step"], summary["stopped_early"]) == ("last", 2, None)
    assert "(last, of step 2)" in said
    assert not (folder / "best").exists()
    page = (folder / "completions.html").read_text()
    assert "Steps 1 to 1" in page
    assert "Steps 2 to 2" in page
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
    assert all(0 <= row["zero_variance_share"] < 1 for row in rows)


def test_held_out_questions_are_none_that_eval_scores(student_folder: Path, run_dir: RunDir) -> None:
    with pytest.raises(DataError, match=r"a limit of 93 leaves 3 of 96 .* \(got grpo.dev_questions 4\); lower"):
        run(recipe(student_folder, dev_questions=4), run_dir)


def test_plan_and_run_refuse_fewer_questions_than_a_step_has(student_folder: Path, run_dir: RunDir) -> None:
    for act in (grpo.plan, run):
        with pytest.raises(DataError, match=r"6 questions are too few for a step of grpo \(got grpo.prompts.* 7\)"):
            act(recipe(student_folder, prompts_per_step=7), run_dir)
    with pytest.raises(DataError, match=r"leaves 3 of 96 .* \(got grpo.dev_questions 4\)"):
        grpo.plan(recipe(student_folder, dev_questions=4), run_dir)
    assert not run_dir.path.exists()


def test_run_stops_when_no_reward_ever_differs(student_folder: Path, run_dir: RunDir) -> None:
    made = recipe(student_folder, steps=4, stop_after_dead_steps=2, reward={"weights": {"answer": 1.0}})
    with pytest.raises(ModelError, match=r"equal for 2 steps .* no step taught anything; set grpo.prefilter"):
        run(made, run_dir)
    assert not (run_dir.stage_dir("grpo") / "done.json").exists()


def test_prefilter_start_refuses_when_nothing_is_left(student_folder: Path, run_dir: RunDir) -> None:
    said = io.StringIO()
    with pytest.raises(DataError, match=r"only 0 questions to train on \(got 2, grpo.prefilter start\)"):
        run(recipe(student_folder, prefilter="start", prefilter_samples=2), run_dir, said)
    assert f"0 sometimes, 0 always, {QUESTIONS} never, 0 unknown" in said.getvalue()
    rows = read_jsonl(run_dir.stage_dir("grpo") / "pass_rates.jsonl")
    assert [(row["rollouts"], row["correct"]) for row in rows] == [(2, 0)] * QUESTIONS


def test_prefilter_start_goes_on_where_a_kill_left_it(
    student_folder: Path, run_dir: RunDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mbt_lite.student.loading import load_student

    made = recipe(student_folder, prefilter_samples=2)
    student = load_student(made.model)
    questions = training.read_fitting(made.data, student, made.data.train)
    # right by an accident of the text: the tiny student never answers
    monkeypatch.setattr(
        pass_rates, "parse_completion", lambda text, prefilled_think: type("Parsed", (), {"answer": text})
    )
    monkeypatch.setattr(pass_rates, "exact_term", lambda text, golds: float(len(text) % 2))
    found = {}
    for name in ("whole", "killed"):
        with Journal(run_dir.path / f"{name}.jsonl") as journal:
            if name == "killed":
                # while others were under way
                journal.extend(found["whole"][:3])
            calls: list[None] = []
            found[name] = pass_rates.measure_pass_rates(
                student,
                questions,
                made.grpo,
                journal,
                lambda calls=calls: calls.append(None),  # type: ignore[misc]
            )
            assert len(calls) == QUESTIONS
    assert found["killed"] == found["whole"]
    assert len({row["correct"] for row in found["whole"]}) > 1, "all alike: the test shows nothing"


def rates(run_dir: RunDir, made: Recipe, correct: list[int], rollouts: int) -> None:
    from mbt_lite.data.questions import read_questions

    rows = [
        {"question_id": question.question_id, "rollouts": rollouts, "valid": rollouts, "correct": count}
        for question, count in zip(read_questions(made.data.train, 0), correct, strict=True)
    ]
    write_jsonl(run_dir.stage_dir("gen") / "pass_rates.jsonl", rows)


def test_prefilter_gen_trains_on_what_is_sometimes_solved(student_folder: Path, run_dir: RunDir) -> None:
    made = recipe(student_folder, {"rollouts_per_question": 2}, prefilter="gen", steps=1)
    rates(run_dir, made, [0, 1, 2, 1, 0, 0], 2)
    run(made, run_dir)
    counts = {"sometimes": 2, "always": 1, "never": 3, "unknown": 0}
    summary = read_json(run_dir.stage_dir("grpo") / "done.json")["summary"]
    assert (summary["questions"], summary["by_pass_rate"]) == (2, counts)
    trained = {row["question_id"] for row in read_jsonl(run_dir.stage_dir("grpo") / "completions.jsonl")}
    rows = read_jsonl(run_dir.stage_dir("gen") / "pass_rates.jsonl")
    assert trained == {row["question_id"] for row in rows if row["correct"] == 1}


def test_prefilter_gen_refuses_drafts_that_cannot_tell(student_folder: Path, run_dir: RunDir) -> None:
    with pytest.raises(RunError, match="no pass rates of gen's drafts"):
        run(recipe(student_folder, prefilter="gen"), run_dir)
    made = recipe(student_folder, prefilter="gen")
    rates(run_dir, made, [0, 1, 0, 1, 0, 0], 1)
    with pytest.raises(RecipeError, match=r"not two drafts a question by the student \(got gen.kind mbt_r, .* 1\)"):
        run(made, run_dir)
    made = recipe(student_folder, {"kind": "direct_r", "rollouts_per_question": 2}, prefilter="gen")
    rates(run_dir, made, [1] * 6, 2)
    with pytest.raises(RecipeError, match=r"got gen.kind direct_r"):
        run(made, run_dir)


def test_a_cache_limit_under_one_group_is_refused_before_step_one(student_folder: Path, run_dir: RunDir) -> None:
    with pytest.raises(ModelError, match="do not fit the limit of the KV cache"):
        run(recipe(student_folder, rollout_cache_gib=1e-4), run_dir)
    assert not read_jsonl(run_dir.stage_dir("grpo") / "completions.jsonl")


def test_run_with_a_reference_and_checkpointing_trains_and_resumes_to_its_end(
    student_folder: Path, run_dir: RunDir
) -> None:
    made = recipe(student_folder, kl_coefficient=0.04, gradient_checkpointing=True)
    run(made, run_dir)
    folder = run_dir.stage_dir("grpo")
    rows = [row for row in read_jsonl(folder / "metrics.jsonl") if "loss" in row]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6), "the policy starts as its reference"
    assert rows[1]["kl"] > 1e-6
    # killed between the last step and done.json
    first = weights(folder / "adapter")
    (folder / "done.json").unlink()
    assert "going on from" in run(made, run_dir)
    again = weights(folder / "adapter")
    assert all(torch.equal(weight, first[name]) for name, weight in again.items())
    assert not (folder / "adapter/ref").exists(), "the reference adapter is the trainer's"


IMPORT_ORDER = """
import sys
from pathlib import Path
from mbt_lite.console import Screen
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import grpo

def first(*_, **__):
    print(sorted({"transformers", "trl", "peft"} & set(sys.modules)))
    raise SystemExit

grpo.in_stage = first
grpo.run(Recipe.model_validate_json(sys.argv[1]), RunDir(Path(sys.argv[2])), Screen())
"""


def test_run_imports_the_backend_before_the_libraries_that_unsloth_patches(
    student_folder: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", IMPORT_ORDER, recipe(student_folder).model_dump_json(), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stdout + done.stderr
