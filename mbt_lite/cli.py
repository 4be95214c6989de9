"""The command line: each command loads the recipe, opens the run folder and calls a stage.

Exit codes: 0 done; 2 the user's mistake, told in one line (a recipe's problems: one line each); 1 a bug, with its
traceback; 130 interrupted by Ctrl-C or SIGTERM, with everything finished kept. Commands import what they need when they
run, so that `--help` and usage errors answer at once.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import json
import os
import signal
import sys
import traceback
import webbrowser
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

import mbt_lite
from mbt_lite.bench import commands as bench_commands
from mbt_lite.errors import MbtError, machine_line
from mbt_lite.export import commands as export_commands
from mbt_lite.launch import ProcessEndedError, check_can_share, read_launch, run_alone
from mbt_lite.look import commands as other_commands
from mbt_lite.screen import lose_no_run, say
from mbt_lite.shipped import recipe_file
from mbt_lite.student.freed_memory import let_go
from mbt_lite.student.libraries import prepare

if TYPE_CHECKING:
    from mbt_lite.recipe.schema import Recipe
    from mbt_lite.run_dir import RunDir

INTERRUPTED = "interrupted; everything finished so far is kept: run the same command to go on"

_RecipeFile = Annotated[
    Path,
    typer.Argument(metavar="RECIPE", help="The recipe file, or a shipped one's name, as demo.", callback=recipe_file),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override one key; may be repeated.")
]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="The run folder.  [default: runs/<recipe's name>]")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be done, write nothing.")]
_Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Do it anew; results so far, and those built on them, move to replaced/.")
]

_Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]

app = typer.Typer(
    help="Teach a small language model to steer its own reasoning, on one GPU: gen, sft, grpo, eval.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@contextlib.contextmanager
def _exit_codes() -> Iterator[None]:
    """Turn how a command ends into what the user sees; typer itself would hide an EOFError's traceback."""
    try:
        yield
    except ProcessEndedError as error:
        # it has said why
        raise typer.Exit(error.code) from error
    except MbtError as error:
        say(error, error=True)
        raise typer.Exit(2) from error
    except KeyboardInterrupt as error:
        say(INTERRUPTED, error=True)
        raise typer.Exit(130) from error
    except BrokenPipeError as error:
        # whoever read our output has left (`| head`): nothing more can be said there, at exit neither
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        raise typer.Exit(2) from error
    except Exception as error:
        line = machine_line(error)
        if line is not None:
            say(line, error=True)
            raise typer.Exit(2) from error
        traceback.print_exc()
        raise typer.Exit(1) from error


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False) -> None:
    """Options of the program itself."""
    if version:
        say(f"mbt-lite {mbt_lite.__version__}")
        raise typer.Exit


def _stage_command(name: str) -> Callable[..., None]:
    """Give the command that runs one stage, or all for `run`."""

    @_exit_codes()
    def command(
        recipe: _RecipeFile,
        settings: Settings = None,
        out: Out = None,
        dry_run: _DryRun = False,
        overwrite: _Overwrite = False,
    ) -> None:
        _run_stages(name, recipe, settings or [], out, dry_run, overwrite)

    return command


@_exit_codes()
def _eval(
    recipe: _RecipeFile,
    settings: Settings = None,
    out: Out = None,
    dry_run: _DryRun = False,
    overwrite: _Overwrite = False,
    judge_repeat: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Ask the judge N times: its agreement with itself.")
    ] = None,
) -> None:
    repeats = [] if judge_repeat is None else [f"judge.repeats={judge_repeat}"]
    _run_stages("eval", recipe, [*(settings or []), *repeats], out, dry_run, overwrite)


for _name, _help in {
    "gen": "Write traces: the student drafts, the teacher rewrites.",
    "sft": "Train an adapter on the traces.",
    "grpo": "Train the adapter further by reward.",
    "eval": "Score the variants on held-out questions and write the report.",
    "run": "Run all stages in order, skipping those that are done.",
}.items():
    app.command(_name, help=_help)(_eval if _name == "eval" else _stage_command(_name))


