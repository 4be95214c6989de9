"""What the pages, the notebooks, the Makefile and the recipes' headers tell a user to type is taken by the program."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from doc_commands import NOTEBOOKS, ROOT, check, command_lines, only_python, spellings, texts

from mbt_lite.bench.measurement import markdown_table, read_measurements
from mbt_lite.errors import RecipeError
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.keys import known_keys

TEXTS = texts()
README = TEXTS["README.md"]
RESULTS = TEXTS["recipes/RESULTS.md"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
PAGES = [name for name in TEXTS if name.endswith(".md")]
# typer has a copy of click of its own
USAGE_ERROR = typer.BadParameter.__base__
COMMANDS = [(name, line) for name, text in TEXTS.items() for line in command_lines(text)]


@pytest.mark.parametrize(("name", "line"), COMMANDS)
def test_commands_are_taken_with_all_their_options(name: str, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in spellings(line):
        check(words)


@pytest.mark.parametrize("name", sorted(set(TEXTS) - {"data_samples/README.md"}))
def test_every_text_has_commands(name: str) -> None:
    assert any(of == name for of, _ in COMMANDS)


@pytest.mark.parametrize(
    "line",
    [
        "gem recipes/demo.yaml",
        "run recipes/demo.yaml --dryrun",
        "export runs/demo --format zip",
        "bench sft RECIPE --row 4",
        "run recipes/demo.yaml --set sft.epoch=2",
        "run recipes/missing.yaml",
    ],
)
def test_check_refuses_what_the_program_refuses(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises((USAGE_ERROR, LookupError, RecipeError)):
        check(spellings(line)[0])


def test_command_lines_reads_every_way_to_write_one() -> None:
    text = (
        "`mbt-lite is`\n    $ OMP_NUM_THREADS=1 .venv/bin/mbt-lite run a.yaml \\\n  --out b   # why\n"
        "#   mbt-lite gen|sft A   description\ntorchrun -m mbt_lite sft C || exit 1\n"
        "Say `mbt-lite bench\nload` or `mbt-lite agree D`.\nmbt-lite export RUN\n    [--stage sft]   what\n"
    )
    found = ["is", "run a.yaml --out b", "gen|sft A", "sft C", "bench load", "agree D", "export RUN [--stage sft]"]
    assert list(command_lines(text)) == found
    assert spellings("gen|sft [RECIPE] [--set a.b=c|d]... --out DIR") == [
        ["gen", "recipes/demo.yaml", "--set", "a.b=c", "--out", "DIR"],
        ["sft", "recipes/demo.yaml", "--set", "a.b=d", "--out", "DIR"],
    ]


@pytest.mark.parametrize("name", TEXTS)
def test_files_that_a_text_names_exist(name: str) -> None:
    for path in re.findall(r"\b(?:recipes|data_samples|mbt_lite|tests)/[\w./*]*[\w*]", TEXTS[name]):
        assert list(ROOT.glob(path)), path


@pytest.mark.parametrize("name", PAGES)
def test_links_within_the_pages_lead_somewhere(name: str) -> None:
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]+))?\)", TEXTS[name]):
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), target
        assert not anchor or anchor in headings(path.read_text(encoding="utf-8")), anchor


def headings(text: str) -> set[str]:
    """Give the anchors of a page's headings."""
    return {
        re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    }


@pytest.mark.parametrize("name", TEXTS)
def test_keys_that_a_text_names_are_in_the_schema(name: str) -> None:
    known = {".".join(path) for path in known_keys()}
    sections = "|".join(path[0] for path in known_keys() if len(path) == 1)
    named = re.findall(rf"`((?:{sections})\.[\w.]*\w)", TEXTS[name])
    assert set(named) <= known, set(named) - known


def test_sections_that_the_page_of_endpoints_shows_are_taken(tmp_path: Path) -> None:
    needed = "model: {name: tiny}\ndata: {train: {path: a}, dev: {path: b}}\n"
    shown = re.findall(r"^\w+: +\{.*?\}$", TEXTS["recipes/ENDPOINTS.md"], re.MULTILINE | re.DOTALL)
    assert len(shown) == 6
    for number, section in enumerate(shown):
        assert isinstance(yaml.safe_load(section), dict)
        (tmp_path / f"{number}.yaml").write_text(needed + section)
        load_recipe(tmp_path / f"{number}.yaml")


