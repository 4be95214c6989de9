"""The small form of the faults (see __init__.py)."""

import random

import pytest

from faults.__main__ import SMALL, run
from faults.inputs import break_recipes, fuzz


def test_broken_recipes_are_lines() -> None:
    assert break_recipes(SMALL["recipes"], random.Random(0)) == []


def test_fuzzed_inputs_are_read_or_refused_by_name() -> None:
    assert fuzz(SMALL["inputs"], random.Random(0)) == []


@pytest.mark.slow
def test_stages_survive_kills_full_disks_and_odd_replies() -> None:
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    assert run({kind: SMALL[kind] for kind in ("replies", "full disks", "damages", "kills")}, 0, print) == []
