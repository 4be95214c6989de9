"""Completes the rounds of a strategy in this process; each completion is in a journal when it counts as made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from mbt_lite.endpoint.opening import Counting
from mbt_lite.files import Journal, read_jsonl
from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.records import (
    AnswerProbability,
    CallCompletion,
    Completion,
    Message,
    StepConfidences,
    from_row,
    to_row,
)
from mbt_lite.strategies.rounds import Answered, Key, Place, Prompt

# Completes prompts as `generation.generate` does: all of them, those that are wanted.
Generate = Callable[[Sequence[Sequence[Message]], Decoding, Collection[int]], Iterator[Rollout]]

R = TypeVar("R", AnswerProbability, StepConfidences)
# So far apart are the seeds of two rounds: batches of one round have seeds of their own in between.
ROUND_SEEDS = 1_000_000


# Makes a record of a completion, known by its key, of what its rollout alone can tell.
Note = Callable[[Key, Rollout], AnswerProbability | StepConfidences]


@dataclasses.dataclass(frozen=True)
class Beside:
    """A journal beside that of completions, with a record of each that its rollout alone can tell."""

    journal: Path
    note: Note

    def told(self) -> set[Key]:
        """Give the completions that have a record."""
        rows = read_jsonl(self.journal, question_id=str, rollout_index=int)
        return {(row["question_id"], row["rollout_index"]) for row in rows}


@dataclasses.dataclass
class LocalRounds:
    """The student in this process, which `open_student` loads when it is first needed.

    `decoding` samples but for what the strategy says. The journal of a strategy of one call holds its answers; each of
    `besides` has a record of every completion.
    """

    open_student: Callable[[], Generate]
    decoding: Decoding
    journal: Path
    is_one_call: bool
    what: str
    counting: Counting
    besides: Sequence[Beside] = ()

    def __call__(self, number: int, prompts: Sequence[Prompt]) -> Answered:
        """Complete what is missing; prompts that are to be sampled alike go together."""
        done = read_journal(self.journal, is_one_call=self.is_one_call)
        for beside in self.besides:
            told = beside.told()
            done = {place: one for place, one in done.items() if place.key in told}
        alike: dict[Decoding, list[Prompt]] = {}
        for prompt in prompts:
            alike.setdefault(self._decoding(number, prompt), []).append(prompt)
        missing = {decoding: _missing(group, done) for decoding, group in alike.items()}
        total = sum(len(wanted) * decoding.samples for decoding, wanted in missing.items())
        if total:
            generate = self.open_student()
            what = self.what if number == 0 else f"{self.what}, round {number + 1}"
            with (
                Journal(self.journal) as journal,
                self._note() as note,
                self.counting(what, total) as step,
            ):
                for decoding, wanted in missing.items():
                    group = alike[decoding]
                    # all prompts, so that batches are what they are in a run that never stopped
                    for rollout in generate([list(prompt.messages) for prompt in group], decoding, wanted):
                        place = group[rollout.prompt_index].places[rollout.sample_index]
                        if place not in done:
                            # first: a completion that is there has its number
                            note(place, rollout)
                            done[place] = completion_at(place, rollout, is_one_call=self.is_one_call)
                            journal.append(to_row(done[place]))
                        step()
        return Answered(done)

    @contextlib.contextmanager
    def _note(self) -> Iterator[Callable[[Place, Rollout], None]]:
        """Open the journals beside."""
        with contextlib.ExitStack() as stack:
            journals = [(stack.enter_context(Journal(one.journal)), one.note) for one in self.besides]

            def note(place: Place, rollout: Rollout) -> None:
                for journal, made in journals:
                    journal.append(to_row(made(place.key, rollout)))

            yield note

    def _decoding(self, number: int, prompt: Prompt) -> Decoding:
        return dataclasses.replace(
            self.decoding,
            samples=len(prompt.places),
            temperature=prompt.temperature,
            max_completion_tokens=prompt.max_completion_tokens,
            seed=self.decoding.seed + number * ROUND_SEEDS,
        )


def _missing(prompts: Sequence[Prompt], done: Collection[Place]) -> frozenset[int]:
    """Give the indices of the prompts that lack a completion."""
    return frozenset(index for index, prompt in enumerate(prompts) if any(place not in done for place in prompt.places))


def completion_at(place: Place, rollout: Rollout, *, is_one_call: bool) -> Completion:
    """Make the record of a rollout."""
    made = Completion(*place.key, rollout.text, rollout.finish_reason, rollout.prompt_tokens, len(rollout.token_ids))
    if is_one_call:
        return made
    return CallCompletion(**to_row(made), round=place.round, call=place.call, sample=place.sample)


def read_journal(path: Path, *, is_one_call: bool) -> dict[Place, Completion]:
    """Read a journal of completions by their places; a missing file has none."""
    rows = enumerate(read_jsonl(path), 1)
    if is_one_call:
        read = (from_row(Completion, row, f"{path}:{line}") for line, row in rows)
        return {Place(one.question_id, one.rollout_index): one for one in read}
    calls = (from_row(CallCompletion, row, f"{path}:{line}") for line, row in rows)
    return {Place(one.question_id, one.rollout_index, one.round, one.call, one.sample): one for one in calls}


def read_beside(path: Path, kind: type[R]) -> dict[Key, R]:
    """Read the records of a journal beside by question and index; a missing file has none."""
    rows = enumerate(read_jsonl(path), 1)
    read = (from_row(kind, row, f"{path}:{line}") for line, row in rows)
    return {(one.question_id, one.rollout_index): one for one in read}
