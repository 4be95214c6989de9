"""`mbt-lite plan`: read, plan, fit, measure, print."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mbt_lite.console import Screen
from mbt_lite.plan.fit import Change, fitting, with_settings
from mbt_lite.plan.hours import estimate_hours, hours_lines
from mbt_lite.plan.live_groups import live_lines
from mbt_lite.plan.make_plan import Plan, make_plan, plan_with, to_row
from mbt_lite.plan.measure import MEASURED, measure, simulate
from mbt_lite.plan.rates import read_rates
from mbt_lite.plan.table import closing, heading, stage_table
from mbt_lite.plan.target import choose_target, make_setup, read_card
from mbt_lite.recipe.schema import Recipe
from mbt_lite.screen import say


def show_plan(
    recipe: Recipe,
    run_folder: Path,
    *,
    vram_gib: float | None,
    fit: bool,
    measured: bool,
    simulated: bool,
    as_json: bool,
) -> None:
    """Print the plan of a recipe; with `measured`, run the phases of sft and grpo on the present device as well.

    With `simulated` they run on tensors without data, as on a card.

    `vram_gib` plans for a card of that size, and caps the card that is measured; a machine without a card measures its
    processor. With `fit` and one of these, what is planned, run and shown is the proposal.
    """
    target = choose_target(None if measured and read_card() is None else vram_gib)
    plan = make_plan(recipe, target, run_folder)

    def plan_of(changed: Recipe) -> Plan:
        return plan_with(changed, make_setup(changed, plan.setup.architecture, target), target, plan.workload)

    change = fitting(recipe, plan_of) if fit else None
    if (measured or simulated) and change:
        recipe = with_settings(recipe, change)
        plan = plan_of(recipe)
    lengths, peaks = plan.workload.lengths, {}
    if simulated:
        peaks["simulated"] = {stage: simulate(stage, recipe, lengths, plan.setup) for stage in MEASURED}
    if measured:
        peaks["measured"] = {stage: measure(stage, recipe, lengths, vram_gib) for stage in MEASURED}
    hours = estimate_hours(recipe, plan, read_rates(recipe, plan.setup, target, run_folder), run_folder)
    if as_json:
        row = to_row(plan) | {"hours": {stage: dataclasses.asdict(one) for stage, one in hours.items()}}
        say(
            json.dumps(
                row | {how: peaks.get(how) for how in ("measured", "simulated")} | ({"fit": change} if fit else {}),
                indent=2,
            )
        )
        return
    _print(plan, peaks)
    for line in hours_lines(hours, recipe, target.said):
        say(line)
    for line in live_lines(recipe.grpo, run_folder):
        say(line)
    if fit:
        for line in fit_lines(change):
            say(line)


def _print(plan: Plan, peaks: dict[str, dict[str, dict[str, int]]]) -> None:
    console = Screen()
    for line in heading(plan):
        say(line)
    for stage, phases in plan.stages.items():
        found = {how: stages[stage] for how, stages in peaks.items() if stage in stages}
        console.print(stage_table(stage, phases, found))
    for line in closing(plan):
        say(line)


def fit_lines(change: Change | None) -> Iterator[str]:
    """Say what `--fit` found, as overrides to type."""
    if change is None:
        yield "fit: no setting of this student fits; take a smaller student or a larger card"
    elif not change:
        yield "fit: fits as it is"
    else:
        yield "fit: " + " ".join(f"--set {key}={_value(value)}" for key, value in change.items())


def _value(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)
