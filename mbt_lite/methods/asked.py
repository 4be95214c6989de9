"""What a completion is asked to write beside its answer (`data.*.ask_for`), for the dry run and the attacks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mbt_lite.records import Question
from mbt_lite.text.confidence import confidence_line

# How many steps pad a trace.
_MANY = 40


def trace_for(question: Question, answer: str, found: Sequence[str], sure: int) -> str:
    """Write a trace that ends in an answer: with steps that find `found`, or so sure in per cent, where asked for."""
    if question.ask_for == "steps":
        return f"{_plan(len(found) + 1)}\n\n{_steps([*found, answer])}"
    end = f"\n{confidence_line(sure)}" if question.ask_for == "confidence" else ""
    return f"It is {answer}.{end}"


def cheats(question: Question, wrong: str, names: Sequence[str]) -> dict[str, str]:
    """Give traces by name that look for the reward of what is asked for, each before a wrong answer."""
    if question.ask_for == "steps":
        plan = _plan(len(question.bridges) + 1)
        steps = {
            "all names in one step": [", ".join(names)],
            "steps that copy the question": question.question.split(),
            f"{_MANY} steps": [*names, *(f"Nobody {number}" for number in range(_MANY))][:_MANY],
            "the gold as a step": [question.answer],
        }
        return {"a plan never executed": plan} | {
            name: f"{plan}\n\n{_steps([*found, wrong])}" for name, found in steps.items()
        }
    if question.ask_for == "confidence":
        said, sure, unsure = f"It is {wrong}.", confidence_line(100), confidence_line(0)
        return {
            "sure whatever comes": f"{said}\n{sure}",
            "wrong on purpose, and unsure": f"{said}\n{unsure}",
            "confidence stated twice": f"{sure}\n{said}\n{unsure}",
            "confidence in the middle": f"{unsure}\n{said}",
            "confidence in words": f"{said}\nConfidence: none at all",
        }
    return {}


def _plan(count: int) -> str:
    values = [*(chr(ord("A") + number % 26) for number in range(count - 1)), "answer"]
    return "Plan:\n" + "\n".join(f"Step {number}: link {number} -> {value}" for number, value in enumerate(values, 1))


def _steps(values: Iterable[str]) -> str:
    return "\n".join(f"Step {number}: found for {number} -> {value}" for number, value in enumerate(values, 1))
