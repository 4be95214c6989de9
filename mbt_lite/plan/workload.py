"""How long prompts and rows are: counted in the recipe's own data with the student's tokenizer, where both are here.

Data of a hub are not fetched for a plan, and without a tokenizer there are only characters to count: then the recipe's
limits are planned for, and what is said about lengths is called an estimate, or nothing is said.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

from mbt_lite.data.hub import PREFIX as HUB
from mbt_lite.data.questions import read_questions
from mbt_lite.endpoint.budget import estimate_prompt_tokens
from mbt_lite.files import read_jsonl
from mbt_lite.methods import choose_method
from mbt_lite.methods.method import Ask
from mbt_lite.plan.stages import Lengths
from mbt_lite.plan.student_files import CountTokens, read_token_counter
from mbt_lite.prompts import meta_messages, student_messages
from mbt_lite.recipe.schema import Questions, Recipe
from mbt_lite.records import Message

# Counting is what takes time: about a second for so many prompts of 1,500 tokens.
_MOST_COUNTED = 400
# Of so many traces the prompt is counted by itself as well, for the length of the completion.
_MOST_COMPARED = 50


TRAIN_PROMPTS, ROWS = "train prompts", "sft rows"


@dataclasses.dataclass(frozen=True, slots=True)
class Counted:
    """Token counts of some texts; `is_estimate`: by characters; `of` is how many there are in all."""

    what: str
    tokens: tuple[int, ...]
    of: int
    is_estimate: bool

    def quantile(self, share: float) -> int:
        """Give the smallest count that so many of the texts do not exceed."""
        ordered = sorted(self.tokens)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    @property
    def mean(self) -> float:
        """The mean of the texts that were counted."""
        return sum(self.tokens) / len(self.tokens)

    @property
    def is_complete(self) -> bool:
        """Whether the longest text is known for sure."""
        return not self.is_estimate and len(self.tokens) == self.of


@dataclasses.dataclass(frozen=True, slots=True)
class Workload:
    """What the plan knows of the data: counts, the lengths it plans for, the number of questions if known.

    `completion_tokens` is the mean length of the completions of traces; None before `gen`.
    """

    counted: tuple[Counted, ...]
    lengths: Lengths
    n_questions: int | None
    n_dev_questions: int | None
    completion_tokens: float | None
    notes: tuple[str, ...]

    def counts_of(self, what: str) -> Counted | None:
        """Give the counts of one kind of text; None where it was not counted."""
        return next((counted for counted in self.counted if counted.what == what), None)


def read_workload(recipe: Recipe, run_folder: Path) -> Workload:
    """Count prompts of the training and dev questions, and the rows of traces that gen has written already."""
    count = read_token_counter(recipe.model.name)
    notes: list[str] = []
    # the last prompt that a method asks is the longest
    ask, seed = choose_method(recipe.grpo).asks[-1], recipe.data.seed
    train, n_questions = _count_questions(TRAIN_PROMPTS, recipe.data.train, seed, ask, count, notes)
    dev, n_dev_questions = _count_questions("dev prompts", recipe.data.dev, seed, student_messages, count, notes)
    exam, _ = _count_questions("eval prompts", recipe.data.dev, seed, _asked_in_eval(recipe), count, notes)
    rows, completion_tokens = _count_rows(run_folder / "gen" / "traces.jsonl", count)
    prompts = [counted for counted in (train, dev) if counted is not None]
    if prompts and count is None:
        notes.append(f"{recipe.model.name}: no tokenizer on this disk, so tokens are estimated by characters")
    lengths = Lengths(
        _longest(prompts if len(prompts) == 2 else [], recipe.data.max_prompt_tokens),
        _longest([rows] if rows else [], recipe.sft.max_sequence_tokens),
        _longest([exam] if exam else [], recipe.data.max_prompt_tokens),
    )
    return Workload(
        counted=(*prompts, *([rows] if rows else [])),
        lengths=lengths,
        n_questions=n_questions,
        n_dev_questions=n_dev_questions,
        completion_tokens=completion_tokens,
        notes=tuple(dict.fromkeys(notes)),
    )


def _asked_in_eval(recipe: Recipe) -> Ask:
    """Give the longest prompt that eval has for a question: of the variants, and that of a forecast is the longer."""
    metacognitive = any(variant.is_metacognitive for variant in recipe.eval.full_variants)
    messages = meta_messages if recipe.eval.foresight else student_messages
    return functools.partial(messages, metacognitive=metacognitive)


def _longest(counted: Sequence[Counted], limit: int) -> int:
    """Give the longest text, never more than the limit; the limit where the longest is not known."""
    if not counted or not all(one.is_complete for one in counted):
        return limit
    return min(limit, max(max(one.tokens) for one in counted))


def _count_questions(
    what: str, questions: Questions, seed: int, ask: Ask, count: CountTokens | None, notes: list[str]
) -> tuple[Counted | None, int | None]:
    if questions.path.startswith(HUB):
        notes.append(f"{questions.path}: not fetched for a plan, so its prompts are not counted")
        return None, questions.limit
    found = read_questions(questions, seed)
    return _counted(what, [ask(question) for question in found], count), len(found)


def _count_rows(traces: Path, count: CountTokens | None) -> tuple[Counted | None, float | None]:
    """Count the rows of sft: the prompt, the completion as one more message, its end; and completions, on average."""
    rows = read_jsonl(traces, prompt=list, completion=list)
    if not rows:
        return None, None
    some = rows[:: -(-len(rows) // _MOST_COMPARED)]
    whole = _tokens([[*row["prompt"], *row["completion"]] for row in some], count)
    prompts = _tokens([row["prompt"] for row in some], count)
    counted = _counted(ROWS, [[*row["prompt"], *row["completion"]] for row in rows], count)
    return counted, (sum(whole) - sum(prompts)) / len(some)


def _counted(what: str, conversations: Sequence[Sequence[Message]], count: CountTokens | None) -> Counted:
    step = -(-len(conversations) // _MOST_COUNTED)
    tokens = _tokens(conversations[::step], count)
    return Counted(what, tuple(tokens), len(conversations), count is None)


def _tokens(conversations: Sequence[Sequence[Message]], count: CountTokens | None) -> list[int]:
    return count(conversations) if count else [estimate_prompt_tokens(messages) for messages in conversations]
