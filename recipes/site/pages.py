"""Gather the pages for `make docs` in a folder: README and recipes, every command's help, what can go wrong.

The last two are read from the program: its commands, and the errors that its source raises. Pages keep their paths.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.main import get_command

from mbt_lite.cli import app
from mbt_lite.files import write_text

ROOT = Path(__file__).parents[2]
ERRORS = ("DataError", "TeacherError", "ModelError", "RunError", "RecipeError", "Conflict", "Fault")
# Which parts of the package speak where; what is named nowhere belongs to the last.
SECTIONS = {
    "The recipe": ("recipe/", "shipped/", "look/init/"),
    "The questions": ("data/", "layouts/", "text/", "records/", "look/"),
    "The run folder": ("run_dir/", "files/", "launch/", "progress/"),
    "Servers: the teacher, the judge, a served student": ("endpoint/", "scripted/"),
    "gen": ("stages/gen/", "traces/", "prompts/"),
    "The student, in every stage": ("student/", "generation/", "architecture/"),
    "sft and grpo": ("stages/sft/", "stages/grpo/", "training/", "methods/", "rewards/"),
    "eval": ("stages/eval/", "strategies/", "judge/", "metrics/", "report/", "score/", "harness/"),
    "export and push": ("export/",),
    "The other commands": ("",),
}


def pages() -> dict[str, str]:
    """Give every page's text by its path."""
    written = [ROOT / "README.md", *sorted((ROOT / "recipes").glob("*.md")), ROOT / "data_samples/README.md"]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in written}
    return {**texts, "commands.md": _commands_page(), "wrong.md": _wrong_page()}


def commands(group: Any, name: str = "mbt-lite") -> Iterator[tuple[str, str]]:
    """Give the name of every command and its help, groups left out."""
    for word, command in sorted(group.commands.items()):
        if hasattr(command, "commands"):
            yield from commands(command, f"{name} {word}")
        else:
            context = typer.Context(command, info_name=f"{name} {word}", terminal_width=110)
            yield f"{name} {word}", command.get_help(context)


def _commands_page() -> str:
    parts = [f"## {name}\n\n```\n{told}\n```\n" for name, told in commands(get_command(app))]
    return "\n".join(["# Every command\n\nMade from the program's own help.\n", *parts])


def _wrong_page() -> str:
    rows: dict[str, set[tuple[str, ...]]] = {section: set() for section in SECTIONS}
    for file in sorted((ROOT / "mbt_lite").rglob("*.py")):
        name = file.relative_to(ROOT / "mbt_lite").with_suffix("").as_posix() + "/"
        fits = {part: section for section, parts in SECTIONS.items() for part in parts if name.startswith(part)}
        rows[fits[max(fits, key=len)]] |= set(map(_cells, messages(ast.parse(file.read_text(encoding="utf-8")))))
    parts = ["# What can go wrong\n\nMade from the source; ‹words› stand for what a message names.\n"]
    for section, found in rows.items():
        lines = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in sorted(found)]
        parts.append(
            "\n".join([f"## {section}\n", "| where | what is wrong | what to do |", "|---|---|---|", *lines, ""])
        )
    return "\n".join(parts)


def _cells(message: str) -> tuple[str, ...]:
    what, _, cure = message.rpartition("; ")
    where, colon, rest = what.partition(": ")
    return (where, rest, cure) if colon else ("", what, cure)


def messages(tree: ast.AST) -> Iterator[str]:
    """Give the texts of the errors that functions make, local words filled in; one made elsewhere is told there."""
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        nodes = list(ast.walk(function))
        known = {ast.unparse(node.targets[0]): node.value for node in nodes if isinstance(node, ast.Assign)}
        for node in nodes:
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ERRORS and node.args:
                said = " ".join(shown(node.args[-1], known).split())
                if "; " in said:
                    yield said


def shown(node: ast.expr, known: dict[str, ast.expr]) -> str:
    """Write an expression as its text, with ‹words› for what is not known before it runs."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.FormattedValue):
        return shown(node.value, known)
    if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add)):
        return "".join(shown(part, known) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr))
    if isinstance(node, ast.List) and node.elts:
        return shown(node.elts[0], known)
    if isinstance(node, ast.Name) and node.id in known:
        found = shown(known[node.id], {name: one for name, one in known.items() if name != node.id})
        if not found.startswith("‹"):
            return found
    word = re.findall(r"[a-z]\w*", f"value {ast.unparse(node)}")[1 if isinstance(node, ast.Call) else -1]
    return f"‹{word}›".replace("_", " ")


def write_pages(folder: Path) -> None:
    """Write all pages, and the files that they link to."""
    for name, text in pages().items():
        write_text(folder / name, text)
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
            source = ((ROOT / name).parent / target).resolve()
            if source.is_file() and source.suffix != ".md":
                write_text(folder / source.relative_to(ROOT), source.read_text(encoding="utf-8"))


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
