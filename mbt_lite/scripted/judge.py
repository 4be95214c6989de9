"""What the embedded teacher says when it is asked to judge: verdicts by rule, in the formats that our prompts ask for.

It reads the sections of the request and nothing else. Its rules are those of the reward law (mentions, normalised
words); phases it knows by how the scripted teacher words them, from that teacher's own traces of synthetic questions.
So it adds nothing that rules could not see: it lets the demo and the tests take the road of a real judge, and is
labelled `scripted` wherever its verdicts go. It agrees with itself by construction.
"""

from __future__ import annotations

import functools
import itertools
import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mbt_lite import prompts
from mbt_lite.data.synthetic import FILES, generate_questions
from mbt_lite.metrics.phase_reader import PhaseReader, fit_reader
from mbt_lite.records import PhaseSpan, Question, Trace
from mbt_lite.rewards.mentions import words_through_first_mention
from mbt_lite.scripted.evidence import Search
from mbt_lite.scripted.monologue import Monologue
from mbt_lite.text.normalize import normalize, words
from mbt_lite.text.paragraphs import paragraph_spans, paragraphs
from mbt_lite.text.phases import PHASES

_SECTION = re.compile(r"^=== ([a-z ]+) ===$", re.MULTILINE)
_MARKER = re.compile(r"\n\[end of paragraph \d+\]$", re.MULTILINE)
NO_ANSWER = ("unknown", "not given", "cannot be found", "do not say", "cannot say", "not known")
# A paragraph of which so many word pairs stood above says nothing new.
REPEATED_SHARE = 0.6
# Synthetic questions whose scripted traces teach what phases look like.
PHASE_QUESTIONS = 100

Sections = Mapping[str, str]


def write_verdict(request: str) -> str | None:
    """Write the reply to one of our judge requests; None if it is another request."""
    opening = request.partition("\n")[0]
    for name, judge in JUDGES.items():
        if opening == prompts.text(name).partition("\n")[0]:
            return json.dumps({"reason": "by rule", **judge(_read_sections(request))}, ensure_ascii=False)
    return None


def _read_sections(request: str) -> Sections:
    """Split a request at its section lines; the trace comes last and may hold anything, such lines too."""
    head, mark, trace = request.partition("\n=== trace ===\n")
    parts = _SECTION.split(head)
    sections = {name: body.strip() for name, body in zip(parts[1::2], parts[2::2], strict=True)}
    return sections | ({"trace": trace.rpartition("\n=== end ===")[0]} if mark else {})


def _golds(sections: Sections) -> list[str]:
    return [line.removeprefix("- ") for line in sections["accepted answers"].split("\n")]


def _accuracy(sections: Sections) -> dict[str, Any]:
    given = normalize(sections["given answer"])
    if not given or any(phrase in given for phrase in NO_ANSWER):
        return {"verdict": "not attempted"}
    return {"verdict": "correct" if given in map(normalize, _golds(sections)) else "incorrect"}


def _hit(sections: Sections) -> dict[str, Any]:
    return {"hit": words_through_first_mention(sections["trace"], _golds(sections)) is not None}


def _overthinking(sections: Sections) -> dict[str, Any]:
    parts = paragraphs(sections["trace"])
    first = _first_correct(parts, _golds(sections))
    stale = [number for number in _redundant(parts) if number > (first or 0)]
    return {"prefix": "\n\n".join(parts[: stale[0] - 1] if stale else parts)}


def _underthinking(sections: Sections) -> dict[str, Any]:
    parts = paragraphs(sections["trace"])
    # a wrong trace gets as far as it names a gold, or else to where it settles for something
    reached = _first_correct(parts, _golds(sections)) or max(1, len(parts) - 1)
    return {"prefix": "\n\n".join(parts[:reached])}


def _metacognition(sections: Sections) -> dict[str, Any]:
    return {"score": _level(_shown_phases(sections["trace"]), sections["trace"])}


def _quality(sections: Sections) -> dict[str, Any]:
    phases = _shown_phases(sections["trace"])
    return {"phases": list(phases), "level": _level(phases, sections["trace"])}


def _shown_phases(trace: str) -> tuple[str, ...]:
    shown = {span.phase for span in _phase_reader().spans(trace)}
    return tuple(phase for phase in PHASES if phase in shown)


@functools.cache
def _phase_reader() -> PhaseReader:
    """Fit a reader on what the scripted teacher writes about synthetic questions, once a process."""
    file = next(file for file in FILES if file.name == "multihop_train")
    return fit_reader([_scripted_trace(one) for one in itertools.islice(generate_questions(file), PHASE_QUESTIONS)])


def _scripted_trace(question: Question) -> Trace:
    search = Search(tuple((one.title, one.text) for one in question.documents), question.question, question.answer)
    written = Monologue(search, search.run(), question.answer, None, random.Random(question.question_id)).write()
    # each paragraph stands below its label
    text = "\n\n".join(part.partition("\n")[2] for part in paragraphs(written))
    phases = tuple(PhaseSpan(phase, *span) for phase, span in zip(PHASES, paragraph_spans(text), strict=True))
    return Trace(
        trace_id=question.question_id, question_id=question.question_id, kind="mbt_s", rollout_index=None,
        trace_index=0, teacher="scripted", scripted=True, prompt_version="", text=text, answer=question.answer,
        prompt=(), completion=(), phases=phases,
    )  # fmt: skip


def _level(phases: Sequence[str], trace: str) -> int:
    """Give the level of the prompts' scale; a trace of one paragraph without a phase is a bare answer."""
    if len(phases) >= 4:
        return len(phases)
    if "plan" in phases and "execute_monitor" in phases:
        return 3
    if "plan" in phases or "verify" in phases:
        return 2
    return int(bool(phases) or len(paragraphs(trace)) > 1)


def _reach(sections: Sections) -> dict[str, Any]:
    parts = paragraphs(_MARKER.sub("", sections["trace"]))
    first = _first_correct(parts, _golds(sections))
    return {"first_correct": first, "redundant": [number for number in _redundant(parts) if number != first]}


def _first_correct(parts: Sequence[str], golds: Sequence[str]) -> int | None:
    mentions = (words_through_first_mention(part, golds) is not None for part in parts)
    return next((number for number, mentioned in enumerate(mentions, 1) if mentioned), None)


def _redundant(parts: Sequence[str]) -> list[int]:
    """Give the numbers of the paragraphs, from the second on, most of whose word pairs stand in those above."""
    seen: set[tuple[str, str]] = set()
    found = []
    for number, part in enumerate(parts, 1):
        said = words(part)
        pairs = list(itertools.pairwise(said))
        if number > 1 and pairs and sum(pair in seen for pair in pairs) >= REPEATED_SHARE * len(pairs):
            found.append(number)
        seen |= set(pairs)
    return found


JUDGES: Mapping[str, Callable[[Sections], dict[str, Any]]] = {
    "judge_accuracy": _accuracy,
    "judge_hit": _hit,
    "judge_overthinking": _overthinking,
    "judge_underthinking": _underthinking,
    "judge_metacognition": _metacognition,
    "judge_reach": _reach,
    "judge_quality": _quality,
}