@app.command()
@_exit_codes()
def chat(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder, such as runs/demo.")],
    variants: Annotated[
        list[str] | None,
        typer.Option(
            "--variant", metavar="NAME", help="A variant of eval answers; may be repeated.  [default: base, the newest]"
        ),
    ] = None,
    base_url: Annotated[str | None, typer.Option(metavar="URL", help="A server of an export answers, too.")] = None,
    model: Annotated[str | None, typer.Option(help="Its name there.  [default: the first one listed]")] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Documents, one a line, or a file of questions.")
    ] = None,
    question: Annotated[str | None, typer.Option(help="Ask this, or the question of this number, and end.")] = None,
) -> None:
    """Ask variants of a run side by side, and watch them write."""
    talk = importlib.import_module("mbt_lite.chat.command")
    talk.chat(run_folder, variants or [], base_url, model, file, question)


@app.command()
@_exit_codes()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Run folders with scored variants.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The page; its plots go beside it.")] = Path("report.html"),
    whole: Annotated[bool, typer.Option("--all", help="Print the rows of traces and judge too.")] = False,
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
) -> None:
    """Compare runs by a verdict, a table, a page and plots."""
    from mbt_lite.console import Screen
    from mbt_lite.report.contents import read_report
    from mbt_lite.report.html import write_report
    from mbt_lite.report.table import ComparisonTable
    from mbt_lite.report.verdict import verdicts

    found = read_report(runs)
    Screen().print(ComparisonTable(found.metrics, whole))
    for line in verdicts(found):
        say(line)
    write_report(out, found, datetime.datetime.now(datetime.UTC))
    say(f"report: {out}")
    if open_:
        webbrowser.open(out.resolve().as_uri())


