"""The life of a training run through the stages themselves, on a tiny student: what is kept, what stops it, and how."""

import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from safetensors.torch import load_file
from short_traces import write_traces
from transformers import LlamaModel

from mbt_lite.console import Screen
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import ModelError, RunError
from mbt_lite.files import read_json, read_jsonl, write_json
from mbt_lite.recipe import resolved, resumable_keys
from mbt_lite.recipe.schema import (
    Data,
    Eval,
    Grpo,
    Lora,
    Model,
    Questions,
    Recipe,
    Reward,
    RewardWeights,
    Sft,
    Tracking,
)
from mbt_lite.run_dir import RunDir
from mbt_lite.stages import eval as eval_stage
from mbt_lite.stages import grpo, sft
from mbt_lite.student.chat_template import template_hash
from mbt_lite.student.loading import load_tokenizer
from mbt_lite.training.checkpoints import find_newest_complete

ROOT = Path(__file__).parents[2]
TRAIN = Questions(path=str(ROOT / "data_samples/demo_train.jsonl"), limit=12)
DEV = Questions(path=str(ROOT / "data_samples/demo_dev.jsonl"), limit=2)
SFT: dict[str, Any] = {
    "learning_rate": 1e-3,
    "warmup_fraction": 0.0,
    "schedule": "constant",
    "micro_batch_size": 1,
    "gradient_accumulation_steps": 2,
    "max_sequence_tokens": 1024,
    "gradient_checkpointing": False,
}
GRPO = Grpo(
    steps=1,
    prompts_per_step=2,
    group_size=2,
    micro_batch_size=2,
    max_completion_tokens=96,
    gradient_checkpointing=False,
    # the tiny student never answers: the length term keeps its rewards apart
    reward=Reward(weights=RewardWeights(answer=4.0, length=1.0), overlong_buffer_tokens=95),
)


class Life:
    """A run folder with traces, and stages to run in it."""

    def __init__(self, folder: Path, student: Path) -> None:
        self.path, self.student, self.tracker = folder / "run", student, "none"
        write_traces(self.path / "gen" / "traces.jsonl", read_questions(TRAIN, 0))

    def recipe(self, **settings: Any) -> Recipe:
        return Recipe(
            model=Model(name=str(self.student), dtype="float32"),
            data=Data(train=TRAIN, dev=DEV, max_prompt_tokens=512),
            lora=Lora(rank=4, alpha=8),
            # past the bounds too: a rate at which a loss is no number
            sft=Sft(**SFT).model_copy(update=settings),
            grpo=GRPO,
            eval=Eval(variants=("sft",), max_completion_tokens=8),
            tracking=Tracking(tracker=self.tracker),
        )

    def run(self, stage: Any, **settings: Any) -> str:
        recipe, said = self.recipe(**settings), io.StringIO()
        stage.run(recipe, RunDir.open(self.path, resolved(recipe), resumable_keys()), Screen(file=said, width=200))
        return said.getvalue()

    def rows(self, key: str, stage: str = "sft") -> dict[int, float]:
        return {row["step"]: row[key] for row in read_jsonl(self.path / stage / "metrics.jsonl") if key in row}


@pytest.fixture
def life(tmp_path: Path, student_folder: Path) -> Life:
    return Life(tmp_path, student_folder)


def test_sft_shows_its_first_row_and_logs_speed_and_memory(life: Life) -> None:
    said = life.run(sft)
    assert "sft: first row, trace " in said
    assert "  trained: '<think>\\nwe look for it" in said
    assert said.count("tokens/s") == 6
    assert all(speed > 0 for speed in life.rows("speed/tokens_per_second").values())
    assert list(life.rows("memory/peak_gib")) == [1, 2, 3, 4, 5, 6]
    done = read_json(life.path / "sft/done.json")["summary"]
    assert done["chat_template"] == template_hash(load_tokenizer(life.recipe().model))
    assert (done["trained_rows"], done["dev_rows"], done["too_long"], done["steps"]) == (12, 0, 0, 6)


