"""The pages of `make docs`: every command, every error, commands that the program takes, a site without holes."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from doc_commands import ROOT, check, command_lines, spellings
from typer.main import get_command
from typer.testing import CliRunner

from mbt_lite.cli import app


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_pages", ROOT / "recipes/site/pages.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


PAGES: dict[str, str] = load().pages()
WRONG, COMMANDS = PAGES["wrong.md"], PAGES["commands.md"]


def names(group: Any, name: str = "mbt-lite") -> list[str]:
    if not hasattr(group, "commands"):
        return [name]
    return [one for word, command in group.commands.items() for one in names(command, f"{name} {word}")]


def test_every_command_has_its_help() -> None:
    assert sorted(re.findall("^## (.+)$", COMMANDS, re.MULTILINE)) == sorted(names(get_command(app)))
    for option in ("--overwrite", "--what", "--gguf-type", "--layout"):
        assert option in COMMANDS


@pytest.mark.parametrize("page", ["commands.md", "wrong.md"])
def test_commands_of_the_made_pages_are_taken(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    # a usage line is the program's own synopsis; what a message fills in when it is raised is not known here
    text = re.sub(r"^Usage:.*$", "", PAGES[page], flags=re.MULTILINE)
    lines = [line for line in command_lines(text) if "‹" not in line]
    assert len(lines) >= 5
    for line in lines:
        for words in spellings(line):
            check(words)


def test_every_section_has_errors_of_three_parts() -> None:
    parts = re.split("^## ", WRONG, flags=re.MULTILINE)[1:]
    assert len(parts) == 10
    for part in parts:
        rows = [line.strip("| ").split(" | ") for line in part.splitlines()[4:] if line.startswith("|")]
        assert rows, part.splitlines()[0]
        assert all(len(row) >= 2 and row[-1] for row in rows)


@pytest.mark.parametrize(
    ("words", "section"),
    [
        (["recipes", "copy", "nothing"], "The recipe"),
        (["data", "check", "missing.csv"], "The questions"),
        (["push", "runs/none", "--what", "traces", "--to", "me/x"], "export and push"),
        (["gen", "recipes/demo.yaml", "--set", "sft.epochs"], "The recipe"),
    ],
)
def test_an_error_that_is_raised_stands_in_its_section(words: list[str], section: str) -> None:
    pytest.importorskip("huggingface_hub", reason="needs the hub's client: pip install 'mbt-lite[train]'")
    said = CliRunner().invoke(app, words).stderr.strip()
    assert "; " in said
    rows = WRONG.partition(f"## {section}\n")[2].partition("\n## ")[0].splitlines()[3:]
    messages = [
        ": ".join(filter(None, row[2:-2].split(" | ")[:2])) + "; " + row[2:-2].split(" | ")[2] for row in rows if row
    ]
    patterns = [
        "".join(".*" if part.startswith("‹") else re.escape(part) for part in re.split("(‹.*?›)", one))
        for one in messages
    ]
    assert any(re.fullmatch(f"(?:.*: )?{pattern}", said) for pattern in patterns), said


def test_the_site_is_made_without_a_hole_or_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs", reason="needs the docs extra")
    settings = yaml.safe_load((ROOT / "recipes/site/mkdocs.yml").read_text())
    assert {name for entry in settings["nav"] for name in entry.values()} == PAGES.keys()
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(settings | {"docs_dir": "pages", "site_dir": "site"}))
    load().write_pages(tmp_path / "pages")
    mkdocs = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(tmp_path / "mkdocs.yml")]
    done = subprocess.run(mkdocs, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "mbt-lite push" in (tmp_path / "site/commands.html").read_text()
