"""What the README, the Makefile, the notebook and the recipes' headers tell a user to type exists."""

import json
import re
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from mbt_lite.bench.measurement import markdown_table, read_measurements
from mbt_lite.cli import app, bench
from mbt_lite.recipe import load_recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "recipes" / "colab" / "mbt_lite.ipynb"
COMMANDS = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
COMMANDS |= {group.name for group in app.registered_groups if group.name}


def notebook_code() -> str:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def texts() -> dict[str, str]:
    recipes = {path.name: path.read_text(encoding="utf-8") for path in sorted((ROOT / "recipes").glob("*.yaml"))}
    endpoints = (ROOT / "recipes" / "ENDPOINTS.md").read_text(encoding="utf-8")
    return {"README.md": README, "ENDPOINTS.md": endpoints, "notebook": notebook_code(), **recipes}


@pytest.mark.parametrize("name", texts())
def test_commands_that_a_text_names_exist(name: str) -> None:
    named = {word for match in re.findall(r"mbt-lite ([a-z|]+)", texts()[name]) for word in match.split("|")}
    assert named
    assert named <= COMMANDS | {"is"}, named - COMMANDS


@pytest.mark.parametrize("name", texts())
def test_files_that_a_text_names_exist(name: str) -> None:
    for path in re.findall(r"\b(?:recipes|data_samples|mbt_lite)/[\w./]*\w", texts()[name]):
        assert (ROOT / path).exists(), path


def test_make_targets_that_a_text_names_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z][a-z-]+)", README + notebook_code()))
    assert {"demo", "test", "setup-gpu"} <= named <= targets


BENCHMARKS = re.findall(r"^\t\$\(BENCH\) (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("line", BENCHMARKS, ids=lambda line: line.split()[0])
def test_benchmarks_that_the_makefile_runs_parse(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    name, *arguments = shlex.split(line)
    # parses and checks every option, and runs nothing
    given = get_command(bench).commands[name].make_context(name, arguments).params
    if "recipe" in given:
        load_recipe(given["recipe"], given["settings"])


def test_gpu_check_measures_all_that_a_card_changes() -> None:
    assert [line.split()[0] for line in BENCHMARKS] == ["load", "reward", "grpo", "sft"]


def test_readme_tree_names_every_part_of_the_package() -> None:
    tree = README.partition("## Where things are")[2].partition("```\n")[2].partition("```")[0]
    package = ROOT / "mbt_lite"
    parts = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    parts |= {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert parts <= set(re.findall(r"^  (\S+)", tree, re.MULTILINE))


def test_readme_performance_table_is_made_from_the_measurements() -> None:
    section = README.partition("## How fast it is")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table == markdown_table(read_measurements(ROOT / "recipes" / "benchmarks.jsonl")).splitlines()


def test_notebook_is_clean_and_its_code_compiles() -> None:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            # lines for the shell and for the notebook itself are no Python
            python = [line for line in cell["source"] if not line.startswith(("!", "%"))]
            compile("".join(python), "cell", "exec")
