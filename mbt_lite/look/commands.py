"""The commands of `mbt-lite data`. They are plain functions: the command line makes them its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


COMMANDS = (check, show)