def test_sft_stops_early_and_keeps_the_adapter_with_the_lowest_dev_loss(life: Life) -> None:
    # a rate at which the loss soon rises again
    settings = {"held_out_traces": 4, "evaluate_every_steps": 1, "patience": 2, "epochs": 8.0, "learning_rate": 0.3}
    said = life.run(sft, **settings)
    dev = life.rows("dev/loss")
    best = min(dev, key=lambda step: dev[step])
    done = read_json(life.path / "sft/done.json")["summary"]
    assert (done["best_step"], done["best_dev_loss"]) == (best, dev[best])
    # 8 rows to train are 4 steps an epoch, 32 in all
    assert done["steps"] == max(dev) == best + 2 < 32
    assert (done["trained_rows"], done["dev_rows"]) == (8, 4)
    assert "4 rows are held out" in said
    kept, last = (load_file(life.path / "sft" / place / "adapter_model.safetensors") for place in ("adapter", "best"))
    assert all(torch.equal(kept[name], last[name]) for name in kept)


def test_sft_writes_checkpoints_by_the_clock(life: Life) -> None:
    life.run(sft, save_every_steps=1000, save_every_minutes=1e-6, epochs=0.5)
    assert sorted(path.name for path in (life.path / "sft/checkpoints").glob("checkpoint-*")) == [
        "checkpoint-2",
        "checkpoint-3",
    ]


