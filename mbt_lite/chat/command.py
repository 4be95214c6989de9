"""Command `chat`: documents, questions, answers side by side; each is kept in the run's `chat/answers.jsonl`."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Sequence
from pathlib import Path

from mbt_lite.chat import documents
from mbt_lite.chat.screen import Answer, answer_side_by_side, legend
from mbt_lite.chat.voices import Voice, choose_variants, local_voice, read_recipe, served_voice
from mbt_lite.console import Screen
from mbt_lite.errors import MbtError, RunError
from mbt_lite.files import Journal
from mbt_lite.metrics.phase_reader import PhaseReader, read_traces, reader_of_run, why_no_reader
from mbt_lite.prompts import student_messages
from mbt_lite.records import AskFor, Document, Question, to_row

# A terminal has room for so many beside each other.
_MOST_VOICES = 3
_HINT = "documents: a file, or paste them, one a line, `Title: text`; an empty line ends them. Ctrl-D leaves"


class Talk:
    """What is asked over at the moment: documents, or the questions of a file with theirs."""

    def __init__(self) -> None:
        self.documents: tuple[Document, ...] = ()
        self.questions: list[Question] = []

    def take(self, found: tuple[Document, ...] | list[Question]) -> None:
        """Take other documents, or other questions."""
        self.documents, self.questions = ((), found) if isinstance(found, list) else (found, [])

    def question(self, typed: str) -> Question:
        """Give the question that was typed, or the one of that number; RunError if there is none."""
        if not self.questions:
            return documents.asked(typed, self.documents)
        if not typed.isdecimal() or not 1 <= int(typed) <= len(self.questions):
            raise RunError(f"question: no such number (got {typed}); give one from 1 to {len(self.questions)}")
        return self.questions[int(typed) - 1]


@dataclasses.dataclass(frozen=True, slots=True)
class Round:
    """Who answers, what the run asks for, where it is shown and kept; without a reader phases have no colours."""

    run: Path
    console: Screen
    voices: Sequence[Voice]
    reader: PhaseReader | None
    ask_for: AskFor

    def answer(self, question: Question) -> None:
        """Let the voices answer, and keep what they wrote; KeyboardInterrupt after that if they were interrupted."""
        asked = f"{question.question} ({len(question.documents)} documents)"
        self.console.print(asked)
        messages = student_messages(dataclasses.replace(question, ask_for=self.ask_for))
        answers = answer_side_by_side(self.console, self.voices, messages, self.reader)
        if question.answer:
            self.console.print(f"gold: {', '.join(question.accepted)}")
        self._keep(question, answers)
        if any(answer.ending == "interrupted" for answer in answers):
            raise KeyboardInterrupt

    def _keep(self, question: Question, answers: Sequence[Answer]) -> None:
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        asked = {name: to_row(question)[name] for name in ("question", "documents")}
        with Journal(self.run / "chat" / "answers.jsonl") as journal:
            for one in answers:
                journal.append({"time": now, "variant": one.voice, "ending": one.ending, "text": one.text} | asked)


def chat(
    run: Path,
    wanted: Sequence[str],
    base_url: str | None,
    model: str | None,
    file: Path | None,
    question: str | None,
) -> None:
    """Ask until the input ends, or one question if it is given.

    Raises RunError for a run without the wanted adapters, DataError for a file that cannot be read, TeacherError for a
    server that does not answer; KeyboardInterrupt after Ctrl-C, when what was written is kept.
    """
    from mbt_lite.student.libraries import prepare, quieten_loading

    recipe, talk, console = read_recipe(run), Talk(), Screen()
    variants = [] if base_url is not None and not wanted else choose_variants(recipe, run, wanted)
    if len(variants) + (base_url is not None) > _MOST_VOICES:
        raise RunError(f"chat: too many answers side by side (got {len(variants)}); ask at most {_MOST_VOICES} at once")
    if file is not None:
        talk.take(documents.read_file(file))
    voices = [served_voice(recipe, base_url, model)] if base_url is not None else []
    if variants:
        prepare()
        quieten_loading()
    for variant in variants:
        with console.status(f"loading {variant.name}"):
            voices.append(local_voice(recipe, run, variant))
    table = Round(run, console, voices, _reader(run, console), recipe.data.dev.ask_for)
    if question is not None:
        table.answer(talk.question(question))
        return
    _ask_on(table, talk)


def _reader(run: Path, console: Screen) -> PhaseReader | None:
    """Fit the reader of phases on the run's own traces; say why where there can be none."""
    reader = reader_of_run(run)
    if reader is None:
        console.print(f"phases are not coloured: {why_no_reader(read_traces(run))}")
    else:
        console.print(legend())
    return reader


def _ask_on(table: Round, talk: Talk) -> None:
    """Read documents and questions until the input ends; a mistake is told and asked again."""
    console = table.console
    console.print(_HINT)
    try:
        while True:
            if not talk.documents and not talk.questions:
                _read_documents(console, talk)
            typed = console.input(_question_prompt(talk)).strip()
            if not typed:
                talk.take(())
                continue
            try:
                table.answer(talk.question(typed))
            except MbtError as error:
                console.print(str(error), soft_wrap=True)
    except EOFError:
        console.print()


def _question_prompt(talk: Talk) -> str:
    """Say what is wanted; nothing typed goes back to the documents."""
    return f"question, 1 to {len(talk.questions)}> " if talk.questions else f"question, over {len(talk.documents)}> "


def _read_documents(console: Screen, talk: Talk) -> None:
    """Read a file's name, or documents to an empty line; none at all are asked without."""
    lines = list[str]()
    while line := console.input("documents> ").strip():
        if not lines and Path(line).is_file():
            try:
                talk.take(documents.read_file(Path(line)))
            except MbtError as error:
                console.print(str(error), soft_wrap=True)
                continue
            return
        lines.append(line)
    talk.take(documents.read_documents(lines))
