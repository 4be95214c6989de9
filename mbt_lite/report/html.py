"""The self-contained page: one file without a network, for light and dark, mouse and keyboard, wide and small screens.

Plotting library, charts and traces travel packed (pack.py); the page's policy runs only the two scripts whose hashes it
names and loads nothing, so that text of a model stays text whatever it holds.
"""

from __future__ import annotations

import base64
import datetime
import functools
import hashlib
import importlib.util
import json
from collections.abc import Iterable
from importlib.resources import files
from pathlib import Path
from typing import Any

import mbt_lite
from mbt_lite.errors import RunError
from mbt_lite.files import write_text
from mbt_lite.report import table
from mbt_lite.report.bars import PHASE_NAMES, accuracy_by_kind, phases
from mbt_lite.report.charts import Plot, write_images
from mbt_lite.report.comparisons import COLUMNS, NOTE, comparisons, uncompared
from mbt_lite.report.contents import OUTCOMES, Report, Run
from mbt_lite.report.foresight import reliability
from mbt_lite.report.pack import pack_traces, packed
from mbt_lite.report.palette import page_css, variant_colours
from mbt_lite.report.plane import thinking_plane
from mbt_lite.report.plots import accuracy_against_tokens, failures, lengths
from mbt_lite.report.reliability import confidence_plots
from mbt_lite.report.training import training_plots
from mbt_lite.report.verdict import verdicts
from mbt_lite.run_dir import flatten

# the plots beside the verdict: how many answers are right at what length, and how the others fail
LEAD = 2
PACKAGES_SHOWN = ("mbt-lite", "torch", "transformers", "trl", "peft", "unsloth")


def write_report(path: Path, report: Report, written_at: datetime.datetime) -> None:
    """Write the page as a whole file, and its plots as SVG and PNG into the folder `<page's name>-plots` beside it.

    Raises RunError where the plotting library is not installed or `path` is a folder.
    """
    if importlib.util.find_spec("altair") is None or importlib.util.find_spec("vl_convert") is None:
        raise RunError("report: altair or vl-convert-python is not installed; `pip install 'mbt-lite[report]'`")
    if path.is_dir():
        raise RunError(f"{path}: is a folder; name the page's file, such as {path / 'report.html'}")
    plots = all_plots(report)
    write_text(path, render(report, plots, written_at))
    write_images(path.with_name(f"{path.stem}-plots"), plots)


def all_plots(report: Report) -> list[Plot]:
    """Give the plots in the order of the page."""
    return [
        accuracy_against_tokens(report),
        *failures(report),
        thinking_plane(report),
        phases(report),
        *accuracy_by_kind(report),
        lengths(report),
        *training_plots(report),
        *reliability(report),
        *confidence_plots(report),
    ]


def render(report: Report, plots: Iterable[Plot], written_at: datetime.datetime) -> str:
    """Give the page as HTML."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    library, packed_library = _library()
    javascript = _file("charts.js") + _file("traces.js")
    shown = list(plots)
    return environment.from_string(_file("report.html")).render(
        report=report,
        version=mbt_lite.__version__,
        written_at=f"{written_at:%Y-%m-%d %H:%M %Z}".strip(),
        facts={run.name: _facts(run) for run in report.runs},
        notices=[note for run in report.runs for note in _notices(run)],
        css=page_css() + "\n" + _file("report.css"),
        script_hashes=" ".join(map(_script_hash, (javascript, library))),
        colours=variant_colours(list(dict.fromkeys(series.variant for series in report.series))),
        verdicts=verdicts(report),
        groups=_groups(report),
        remarks=table.remarks(report.metrics),
        lead=[plot for plot in shown if plot.spec][:LEAD],
        plots=shown,
        comparisons=comparisons(report),
        compared=[*(label for _, label, _ in COLUMNS), "won, lost"],
        comparison_note=NOTE,
        uncompared=uncompared(report),
        outcomes=OUTCOMES,
        phases=PHASE_NAMES,
        phase_lines=table.phase_lines(report.metrics, judged=False),
        differing=_differing(report.runs),
        recipes={run.name: json.dumps(run.recipe, indent=2, ensure_ascii=False) for run in report.runs},
        library=packed_library,
        packed_plots=packed(json.dumps({plot.key: _drawn(plot) for plot in shown if plot.spec})),
        packed_traces=pack_traces(report),
        javascript=javascript,
    )


@functools.cache
def _library() -> tuple[str, str]:
    """Give the plotting library as one script, and packed: it takes a second to build and never changes."""
    import vl_convert

    script = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script, packed(script)


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _script_hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def _drawn(plot: Plot) -> dict[str, Any]:
    return {"spec": plot.spec, "columns": plot.columns, "margin": plot.margin}


def _groups(report: Report) -> dict[str, list[table.Row]]:
    """Give the table's rows by what they are measures of."""
    rows = table.rows(report.metrics)
    found = {group: [row for row in rows if row.group == group] for group in table.GROUPS}
    return {group: ones for group, ones in found.items() if ones}


def _facts(run: Run) -> list[str]:
    """Give the run's line under the title: who answered what, with which versions."""
    versions = [
        f"{name} {run.environment['packages'][name]}" for name in PACKAGES_SHOWN if name in run.environment["packages"]
    ]
    return [
        f"student {run.recipe['model']['name']}",
        f"questions {run.recipe['data']['dev']['path']} (n={len(run.questions)})",
        f"Python {run.environment['python']}",
        *versions,
        *run.peaks,
        *run.saved,
    ]  # fmt: skip


def _notices(run: Run) -> list[str]:
    """Say who wrote the run's training traces and who judged: rules prove the loop, not the method."""
    judged = [metrics["judged"] for metrics in run.metrics.values() if metrics.get("judged")]
    by_rules = f"Scripted judge: the judged numbers of {run.name} come from rules, not from a language model."
    scripted = [by_rules] if any(one["scripted"] for one in judged) else []
    return [_taught(run), *scripted, *(f"{run.name}, {line}." for line in (*run.servers, *run.warnings))]


def _taught(run: Run) -> str:
    who = run.teachers
    if not who.n_traces:
        return f"{run.name} has no training traces (gen/traces.jsonl is not there)."
    if not who.n_scripted:
        return f"{run.name} has {who.n_traces} training traces by {', '.join(who.names)}."
    return (
        f"Scripted teacher: {who.n_scripted} of the {who.n_traces} training traces of {run.name} were written by the "
        "rule-based teacher, not by a language model. The run shows that the loop works, not how good a real teacher's "
        "traces are."
    )


def _differing(runs: Iterable[Run]) -> dict[str, list[str]]:
    """Give the recipe keys in which the runs differ, with each run's value."""
    recipes = [flatten(run.recipe) for run in runs]
    keys = dict.fromkeys(key for recipe in recipes for key in recipe)
    columns = {key: [json.dumps(recipe[key]) if key in recipe else "-" for recipe in recipes] for key in keys}
    return {key: values for key, values in columns.items() if len(set(values)) > 1}
