"""`mbt-lite doctor`: all checks in order, a line each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

from mbt_lite.doctor.driver import check_driver
from mbt_lite.doctor.findings import Finding
from mbt_lite.doctor.libraries import check_libraries
from mbt_lite.doctor.machine import check_caches, check_machine, read_machine
from mbt_lite.doctor.services import check_services
from mbt_lite.doctor.versions import check_python, check_versions
from mbt_lite.errors import MbtError, RunError
from mbt_lite.plan.make_plan import Plan, make_plan
from mbt_lite.plan.target import choose_target
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import STAGES
from mbt_lite.screen import say


def examine(recipe: Recipe | None, run_folder: Path) -> Iterator[Finding]:
    """Run every check, those of a recipe only with one."""
    yield check_python()
    yield from check_versions()
    card, findings = check_driver()
    yield from findings
    yield from check_libraries(card)
    plan = None
    if recipe is not None:
        plan, problem = _plan(recipe, run_folder)
        if problem is not None:
            yield problem
        if plan is not None:
            chosen = (f"{stage} by {plan.setup.in_stage(stage).backend}" for stage in STAGES)
            yield Finding("backend", ", ".join(chosen))
    yield from check_machine(read_machine(run_folder), plan)
    yield from check_caches()
    if recipe is not None:
        yield from check_services(recipe)


def _plan(recipe: Recipe, run_folder: Path) -> tuple[Plan | None, Finding | None]:
    """Plan the recipe; what keeps it from being planned is a finding."""
    try:
        return make_plan(recipe, choose_target(None), run_folder), None
    except MbtError as error:
        said, _, cure = str(error).partition("; ")
        return None, Finding("plan", said, cure or "mend it, see `mbt-lite plan`")


def report(recipe: Recipe | None, run_folder: Path, *, as_json: bool) -> None:
    """Print the findings; RunError, and with it exit code 2, if there is a problem."""
    findings = []
    for finding in examine(recipe, run_folder):
        findings.append(finding)
        if not as_json:
            say(finding)
    if as_json:
        say(json.dumps([dataclasses.asdict(finding) for finding in findings], indent=2))
    problems = sum(finding.is_problem for finding in findings)
    if problems:
        raise RunError(f"doctor: {problems} of {len(findings)} checks found a problem; each line above has its cure")
