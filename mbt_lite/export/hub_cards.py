"""The cards of what is pushed to the hub, by its own classes, and the licence of the questions that they name.

That licence is the one that the dataset of their layout is published under, or the user's word.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import yaml

from mbt_lite.data import hub as hub_data
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import DataError, RunError
from mbt_lite.export.card import recipe_lines, version_lines
from mbt_lite.files import read_jsonl
from mbt_lite.layouts import licence_of_source
from mbt_lite.recipe.schema import Questions, Recipe
from mbt_lite.report.contents import teachers
from mbt_lite.run_dir import RunDir

# The hub's words for how many rows a dataset has, by the first number that is too many for them.
_SIZES = {1_000: "n<1K", 10_000: "1K<n<10K", 100_000: "10K<n<100K", 1_000_000: "100K<n<1M"}


def hub_client() -> tuple[Any, Any]:
    """Give the hub's client, with its `utils`, and its errors; loaded late."""
    importlib.import_module("huggingface_hub.utils")
    return importlib.import_module("huggingface_hub"), importlib.import_module("huggingface_hub.errors")


def licences_of(questions: Questions, seed: int, named: str | None) -> list[str]:
    """Name the licences of a set of questions, each once; RunError where one is neither known nor given."""
    if named is not None:
        return [named]
    try:
        known = {licence_of_source(question.source) for question in read_questions(questions, seed)}
    except DataError:
        # gone since, or out of reach: nothing is known of them
        known = {None}
    if None in known:
        cure = "name it with --license, such as cc-by-4.0, or other"
        raise RunError(f"push: the licence of the questions is unknown (got {questions.path}); {cure}")
    return sorted(filter(None, known))


def _licence_lines(licences: list[str], questions: Questions) -> list[str]:
    said = f"The questions (`{questions.path}`) are under {', '.join(f'`{one}`' for one in licences)}."
    return ["## Licence of the data", "", said, ""]


def model_card_on_hub(folder: Path, recipe: Recipe, to: str, licences: list[str]) -> Any:
    """Complete the card of an export: its name, the licence of its data, nothing that the hub cannot look up."""
    hub, errors = hub_client()
    file, train = folder / "README.md", recipe.data.train
    if not file.is_file():
        raise RunError(f"{folder}: holds no export (no README.md); name the folder that `mbt-lite export` wrote")
    try:
        card = hub.ModelCard(file.read_text(encoding="utf-8").replace("THIS_FOLDER", to))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise RunError(f"{file}: its header cannot be read ({' '.join(str(error).split())}); mend it") from error
    try:
        hub.utils.validate_repo_id(str(card.data.base_model))
    except errors.HFValidationError:
        card.data.base_model = None
    if card.data.base_model and Path(card.data.base_model).exists():
        card.data.base_model = None
    if train.path.startswith(hub_data.PREFIX) and not Path(name := _dataset(train)).exists():
        card.data.datasets = [name]
    card.text += "\n".join(["", *_licence_lines(licences, train)])
    return card


def _dataset(questions: Questions) -> str:
    return questions.path.removeprefix(hub_data.PREFIX).partition(":")[0]


def traces_card(run_dir: RunDir, recipe: Recipe, file: Path, licences: list[str]) -> Any:
    """Write the card of traces: who wrote them, how many by rule, under which licence."""
    hub, _ = hub_client()
    who = teachers(read_jsonl(file, teacher=str, scripted=bool))
    by_rule = f" {who.n_scripted} of them were written by rules (`scripted`), not by a model." if who.n_scripted else ""
    data = hub.DatasetCardData(
        pretty_name=f"{run_dir.path.name}: traces",
        license=licences[0] if len(licences) == 1 else licences,
        task_categories=["text-generation"],
        size_categories=[next((size for most, size in _SIZES.items() if who.n_traces < most), "1M<n<10M")],
        tags=["mbt-lite", "reasoning", *(["scripted"] if who.n_scripted else [])],
        configs=[{"config_name": "default", "data_files": file.name}],
    )
    body = [
        f"# {run_dir.path.name}: traces of {recipe.gen.kind}",
        "",
        f"{who.n_traces} traces by {', '.join(who.names)}, made with [mbt-lite](https://arxiv.org/abs/2602.22508)."
        f"{by_rule} What a teacher's provider says about its output holds as well.",
        "",
        "TRL trains on `prompt` and `completion` as they are, where `row_rule` is closed; `text` is the trace, "
        "`phases` are spans of it.",
        "",
    ]
    return _card(hub.DatasetCard, data, [*body, *_licence_lines(licences, recipe.data.train)], run_dir, recipe)


def report_card(run_dir: RunDir, recipe: Recipe, licences: list[str]) -> Any:
    """Write the card of a static space that shows the report."""
    hub, _ = hub_client()
    data = hub.SpaceCardData(
        title=f"{run_dir.path.name}: report",
        sdk="static",
        app_file="index.html",
        license=licences[0] if len(licences) == 1 else licences,
        tags=["mbt-lite"],
    )
    body = [f"# {run_dir.path.name}: report", "", "Written by mbt-lite; its page holds questions and answers.", ""]
    return _card(hub.SpaceCard, data, [*body, *_licence_lines(licences, recipe.data.dev)], run_dir, recipe)


def _card(form: Any, data: Any, body: list[str], run_dir: RunDir, recipe: Recipe) -> Any:
    return form("\n".join(["---", data.to_yaml(), "---", "", *body, *recipe_lines(recipe), *version_lines(run_dir)]))
