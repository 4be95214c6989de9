"""The command lines in texts for users: found, completed where they are a synopsis, parsed by the real program."""

import ast
import itertools
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from mbt_lite.cli import app
from mbt_lite.recipe import load_recipe

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "recipes" / "colab").glob("*.ipynb"))
# What stands for a value in a text, with a value that can be parsed.
STAND_INS = {
    "RECIPE": "recipes/demo.yaml",
    "recipe.yaml": "recipes/demo.yaml",
    "GIB": "24",
    "N": "2",
    "...": "adapter",
    "$gib": "24",
}
_PROGRAM = re.compile(r"(?:^|(?<=[\s`/]))mbt-lite (?=[a-z])|-m mbt_lite (?=[a-z])")
# Where a command ends: a comment, a description after a gap, the shell's next command.
_END = re.compile(r"\s#|\S\s{2,}\S|\s(?:\|\||&&|\|)\s|;(?:\s|$)")


def notebook_code(path: Path) -> str:
    """Give a notebook's cells of code as a shell sees them, `{SETTINGS}` filled in where its value is written there."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    values = constants("\n".join(map(only_python, code)))
    shell = re.sub(r"^(\s*)!", r"\1", "\n".join(code), flags=re.MULTILINE)
    return re.sub(r"\{([A-Z_]+)\}", lambda found: values.get(found[1], "VALUE"), shell)


def only_python(cell: str) -> str:
    """Give a cell's code without its lines for the shell and for the notebook itself."""
    return re.sub(r"^(\s*)[!%].*$", r"\1pass", cell, flags=re.MULTILINE)


def constants(python: str) -> dict[str, str]:
    """Give the first literal that is assigned to each name."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(python)):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant):
            for name in node.targets:
                found.setdefault(ast.unparse(name), str(node.value.value))
    return found


def header_of(recipe: Path) -> str:
    """Give the comment that a recipe begins with."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), recipe.read_text(encoding="utf-8").splitlines())
    return "\n".join(line[1:] for line in lines)


def texts() -> dict[str, str]:
    """Give what a user reads and types from, by name."""
    pages = [ROOT / "README.md", *sorted((ROOT / "recipes").glob("*.md")), ROOT / "data_samples" / "README.md"]
    recipes = sorted((ROOT / "recipes").rglob("*.yaml"))
    return {
        **{path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in pages},
        **{path.relative_to(ROOT).as_posix(): notebook_code(path) for path in NOTEBOOKS},
        **{path.relative_to(ROOT).as_posix(): header_of(path) for path in recipes},
    }


def command_lines(text: str) -> Iterator[str]:
    """Give the commands of a text, from the word after the program's name to their end."""
    whole = re.sub(r"\\\n\s*", "", text)
    # a synopsis goes on in a line that begins with an option
    whole = re.sub(r"\n\s+(?=\[--)", " ", whole)
    # words in backticks may be wrapped
    whole = re.sub(r"`(mbt-lite|OMP_[^`]*?|[^`\n]*-m)\s[^`]*`", lambda found: found[0].replace("\n", " "), whole)
    for line in whole.splitlines():
        for found in _PROGRAM.finditer(line):
            rest = line[found.end() :]
            if line[: found.start()].count("`") % 2:
                rest = rest.partition("`")[0]
            end = _END.search(rest)
            yield (rest if end is None else rest[: end.start() + 1]).rstrip()


def spellings(line: str) -> list[list[str]]:
    """Give the words of a command, each choice of a synopsis at least once (`a|b`, `[--option X]...`)."""
    plain = re.sub(r"\](?:\.\.\.)?(?=[\s\]]|$)|(?:^|(?<=\s))\[", "", line)
    plain = re.sub(r"(?<=[A-Z])\.\.\.(?=\s|$)", "", plain)
    words = [choices_of(word) for word in shlex.split(plain)]
    return [[each[min(row, len(each) - 1)] for each in words] for row in range(max(map(len, words)))]


def choices_of(word: str) -> list[str]:
    """Give what a word of a synopsis stands for: `key=a|b` is `key=a` and `key=b`."""
    key, equals, values = word.rpartition("=")
    return [key + equals + STAND_INS.get(value, value) for value in values.split("|")]


def parse(words: list[str]) -> dict[str, Any]:
    """Parse a command as the program does, and run nothing; give its parameters. Raises what the program would say.

    A command that is only named (`mbt-lite bench sft`) is only looked up.
    """
    command: Any = get_command(app)
    name = "mbt-lite"
    rest = list(words)
    while rest and hasattr(command, "commands"):
        name = rest.pop(0)
        if name not in command.commands:
            raise LookupError(f"no such command (got {name})")
        command = command.commands[name]
    if not rest:
        return {}
    return dict(command.make_context(name, rest).params)


def check(words: list[str]) -> None:
    """Parse a command, and load its recipe with its settings where there is one; raises where either is refused."""
    given = parse(words)
    recipe = given.get("recipe")
    if recipe is not None:
        settings = [one for one in given.get("settings") or () if one != "section.key=value"]
        load_recipe(recipe, settings)
