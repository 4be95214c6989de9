"""The plan of a recipe: memory by stage, phase and cause, disk, downloads, teacher requests."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mbt_lite.architecture.families import EMBEDDED_PREFIX, RANDOM_PREFIX
from mbt_lite.plan.phases import Phase, Setup
from mbt_lite.plan.stages import Lengths, merge_phase, phases_of
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.plan.target import Target, make_setup
from mbt_lite.plan.workload import Workload, read_workload
from mbt_lite.recipe.schema import Recipe
from mbt_lite.traces.kinds import kind_named

# Two checkpoints are kept, and the next is written before the older goes.
_CHECKPOINTS = 3
_TRAINED_STAGES = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Plan:
    """What a recipe needs on a target. `disk` is bytes by what they are for."""

    setup: Setup
    target: Target
    workload: Workload
    stages: Mapping[str, list[Phase]]
    merge: Phase
    disk: Mapping[str, int]
    requests: Mapping[str, int] | None

    @property
    def peak(self) -> tuple[str, Phase]:
        """The stage and the phase that need most."""
        return max(
            ((stage, one) for stage, phases in self.stages.items() for one in phases), key=lambda pair: pair[1].bytes
        )

    @property
    def margin(self) -> int:
        """Bytes that are left at the peak; negative: it does not fit."""
        return self.target.usable - self.peak[1].bytes


def make_plan(recipe: Recipe, target: Target, run_folder: Path) -> Plan:
    """Plan a recipe from its data and its student's config.json; loads nothing.

    Raises ModelError if the student's numbers cannot be had, DataError for a question file with faults.
    """
    architecture = read_architecture(recipe.model.name)
    return plan_with(recipe, make_setup(recipe, architecture, target), target, read_workload(recipe, run_folder))


def plan_with(recipe: Recipe, setup: Setup, target: Target, workload: Workload) -> Plan:
    """Plan with what was read already; a recipe whose limits are lower now has shorter texts."""
    kind, count = kind_named(recipe.gen.kind), workload.n_questions
    requests = None if count is None else kind.count_requests(recipe.gen, count)
    read, most = workload.lengths, recipe.data.max_prompt_tokens
    lengths = Lengths(min(read.prompt, most), min(read.row, recipe.sft.max_sequence_tokens), min(read.in_eval, most))
    workload = dataclasses.replace(workload, lengths=lengths)
    stages = phases_of(recipe, setup, lengths)
    return Plan(setup, target, workload, stages, merge_phase(setup), _disk(recipe, setup), requests)


def _disk(recipe: Recipe, setup: Setup) -> dict[str, int]:
    """Give the large files: the student's 16-bit weights, checkpoints of both training stages, a merged model."""
    student = 2 * setup.architecture.parameters
    adapter = 4 * setup.architecture.lora_parameters(setup.rank)
    name = recipe.model.name
    where = {
        "student (cache)": name.startswith((EMBEDDED_PREFIX, RANDOM_PREFIX)),
        "student": Path(name).is_dir(),
        "student (download)": True,
    }
    return {
        next(what for what, holds in where.items() if holds): student,
        # adapter, and two moments of the optimizer
        "checkpoints": _TRAINED_STAGES * _CHECKPOINTS * 3 * adapter,
        "adapters": _TRAINED_STAGES * adapter,
        "merged export": student,
    }


def to_row(plan: Plan) -> dict[str, Any]:
    """Give the plan as plain data: bytes and counts."""
    stage, peak = plan.peak
    return {
        "target": dataclasses.asdict(plan.target),
        "setup": dataclasses.asdict(plan.setup),
        "lengths": dataclasses.asdict(plan.workload.lengths),
        "notes": list(plan.workload.notes),
        "stages": {
            name: [{"phase": one.name, "bytes": one.bytes, "causes": dict(one.causes)} for one in phases]
            for name, phases in plan.stages.items()
        },
        "merge": {"bytes": plan.merge.bytes, "causes": dict(plan.merge.causes)},
        "peak": {"stage": stage, "phase": peak.name, "bytes": peak.bytes},
        "margin_bytes": plan.margin,
        "disk": dict(plan.disk),
        "teacher_requests": None if plan.requests is None else dict(plan.requests),
    }
