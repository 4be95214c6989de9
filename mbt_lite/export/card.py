"""The model card: what was trained on what, how it scored, with which versions, under which licence."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import yaml

from mbt_lite.export.ollama import context_tokens
from mbt_lite.files import read_json, read_jsonl
from mbt_lite.prompts import text
from mbt_lite.recipe import written
from mbt_lite.recipe.schema import Recipe
from mbt_lite.report.contents import teachers
from mbt_lite.report.table import rows
from mbt_lite.run_dir import RunDir

_LOAD = {
    "adapter": """\
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

base = AutoModelForCausalLM.from_pretrained("{base}", dtype="auto")
model = PeftModel.from_pretrained(base, "THIS_FOLDER")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")""",
    "merged": """\
from transformers import AutoModelForCausalLM, AutoTokenizer

# in 16 bits: packed into 4 again it is another model
model = AutoModelForCausalLM.from_pretrained("THIS_FOLDER", dtype="auto")
tokenizer = AutoTokenizer.from_pretrained("THIS_FOLDER")""",
}
# A parser of reasoning would take the thinking out of the answers.
_SERVE = {
    "adapter": (),
    "merged": (
        "vllm serve THIS_FOLDER",
        "mbt-lite eval RECIPE --out runs/exported --set model.name=THIS_FOLDER --set model.quantization=none "
        "--set 'eval.variants=[base]'",
    ),
    "gguf": (
        "llama-server -m THIS_FOLDER/model.gguf --jinja --reasoning-format none -np 1 -c {context}",
        "mbt-lite eval RECIPE --out runs/exported --set eval.student.base_url=http://127.0.0.1:8080/v1 "
        "--set 'eval.variants=[base]'",
        "ollama create mbt -f Modelfile && ollama run mbt",
    ),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Origin:
    """The untrained model: the name to load it by, its licence (an SPDX-like id; none: not found), a note on it."""

    name: str
    licence: str | None
    note: str


def model_card(
    run_dir: RunDir, recipe: Recipe, stage: str, form: str, base: Origin, checks: list[str], chat: str
) -> str:
    """Write README.md of an export.

    `form` is adapter, merged or gguf, `checks` are the sentences on how it compares, `chat` the chat template.
    """
    return "\n".join(
        [
            *_header(base, form),
            f"# {run_dir.path.name}, {stage} ({form})",
            "",
            "Trained with [mbt-lite](https://arxiv.org/abs/2602.22508): Metacognitive Behavioral Tuning, "
            f"{_method(recipe, stage)}.",
            f"Base model: `{base.name}`. {base.note}".rstrip(),
            "",
            *_use(recipe, form, base),
            "It was trained on this prompt, through its chat template "
            f"(SHA-256 of the template: `{hashlib.sha256(chat.encode()).hexdigest()}`):",
            "",
            *_block("", text("student")),
            *_data(run_dir, recipe),
            *_results(run_dir, recipe, stage),
            *(["## Checked on export", "", *(f"- {check}" for check in checks), ""] if checks else []),
            *recipe_lines(recipe),
            *version_lines(run_dir),
            *_licence(base),
        ]
    )


def _use(recipe: Recipe, form: str, base: Origin) -> list[str]:
    """Show how to load it, and how to serve and score it; RECIPE is the one it was trained by."""
    commands = "\n".join(_SERVE[form]).format(context=context_tokens(recipe))
    loading = _block("python", _LOAD[form].format(base=base.name)) if form in _LOAD else []
    return [*loading, *(_block("bash", commands) if commands else [])]


def _method(recipe: Recipe, stage: str) -> str:
    """Say what the adapter learned from."""
    if stage == "sft":
        return "on traces"
    return "on traces, then on a reward by rule" if recipe.grpo.start == "sft" else "on a reward by rule"


def licence_of(readme: Path) -> str | None:
    """Read the licence from the header of a model card; none if there is none, or a header that cannot be read."""
    # people's files: any encoding, any line ending, any mistake in the header
    text = readme.read_text(encoding="utf-8-sig", errors="replace") if readme.is_file() else ""
    parts = text.split("---\n")
    try:
        header = yaml.safe_load(parts[1]) if len(parts) > 2 and not parts[0].strip() else None
    except yaml.YAMLError:
        header = None
    return str(header["license"]) if isinstance(header, dict) and "license" in header else None


def _header(base: Origin, form: str) -> list[str]:
    header: dict[str, Any] = {"base_model": base.name, "pipeline_tag": "text-generation", "tags": ["mbt-lite"]}
    if form != "gguf":
        header["library_name"] = "peft" if form == "adapter" else "transformers"
    if base.licence is not None:
        header["license"] = base.licence
    return ["---", yaml.safe_dump(header, sort_keys=False).strip(), "---", ""]


def _block(language: str, content: str) -> list[str]:
    return [f"```{language}", content, "```", ""]


def _data(run_dir: RunDir, recipe: Recipe) -> list[str]:
    traces = teachers(read_jsonl(run_dir.stage_dir("gen") / "traces.jsonl", teacher=str, scripted=bool))
    scripted = f", {traces.n_scripted} of them by rules, not by a model" if traces.n_scripted else ""
    written_by = f"; {traces.n_traces} traces by {', '.join(traces.names)}{scripted}" if traces.n_traces else ""
    return ["## Data", "", f"Questions: `{recipe.data.train.path}`{written_by}.", ""]


def _results(run_dir: RunDir, recipe: Recipe, stage: str) -> list[str]:
    """Show the scores of base and of what has the stage's adapter; nothing if `eval` has none of it."""
    variants = recipe.eval.full_variants
    with_adapter = list(dict.fromkeys([*(one.name for one in variants if one.stage == stage), stage]))
    files = {name: run_dir.stage_dir("eval") / name / "metrics.json" for name in ("base", *with_adapter)}
    metrics = {name: read_json(path, n_questions=int, metrics=dict) for name, path in files.items() if path.is_file()}
    scored = [name for name in with_adapter if name in metrics]
    if not scored:
        return []
    n = metrics[scored[0]]["n_questions"]
    table = [
        f"| {row.measure.label} | "
        + " | ".join(f"{cell.value} {cell.interval} {cell.note}".strip() for cell in row.cells)
        + " |"
        for row in rows(metrics)
    ]
    what = f"Held-out questions, 95 % intervals, n = {n}; measured in 4-bit or as the recipe says, before this export."
    return ["## Results", "", what, "", f"| | {' | '.join(metrics)} |", "|---|" + "---|" * len(metrics), *table, ""]


def recipe_lines(recipe: Recipe) -> list[str]:
    """Show the recipe."""
    shown = yaml.safe_dump(written(recipe), sort_keys=False, allow_unicode=True).strip()
    return ["## Recipe (what differs from the defaults)", "", *_block("yaml", shown)]


def version_lines(run_dir: RunDir) -> list[str]:
    """Show the versions that the run began with."""
    environment = read_json(run_dir.path / "environment.json", python=str, packages=dict)
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    return ["## Versions", "", f"Python {environment['python']}, {packages}.", ""]


def _licence(base: Origin) -> list[str]:
    known = f"`{base.licence}`" if base.licence is not None else "not found beside its weights: see its own page"
    return ["## Licence", "", f"These weights derive from `{base.name}`; its licence holds for them: {known}.", ""]