@app.command()
@_exit_codes()
def agree(
    recipe: _RecipeFile,
    settings: Settings = None,
    out: Out = None,
    labels: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Labelled traces.  [default: our own, see judge/labelled.py]")
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", min=1, help="Ask about N of them, spread over all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Hold the recipe's judge against labelled traces: verdicts by try, and agreement."""
    from mbt_lite.judge.labelled import agreement_lines
    from mbt_lite.judge.panel import hold_judge_against_labels
    from mbt_lite.recipe import load_recipe
    from mbt_lite.run_dir import RunDir

    folder = _run_folder(recipe, out) / "agreement"
    RunDir(folder.parent).refuse_links_out(folder)
    judge_of = load_recipe(recipe, settings or [])
    held = hold_judge_against_labels(judge_of, labels, folder, limit=limit, quiet=as_json)
    say(json.dumps(held, indent=2) if as_json else "\n".join(agreement_lines(held)))


@app.command()
@_exit_codes()
def plan(
    recipe: _RecipeFile,
    settings: Settings = None,
    out: Out = None,
    vram: Annotated[
        float | None, typer.Option(metavar="GIB", help="Plan for a card of this size.", min=1, max=10**6)
    ] = None,
    fit: Annotated[bool, typer.Option("--fit", help="Propose the smallest change of settings that fits.")] = False,
    measure: Annotated[bool, typer.Option("--measure", help="Run two steps of sft and grpo here, too.")] = False,
    simulate: Annotated[bool, typer.Option("--simulate", help="Run them without data, as on a card.")] = False,
    as_json: _Json = False,
) -> None:
    """Say whether it will fit, before anything loads."""
    from mbt_lite.plan.command import show_plan
    from mbt_lite.recipe import load_recipe

    loaded, path = load_recipe(recipe, settings or []), _run_folder(recipe, out)
    show_plan(loaded, path, vram_gib=vram, fit=fit, measured=measure, simulated=simulate, as_json=as_json)


@app.command()
@_exit_codes()
def doctor(
    recipe: Annotated[Path | None, typer.Argument(help="Check what this recipe needs, too.")] = None,
    settings: Settings = None,
    out: Out = None,
    as_json: _Json = False,
) -> None:
    """Say what is wrong on this machine, and the cure.

    Exit code 2 if something is to be mended.
    """
    from mbt_lite.doctor.command import report
    from mbt_lite.recipe import load_recipe

    loaded = None if recipe is None else load_recipe(recipe_file(recipe), settings or [])
    report(loaded, Path("runs") if recipe is None else _run_folder(recipe, out), as_json=as_json)


def _register(group: typer.Typer, commands: Iterable[Callable[..., None]]) -> None:
    for command in commands:
        group.command()(_exit_codes()(command))


_register(app, (*export_commands.COMMANDS, *other_commands.COMMANDS))
for _name, _help, _commands in (
    ("bench", "Measure how fast the parts are on this machine.", bench_commands.COMMANDS),
    ("data", "Look at a file of questions before a run.", other_commands.DATA_COMMANDS),
):
    _group = typer.Typer(help=_help, no_args_is_help=True, rich_markup_mode=None)
    _register(_group, _commands)
    app.add_typer(_group, name=_name)


def _run_stages(
    command: str, recipe_file: Path, settings: list[str], out: Path | None, dry_run: bool, overwrite: bool
) -> None:
    """Run or plan one stage of a recipe, or all for `run`, in its run folder."""
    from mbt_lite.recipe import load_recipe
    from mbt_lite.run_dir import STAGES, RunDir

    stages = STAGES if command == "run" else (command,)
    launch = read_launch()
    check_can_share(stages, launch)
    recipe = load_recipe(recipe_file, settings)
    backends = importlib.import_module("mbt_lite.student.backend")
    backends.refuse_unseen_card()
    path = _run_folder(recipe_file, out)
    redo = stages[0] if overwrite else None
    if dry_run:
        _print_plan(stages, recipe, path, redo)
        return
    from mbt_lite.console import Screen

    if command == "run" and launch.leads:
        # what speaks against a later stage is said before an earlier one is paid for
        list(_plans(stages, recipe, RunDir(path)))
    run_dir = _open(recipe, path, redo) if launch.leads else RunDir(path, leads=False)
    if launch.processes > 1:
        importlib.import_module("mbt_lite.training.processes").wait_for_all()
    console = Screen(quiet=not launch.leads)
    alone = backends.backends_differ(recipe, stages)
    for stage in stages:
        if alone:
            overrides = [word for setting in settings for word in ("--set", setting)]
            run_alone([stage, str(recipe_file), "--out", str(path), *overrides])
        else:
            importlib.import_module(f"mbt_lite.stages.{stage}").run(recipe, run_dir, console)
            let_go()
    if len(stages) > 1:
        say(f"all stages are done: {path}")


def _run_folder(recipe_file: Path, out: Path | None) -> Path:
    return out if out is not None else Path("runs") / recipe_file.stem


def _open(recipe: Recipe, path: Path, redo: str | None) -> RunDir:
    """Open the run folder, setting aside the stages from `redo` on, once nothing speaks against it."""
    from mbt_lite.recipe import RENAMED, resolved, resumable_keys
    from mbt_lite.run_dir import STAGES, RunDir

    if redo is not None:
        RunDir.check(path, resolved(recipe), resumable_keys(), RENAMED, redo)
        old = RunDir(path)
        with contextlib.ExitStack() as locks:
            for stage in STAGES[STAGES.index(redo) :]:
                if old.has_begun(stage):
                    locks.enter_context(old.locked(stage))
            for moved in old.set_aside(redo):
                say(f"set aside: {moved}")
    return RunDir.open(path, resolved(recipe), resumable_keys(), RENAMED)


def _print_plan(stages: Sequence[str], recipe: Recipe, path: Path, redo: str | None) -> None:
    """Say what the stages would do."""
    from mbt_lite.recipe import RENAMED, resolved, resumable_keys, written
    from mbt_lite.run_dir import STAGES, RunDir, flatten

    RunDir.check(path, resolved(recipe), resumable_keys(), RENAMED, redo)
    run_dir = RunDir(path)
    say(f"run folder: {path}")
    for key, value in flatten(written(recipe)).items():
        say(f"{key}: {json.dumps(value)}")
    for stage in STAGES[STAGES.index(redo) :] if redo is not None else ():
        if run_dir.has_begun(stage):
            say(f"{stage}: would be set aside")
    for line in _plans(stages, recipe, run_dir):
        say(line)


def _plans(stages: Sequence[str], recipe: Recipe, run_dir: RunDir) -> Iterator[str]:
    for stage in stages:
        yield from importlib.import_module(f"mbt_lite.stages.{stage}").plan(recipe, run_dir)


def _interrupt(signal_number: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def main() -> None:
    """Run the command line; SIGTERM ends it as Ctrl-C does, with exit code 130."""
    signal.signal(signal.SIGTERM, _interrupt)
    lose_no_run()
    # before any command imports the libraries that these switches are for
    prepare()
    app(prog_name="mbt-lite")
