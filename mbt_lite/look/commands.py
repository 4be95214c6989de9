"""The commands that need no run: `init`, `data` and others. Plain functions: the command line makes them its own."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from mbt_lite import shipped
from mbt_lite.errors import DataError
from mbt_lite.screen import say

File = Annotated[str, typer.Argument(metavar="FILE", help="JSONL, JSON, CSV, TSV or Parquet, or hub:owner/dataset.")]
Layout = Annotated[str, typer.Option(help="auto, or the layout's name, as in a recipe.")]
Rule = Annotated[str, typer.Option("--answer-rule", help="auto, text or number, as in a recipe.")]
Split = Annotated[str | None, typer.Option(help="The split of a hub dataset.")]
Student = Annotated[
    str | None, typer.Option("--model", metavar="NAME", help="A student: prompts are counted by its tokenizer.")
]


def check(
    file: File,
    layout: Layout = "auto",
    answer_rule: Rule = "auto",
    split: Split = None,
    model: Student = None,
    max_prompt_tokens: Annotated[int, typer.Option(metavar="N", min=1, help="As in a recipe's data section.")] = 4096,
    against: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Another file: how many questions stand in both.")
    ] = None,
) -> None:
    """Tell what is read of a file, line by line what is wrong, and how long its prompts are."""
    from mbt_lite.look.check import check_file

    for line in check_file(file, layout, answer_rule, split, model, max_prompt_tokens, against):
        say(line)


def show(
    file: File,
    number: Annotated[int, typer.Argument(metavar="N", min=1, help="The question's place, from 1.")] = 1,
    layout: Layout = "auto",
    answer_rule: Rule = "auto",
    split: Split = None,
    model: Student = None,
) -> None:
    """Print a question as the student sees it, and what counts as right."""
    from mbt_lite.look.check import show_question

    for line in show_question(file, number, layout, answer_rule, split, model):
        say(line)


def init(
    data: Annotated[str | None, typer.Option(metavar="FILE", help="Your questions; a quarter is held out.")] = None,
    dev: Annotated[
        str | None, typer.Option(metavar="FILE", help="Your held-out questions, if they are a file.")
    ] = None,
    student: Annotated[
        str | None, typer.Option(metavar="NAME", help="A hub id, a folder, or the embedded one.")
    ] = None,
    teacher: Annotated[
        str | None, typer.Option(metavar="KIND", help="embedded, openrouter, openai, vllm, ollama or llama.cpp.")
    ] = None,
    teacher_model: Annotated[str | None, typer.Option(metavar="NAME", help="The teacher's name at its server.")] = None,
    vram: Annotated[
        float | None,
        typer.Option(metavar="GIB", min=1, max=10**6, help="Plan for a card of that size.  [default: what is here]"),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The recipe to write.")] = Path("recipe.yaml"),
) -> None:
    """Write a commented recipe for your own questions; asks for what is not given."""
    from mbt_lite.look.init import EMBEDDED_STUDENT, TEACHERS, Wanted, write_recipe

    data = data or _ask("file of questions (JSONL, JSON, CSV, TSV, Parquet)", "--data", None)
    student = student or _ask("student", "--student", EMBEDDED_STUDENT)
    teacher = teacher or _ask(f"teacher ({', '.join(TEACHERS)})", "--teacher", "embedded")
    if teacher in TEACHERS and teacher != "embedded":
        teacher_model = teacher_model or _ask("model of the teacher", "--teacher-model", None)
    for line in write_recipe(Wanted(data, dev, student, teacher, teacher_model, vram, out)):
        say(line)


def recipes(
    copied: Annotated[
        str | None, typer.Argument(metavar="[copy NAME]", help="Copy one instead of listing them.", show_default=False)
    ] = None,
    name: Annotated[str | None, typer.Argument(metavar="", hidden=True)] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where to copy it.  [default: here]")] = Path(),
) -> None:
    """List the shipped recipes, or copy one to change it."""
    if copied is None:
        known = shipped.recipes()
        width = max(map(len, known))
        for one, path in known.items():
            say(f"{one:<{width}}  {shipped.purpose(path)}")
        return
    if copied != "copy" or name is None:
        raise DataError(f"recipes: not understood (got {copied}); write `mbt-lite recipes copy NAME`")
    say(f"{shipped.copy(name, out)}: written; `mbt-lite schema` tells every key")


def _ask(what: str, option: str, default: str | None) -> str:
    """Ask on a terminal; elsewhere take the default, or say which option is missing."""
    if sys.stdin.isatty():
        answer: str = typer.prompt(what, default=default)
        return answer
    if default is None:
        raise DataError(f"init: no {what} (nobody is there to ask); give {option}")
    return default


def score(
    predictions: Annotated[Path, typer.Argument(metavar="PREDICTIONS", help="JSONL, or an official answer file.")],
    questions: Annotated[Path, typer.Option(metavar="FILE", help="The questions they answer, with their golds.")],
    layout: Annotated[str, typer.Option(help="auto, or the layout's name, as in a recipe.")] = "auto",
    aliases: Annotated[Path | None, typer.Option(metavar="FILE", help="2Wiki's id_aliases.json.")] = None,
    skip_missing: Annotated[bool, typer.Option("--skip-missing", help="Leave unanswered questions out.")] = False,
    prefilled_think: Annotated[
        bool, typer.Option("--prefilled-think", help="Texts begin inside the trace: the template opened <think>.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Score predictions made elsewhere."""
    from mbt_lite.score import report_lines, score_file

    scored = score_file(
        predictions, questions, layout=layout, aliases=aliases, skip_missing=skip_missing,
        prefilled_think=prefilled_think,
    )  # fmt: skip
    say(json.dumps(scored, indent=2) if as_json else "\n".join(report_lines(scored)))


def schema() -> None:
    """Print the JSON Schema of a recipe, for editors."""
    from mbt_lite.recipe import json_schema

    say(json.dumps(json_schema(), indent=2))


def teacher(
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="The port to listen on.", min=0, max=65535)] = 8000,
) -> None:
    """Serve the scripted teacher with the OpenAI chat schema until interrupted."""
    importlib.import_module("mbt_lite.scripted.server").serve_forever(host, port)


DATA_COMMANDS = (check, show)
COMMANDS = (init, recipes, score, schema, teacher)