def test_sft_without_its_tracker_stops_before_anything_is_loaded(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    life.tracker = "wandb"
    monkeypatch.setattr("mbt_lite.training.trackers.importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match="wandb is not installed; pip install wandb"):
        life.run(sft)
    with pytest.raises(ModelError, match="wandb is not installed"):
        sft.plan(life.recipe(), RunDir(life.path))
    assert not (life.path / "sft").exists()


def test_plan_refuses_an_earlier_adapter_that_is_not_there(life: Life) -> None:
    recipe = life.recipe().model_copy(update={"lora": Lora(continue_from="nowhere")})
    with pytest.raises(RunError, match=r"^lora.continue_from: no adapter there \(got nowhere\); name the folder"):
        sft.plan(recipe, RunDir(life.path))


def test_sft_sends_every_row_of_its_metrics_to_the_tracker(life: Life) -> None:
    pytest.importorskip("tensorboard", reason="needs the tracker: pip install tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    life.tracker = "tensorboard"
    life.run(sft, epochs=0.5)
    events = EventAccumulator(str(life.path / "sft/tensorboard")).Reload()
    for key in ("loss", "speed/tokens_per_second", "memory/peak_gib"):
        sent = {event.step: event.value for event in events.Scalars(key)}
        assert sent == pytest.approx(life.rows(key))
    assert list(life.rows("loss")) == [1, 2, 3]


def test_sft_stops_on_a_loss_that_is_no_number_and_names_its_rows(life: Life) -> None:
    with pytest.raises(ModelError, match=r"sft step 2: the (loss|gradient) is no number \(got (nan|inf), ") as caught:
        life.run(sft, learning_rate=1e30, save_every_steps=1)
    named = str(caught.value).partition("trained on ")[2].partition(")")[0].split(", ")
    # two micro-batches of one row
    assert len(set(named)) == 2
    assert set(named) < {row["trace_id"] for row in read_jsonl(life.path / "gen/traces.jsonl")}
    # the checkpoint before is the last
    newest = find_newest_complete(life.path / "sft/checkpoints")
    assert newest is not None
    assert newest.name == "checkpoint-1"


def run_out_in_forward(calls: int) -> Callable[..., Any]:
    """Give a forward pass of Llama that asks the CPU for too much after so many calls."""
    whole, seen = LlamaModel.forward, 0

    def forward(self: Any, *arguments: Any, **settings: Any) -> Any:
        nonlocal seen
        seen += 1
        if seen > calls:
            torch.empty(2**60, dtype=torch.uint8)
        return whole(self, *arguments, **settings)

    return forward


def run_out_in_backward(*_: Any) -> Callable[..., Any]:
    whole = LlamaModel.forward

    def forward(self: Any, *arguments: Any, **settings: Any) -> Any:
        found = whole(self, *arguments, **settings)
        if found.last_hidden_state.requires_grad:
            found.last_hidden_state.register_hook(lambda gradient: torch.empty(2**60, dtype=torch.uint8))
        return found

    return forward


def test_sft_out_of_memory_names_the_phase_and_leaves_the_checkpoint(
    life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LlamaModel, "forward", run_out_in_forward(5))
    with pytest.raises(ModelError) as caught:
        life.run(sft, save_every_steps=1)
    kept = life.path / "sft/checkpoints/checkpoint-2"
    assert str(caught.value) == (
        f"sft forward: out of memory (tried to allocate {2**60} bytes); "
        "switch on `sft.gradient_checkpointing` (got false) or lower `sft.max_sequence_tokens` "
        f"(got 1024, starts sft anew); the last checkpoint is kept: {kept}"
    )
    assert find_newest_complete(kept.parent) == kept


def test_sft_out_of_memory_in_the_backward_pass(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LlamaModel, "forward", run_out_in_backward())
    with pytest.raises(ModelError, match="sft backward: out of memory"):
        life.run(sft)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, student_folder: Path) -> Life:
    """A run whose sft is done, with a student folder of its own."""
    folder = tmp_path_factory.mktemp("trained")
    shutil.copytree(student_folder, folder / "student")
    life = Life(folder, folder / "student")
    life.run(sft)
    return life


def test_grpo_out_of_memory_names_rollouts_or_backward(trained: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    # two calls look whether rollouts use the adapter
    monkeypatch.setattr(LlamaModel, "forward", run_out_in_forward(2))
    with pytest.raises(ModelError, match=r"grpo rollouts: .* lower `grpo.rollout_batch_size` \(got 32\) or lower"):
        trained.run(grpo)
    monkeypatch.undo()
    monkeypatch.setattr(LlamaModel, "forward", run_out_in_backward())
    with pytest.raises(ModelError, match=r"grpo backward: .* there is no checkpoint yet"):
        trained.run(grpo)


def test_grpo_stops_on_a_loss_that_is_no_number_and_names_its_questions(
    trained: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mbt_lite.training.grpo_trainer import ReducedGRPOTrainer

    whole = ReducedGRPOTrainer.compute_loss
    monkeypatch.setattr(ReducedGRPOTrainer, "compute_loss", lambda *given, **named: whole(*given, **named) * torch.nan)
    with pytest.raises(ModelError, match=r"grpo step 1: the loss is no number \(got nan, trained on ") as caught:
        trained.run(grpo)
    rows = read_jsonl(trained.path / "grpo/completions.jsonl")
    questions = dict.fromkeys(row["question_id"] for row in rows)
    assert f"trained on {', '.join(questions)})" in str(caught.value)


def test_stages_refuse_another_chat_template(trained: Life) -> None:
    place = trained.student / "chat_template.jinja"
    before = place.read_text()
    place.write_text(before + "{# another #}")
    try:
        for stage in (grpo, eval_stage):
            # grpo began before, in this file, with the same template
            with pytest.raises(RunError, match=r"(sft|grpo): the student's chat template changed since"):
                trained.run(stage)
    finally:
        place.write_text(before)


def test_sft_refuses_to_go_on_with_another_chat_template(life: Life) -> None:
    with pytest.raises(ModelError, match="no number"):
        life.run(sft, learning_rate=1e30, save_every_steps=1)
    write_json(life.path / "sft/template.json", {"chat_template": "0123456789ab"})
    with pytest.raises(RunError, match=r"changed since sft began .*was 0123456789ab"):
        life.run(sft, learning_rate=1e30, save_every_steps=1)
