"""The notebooks run from end to end: this environment's kernel, small parameters, the CPU, outside Colab."""

import ast
import os
from pathlib import Path
from typing import Any

import pytest
from doc_commands import ROOT
from tiny_student import save_tiny_student

from mbt_lite.files import read_jsonl
from mbt_lite.student.embedded import embedded_folder

EMBEDDED = "embedded:smollm2-135m"

# a word of the gold completion costs tokens: the reward refuses a limit under which none fits
SMALL = [
    "model.dtype=float32", "lora.rank=4", "lora.alpha=8", "data.max_prompt_tokens=900", "gen.kind=mbt_s",
    "sft.max_sequence_tokens=2000", "sft.epochs=1", "grpo.steps=2", "grpo.prompts_per_step=2", "grpo.group_size=2",
    "grpo.micro_batch_size=2", "grpo.rollout_batch_size=4", "grpo.max_completion_tokens=96",
    "grpo.reward.overlong_buffer_tokens=80", "eval.max_completion_tokens=24",
]  # fmt: skip
ROWS = ["data.train.limit=8", "data.dev.limit=4"]


def settings(*ones: str) -> str:
    return " ".join(f"--set {one}" for one in ones)


def injected(path: Path, parameters: dict[str, Any]) -> Any:
    """Read a notebook, its parameters followed by a cell that sets others (papermill's way)."""
    nbformat = pytest.importorskip("nbformat", reason="needs the dev extra")
    notebook = nbformat.read(path, as_version=4)
    places = [place for place, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    assert len(places) == 1
    known = {node.targets[0].id for node in ast.parse(notebook.cells[places[0]].source).body}  # type: ignore[attr-defined]
    assert set(parameters) <= known
    lines = "\n".join(f"{name} = {value!r}" for name, value in parameters.items())
    notebook.cells.insert(places[0] + 1, nbformat.v4.new_code_cell(lines))
    return notebook


def execute(name: str, folder: Path, **parameters: Any) -> str:
    """Run a notebook in a folder; give all that it printed. Raises where a cell fails."""
    nbclient = pytest.importorskip("nbclient", reason="needs the dev extra")
    pytest.importorskip("ipykernel", reason="needs the dev extra")
    notebook = injected(ROOT / "recipes" / "colab" / f"{name}.ipynb", parameters)
    # the checkout, and no profile of whoever runs the tests
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "IPYTHONDIR": str(folder / ".ipython")}
    client = nbclient.NotebookClient(notebook, timeout=600, resources={"metadata": {"path": str(folder)}})
    client.execute(env=env)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = sum("image/svg+xml" in output.get("data", {}) for output in outputs)
    return "".join(output.get("text", "") for output in outputs) + f"\npictures: {pictures}"


@pytest.mark.slow
def test_the_tour_and_what_comes_after_share_a_run(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    # llama.cpp's converter knows the embedded student's tokenizer, not one made here
    save_tiny_student(tmp_path / "tiny", transformers.AutoTokenizer.from_pretrained(embedded_folder(EMBEDDED)))
    said = execute("tour", tmp_path, SETTINGS=settings(f"model.name={tmp_path / 'tiny'}", *SMALL, *ROWS))
    assert "of 4 questions right" in said
    assert "pictures: 2" in said
    assert "[understand_filter]" in said
    run = tmp_path / "runs/tour"
    assert len(read_jsonl(run / "gen/traces.jsonl")) == 8
    said = execute("after", tmp_path, VERIFY=2)
    assert "pictures: 2" in said
    assert len(read_jsonl(run / "chat/answers.jsonl")) == 2
    assert (run / "export/merged/model.safetensors").exists()
    # without llama.cpp's tools the cure is told
    assert list((run / "export/gguf").glob("*.gguf")) or "convert-hf-to-gguf" in said


@pytest.mark.slow
def test_grpo_is_watched_and_its_completions_read(student_folder: Path, tmp_path: Path) -> None:
    said = execute("grpo_live", tmp_path, SETTINGS=settings(f"model.name={student_folder}", *SMALL, *ROWS))
    assert len(read_jsonl(tmp_path / "runs/live/grpo/metrics.jsonl")) == 2
    assert "pictures: 1" in said
    assert "--- best of 4: reward" in said


@pytest.mark.slow
def test_own_questions_go_on_where_a_session_was_cut_off(student_folder: Path, tmp_path: Path) -> None:
    given = {"STUDENT": str(student_folder), "SETTINGS": settings(*SMALL)}
    said = execute("own_questions", tmp_path, **given)
    assert "not on Colab: everything is kept in" in said
    assert "no KEY is named" in said
    assert "of 6 questions right" in said
    run = tmp_path / "mbt-lite-sample/runs/recipe"
    (run / "eval/done.json").unlink()
    before = {path: path.stat().st_mtime_ns for path in run.glob("*/adapter/*")}
    assert before
    assert "of 6 questions right" in execute("own_questions", tmp_path, **given)
    assert before == {path: path.stat().st_mtime_ns for path in before}