@pytest.mark.parametrize("name", TEXTS)
def test_scripts_and_modules_that_a_text_runs_have_the_options(name: str) -> None:
    whole = re.sub(r"\s*\n", " ", TEXTS[name])
    for module, script, rest in re.findall(r"python -?(?:m (mbt_lite\.[\w.]+\w)|)(tests/[\w/]+\.py|)([^`;,)]*)", whole):
        if not module and not script:
            continue
        spec = importlib.util.find_spec(module) if module else None
        path = Path(spec.origin) if spec is not None and spec.origin else ROOT / script
        source = path.read_text(encoding="utf-8")
        if "trial_parser" in source:
            source += (path.parent / "arms.py").read_text(encoding="utf-8")
        missing = [option for option in re.findall(r"(?<=\s)(--[a-z-]+)", rest) if f'"{option}"' not in source]
        assert not missing, path


def test_make_targets_and_variables_that_a_text_names_exist() -> None:
    said = "\n".join(TEXTS.values()) + MAKEFILE
    named = set(re.findall(r"(?:^|[`/\s])make ([a-z]+(?:-[a-z]+)*)(?=[\s`,.;)])", said))
    assert {"demo", "test", "setup-gpu"} <= named
    variables = set(re.findall(r"\bmake (?:[a-z-]+ |\.\.\. )?([A-Z_]+)=|`([A-Z]+)=`", said))
    for pair in variables:
        assert re.search(rf"^(?:ifdef )?{''.join(pair)}\b", MAKEFILE, re.MULTILINE), pair
    assert named <= set(TARGETS), named - set(TARGETS)


def dry_run(target: str) -> str:
    """Give what a target would run, its variables filled in."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if name not in outer}
    done = subprocess.run(["make", "-n", target], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("target", TARGETS)
def test_commands_of_the_makefile_are_taken(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    monkeypatch.chdir(ROOT)
    # without Python in quotes, whose messages name the program
    said = re.sub(r" -c '[^']*'", "", dry_run(target))
    assert said
    for line in command_lines(said):
        for words in spellings(line):
            check(words)
    for path in re.findall(r"tests/[\w/.]+", said):
        assert (ROOT / path).exists(), path


def test_readme_tree_names_every_part_of_the_package() -> None:
    tree = README.partition("## Where things are")[2].partition("```\n")[2].partition("```")[0]
    package = ROOT / "mbt_lite"
    parts = {f"{path.name}/" for path in package.iterdir() if (path / "__init__.py").exists()}
    parts |= {path.name for path in package.glob("*.py") if not path.name.startswith("__")}
    assert parts == set(re.findall(r"^  (\S+)", tree, re.MULTILINE))


TABLE = README.partition("| to change | edit |\n|---|---|\n")[2].partition("\n\n")[0]
EDITS = [line.strip("| ").split(" | ") for line in TABLE.splitlines()]


@pytest.mark.parametrize(("change", "edit"), EDITS)
def test_what_to_edit_is_where_the_readme_says(change: str, edit: str) -> None:
    words = re.findall(r"`([^`]+)`", edit)
    paths = [path for word in words if "/" in word for path in ROOT.glob(word)]
    assert paths
    assert all(list(ROOT.glob(word)) for word in words if "/" in word), change
    for word in words:
        if word.endswith((".txt", ".py")) and "/" not in word:
            assert (paths[-1].parent / word).exists(), word
        elif "." in word:
            assert "/" in word or tuple(word.split(".")) in known_keys(), word
        elif "/" not in word:
            files = [file for path in paths for file in (path.glob("*.py") if path.is_dir() else [path])]
            assert any(re.search(rf"\b{word}\b", file.read_text(encoding="utf-8")) for file in files), word


def test_performance_table_is_made_from_the_measurements() -> None:
    section = RESULTS.partition("## How fast it is")[2].partition("\n## ")[0]
    table = [line for line in section.splitlines() if line.startswith("|")]
    assert table == markdown_table(read_measurements(ROOT / "recipes" / "benchmarks.jsonl")).splitlines()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_clean_and_its_code_compiles(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None
            compile(only_python("".join(cell["source"])), "cell", "exec")
