"""Executed rows: a plan, then the same steps with what each of them finds. The form is ours.

The values are the question's gold bridges and its answer, never guessed: they are put on the letters in every order,
and a plan is carried out only if the documents bear out exactly one, where some document holds each value together with
what its step goes out from. The answer may be among the letters' values if the last step chooses between several.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
import random
from collections.abc import Mapping, Sequence

from mbt_lite.prompts import completion_text
from mbt_lite.recipe.schema import Gen
from mbt_lite.records import Question, Trace
from mbt_lite.text.names import fold, has, plain_title, read_names
from mbt_lite.text.result_lines import StepLine, read_steps
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.checks import OPPOSITES, OTHER_TAGS, THINK_TAGS, Rules, holds, is_too_long
from mbt_lite.traces.comt import PLAN, letters_in, open_completion
from mbt_lite.traces.kind import Kind

# more have too many orders
_MOST_LETTERS = 6


@dataclasses.dataclass(frozen=True, slots=True)
class Rows:
    """Training rows, the executed ones behind their plans; how many there are; plans tried in vain, by reason."""

    traces: Sequence[Trace]
    executed: int = 0
    without: Mapping[str, int] = dataclasses.field(default_factory=dict)


def with_executed(kind: Kind, plans: Sequence[Trace], questions: Sequence[Question], gen: Gen, rules: Rules) -> Rows:
    """Give a share of the questions an executed row besides, chosen by `gen.seed` of those where it can be made."""
    if kind.carries_out is None:
        return Rows(plans)
    by_id, first = {question.question_id: question for question in questions}, dict[str, Trace]()
    for plan in plans:
        first.setdefault(plan.question_id, plan)
    wanted, rows, without = round(gen.executed_share * len(first)), dict[str, Trace](), collections.Counter[str]()
    for plan in random.Random(gen.seed).sample(list(first.values()), len(first)):
        if len(rows) == wanted:
            break
        row = _row(kind, plan, by_id[plan.question_id], rules)
        if isinstance(row, str):
            without[row] += 1
        else:
            rows[plan.trace_id] = row
    pairs = [(plan if gen.plan_rows else None, rows.get(plan.trace_id)) for plan in plans]
    return Rows([row for pair in pairs for row in pair if row is not None], len(rows), dict(without))


def _row(kind: Kind, plan: Trace, question: Question, rules: Rules) -> Trace | str:
    """Build the executed row of a plan, or say why there is none."""
    assert kind.carries_out is not None, kind.name
    lines = kind.carries_out(plan.text, question)
    if isinstance(lines, str):
        return lines
    executed = dataclasses.replace(kind, name=f"{kind.name}_executed", completion=completion_text, row_rule="closed")
    text = f"{PLAN}{plan.text}\n\n" + "\n".join(lines)
    if holds(text, (*THINK_TAGS, *OTHER_TAGS)) or rules.controls(text):
        return "holds tags"
    told = read_steps("\n".join(lines))
    if len(told) != len(lines) or any(step.is_plan or step.stated is not None for step in told):
        return "no line can tell its value"
    # as the row of a plan is counted
    rest = completion_text(text, question.answer).removeprefix(open_completion("", "").rstrip())
    if is_too_long(rest, question.answer, question, rules):
        return "too long for training"
    return build_trace(
        question,
        executed,
        text,
        rollout_index=plan.rollout_index,
        trace_index=plan.trace_index,
        teacher=plan.teacher,
        scripted=plan.scripted,
    )


def carry_out(plan: str, question: Question) -> list[str] | str:
    """Write the lines of a plan with what they find, or say why not.

    `plan` has passed its gate.
    """
    steps, values = read_steps(plan), list(question.bridges)
    if not values:
        return "no bridges"
    if not question.documents:
        return "no documents to hold the bridges against"
    if question.bridges_are_titles:
        values = [plain_title(value) for value in values]
    letters = [step.value for step in steps[:-1]]
    if len(letters_in(steps[-1].what, question, letters)) > 1 and len(letters) == len(values) + 1:
        values.append(question.answer)
    if len(letters) != len(values) or len(letters) > _MOST_LETTERS:
        return "other steps than bridges"
    shown = [fold(f"{document.title} {document.text}") for document in question.documents]
    orders = dict.fromkeys(itertools.permutations(values))
    ways = [way for order in orders if (way := _tell(steps, dict(zip(letters, order, strict=True)), question, shown))]
    if len(ways) != 1:
        return "the documents bear out no order" if not ways else "the documents bear out several orders"
    return ways[0]


def _tell(
    steps: Sequence[StepLine], values: Mapping[str, str], question: Question, shown: Sequence[str]
) -> list[str] | None:
    """Write the steps with some values for their letters; None if no document bears one of them out."""
    lines = []
    for number, step in enumerate(steps):
        what = step.what
        used = letters_in(what, question, [before.value for before in steps[:number]])
        for letter in reversed(used):
            what = what[: letter.start()] + values[letter[0]] + what[letter.end() :]
        found = [values[step.value]] if step.value in values else list(question.accepted)
        starts = [values[letter[0]] for letter in used] or read_names(step.what)
        if not any(_is_borne_out(fold(value), list(map(fold, starts)), shown) for value in found):
            return None
        lines.append(f"Step {step.number}: {what} -> {found[0]}")
    return lines


def _is_borne_out(value: str, starts: Sequence[str], shown: Sequence[str]) -> bool:
    """Tell whether some document holds a value together with one of what its step goes out from; yes and no follow."""
    return value in OPPOSITES or any(
        has(document, value) and (not starts or any(has(document, start) for start in starts)) for document in shown
    )
