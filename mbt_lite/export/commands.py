"""The commands for what leaves the house: `export` and `push`. Plain functions: the command line makes them its own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Annotated

import typer

from mbt_lite.export import Base, Form, GgufType, Order, Stage, What
from mbt_lite.screen import say

Run = Annotated[Path, typer.Argument(metavar="RUN", help="The run folder, such as runs/demo.")]


def export(
    run_folder: Run,
    form: Annotated[
        Form, typer.Option("--format", help="A peft folder, 16-bit weights, or a file for llama.cpp and Ollama.")
    ],
    stage: Annotated[Stage | None, typer.Option(help="Whose adapter.  [default: the newest]")] = None,
    base: Annotated[
        Base | None, typer.Option(help="Add it to the rounded weights it was trained on, or to their 16-bit original.")
    ] = None,
    gguf_type: Annotated[GgufType, typer.Option(help="How a GGUF holds its weights.")] = "f16",
    verify: Annotated[
        int, typer.Option(metavar="N", min=0, help="Answer N questions of eval with what was written.")
    ] = 24,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to.  [default: a folder in RUN/export]")
    ] = None,
    converter: Annotated[
        Path | None, typer.Option(metavar="FILE", help="llama.cpp's convert_hf_to_gguf.py, if it is not found.")
    ] = None,
) -> None:
    """Write a run's adapter as a folder that other tools load."""
    from mbt_lite.console import Screen

    order = Order(form, stage, base, gguf_type, verify, converter, out)
    exporter = importlib.import_module("mbt_lite.export.run")
    say(f"export: {exporter.export(run_folder, order, Screen())}")


def push(
    run_folder: Run,
    what: Annotated[What, typer.Option(help="An export becomes a model, traces a dataset, the report a space.")],
    to: Annotated[str, typer.Option(metavar="NAME", help="The repository on the hub: owner/name, or a name of yours.")],
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="The export, where it is not in RUN/export.")
    ] = None,
    licence: Annotated[
        str | None, typer.Option("--license", metavar="ID", help="The questions' licence, where it is not known.")
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everyone see it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the files, show the card, send nothing.")] = False,
) -> None:
    """Put an export, the traces or the report on the Hugging Face hub, with a card."""
    sender = importlib.import_module("mbt_lite.export.push")
    for line in sender.push(run_folder, what, to, folder=folder, licence=licence, public=public, dry_run=dry_run):
        say(line)


COMMANDS = (export, push)
