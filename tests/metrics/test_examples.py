"""The examples in the docstrings of text, rewards, metrics and the judge are run, so that they stay true."""

import doctest
import importlib

import pytest

MODULES = {
    "text.normalize": 2, "text.completion": 3, "text.paragraphs": 4, "text.overlap": 1, "text.names": 1,
    "text.numbers": 4, "text.confidence": 3,
    "rewards.mentions": 4, "rewards.terms": 8, "rewards.law": 2, "rewards.meta": 3, "rewards.gating": 4,
    "metrics.answers": 8, "metrics.traces": 7, "metrics.efficiency": 3, "metrics.intervals": 2,
    "metrics.paired": 1, "metrics.repeated": 1, "metrics.phase_reader": 1, "metrics.breakdown": 1,
    "metrics.calibration": 6, "metrics.agreement": 1,
    "judge.subjects": 2, "judge.verdicts": 3, "judge.agreement": 1, "recipe.variants": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples_hold(name: str) -> None:
    module = importlib.import_module(f"mbt_lite.{name}")
    found = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    runner = doctest.DocTestRunner(verbose=False)
    assert sum(runner.run(test).failed for test in found) == 0
    assert len(found) == MODULES[name]
