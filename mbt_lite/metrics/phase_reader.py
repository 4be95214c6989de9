"""Which phase a paragraph is in: a small classifier, fitted on the paragraphs that a run's own traces label.

The teacher's traces say which of their parts is which phase; a student's completions do not. The reader learns the
wording of the phases from the first and reads the second, paragraph by paragraph. What it claims, and what not:

1. It knows words and word pairs, and nothing of a paragraph's place: shuffled paragraphs are read as ordered ones.
2. Names and numbers are masked. They tell the question, not the phase.
3. A paragraph of which no phase has more than half of the probability is left unread: text that is unlike the traces.
4. Its accuracy is held out by question: no trace of a question that is read was seen. An unread paragraph counts as
   wrong. It speaks for text like the traces; other text, such as a base model's, is read less well.
5. With fewer than `LEAST_QUESTIONS` questions that label a phase, there is no reader. (Traces of a language model:
   fitted on 16 questions it named the phase of 83 to 91 % of other paragraphs, on 4 of 62 to 73 %.)
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from mbt_lite.errors import RunError
from mbt_lite.files import read_jsonl
from mbt_lite.records import PhaseSpan, Trace, from_row
from mbt_lite.text.paragraphs import paragraph_spans, paragraphs
from mbt_lite.text.phases import PHASES

LEAST_QUESTIONS = 16
LEAST_PROBABILITY = 0.5
FOLDS = 5

# a capital within a sentence is a name's; the first word of a sentence stays, because Wait and First are no names
_NAME = re.compile(r"(?<![.!?\"“] )(?<!^)\b[A-Z][\w'’.-]*", re.MULTILINE)
_NUMBER = re.compile(r"\d+")
_TOKEN = r"[\w']+|[?:;,.]"


class HeldOut(TypedDict):
    """How well a reader reads what it has not seen: shares, 0..1, of the paragraphs; counts.

    Where there is no reader, `undefined_reason` says why and the shares are None.
    """

    accuracy: float | None
    unread: float | None
    n_paragraphs: int
    n_traces: int
    undefined_reason: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class PhaseReader:
    """A fitted reader."""

    model: Any

    def spans(self, text: str, start: int = 0, end: int | None = None) -> tuple[PhaseSpan, ...]:
        """Give the phases of the paragraphs of a trace, which may be a part of the text; unread ones have no span."""
        found = list(paragraph_spans(text, start, end))
        phases = _name(self.model, [text[left:right] for left, right in found])
        return tuple(PhaseSpan(phase, *span) for phase, span in zip(phases, found, strict=True) if phase is not None)


def read_traces(run: Path) -> list[Trace]:
    """Read the traces of a run folder; none where gen wrote none."""
    path = run / "gen" / "traces.jsonl"
    return [from_row(Trace, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path), 1)]


def reader_of_run(run: Path) -> PhaseReader | None:
    """Fit the reader of a run folder, about a second for 2,000 traces; None where `why_no_reader` has a reason."""
    traces = read_traces(run)
    return fit_reader(traces) if why_no_reader(traces) is None else None


def why_no_reader(traces: Sequence[Trace]) -> str | None:
    """Say why phases cannot be read: no trace labels any, or too few do; None if they can."""
    if not traces:
        return "the run has no traces to learn the phases from"
    if not any(trace.phases for trace in traces):
        return f"none of the {len(traces)} traces labels its phases"
    asked = {phase: {t.question_id for t in traces if any(s.phase == phase for s in t.phases)} for phase in PHASES}
    fewest = min(PHASES, key=lambda phase: len(asked[phase]))
    if len(asked[fewest]) >= LEAST_QUESTIONS:
        return None
    return f"traces of {len(asked[fewest])} questions label {fewest}, and {LEAST_QUESTIONS} are needed"


def fit_reader(traces: Sequence[Trace]) -> PhaseReader:
    """Fit a reader on labelled traces; the same traces give the same reader.

    Raises RunError where scikit-learn is not installed.
    """
    texts, phases, _ = _examples(traces)
    return PhaseReader(_model().fit(texts, phases))


def held_out(traces: Sequence[Trace], folds: int = FOLDS) -> HeldOut:
    """Read each question's paragraphs by a reader fitted on the other folds' questions, and count."""
    if (reason := why_no_reader(traces)) is not None:
        n_traces = sum(bool(trace.phases) for trace in traces)
        return {"accuracy": None, "unread": None, "n_paragraphs": 0, "n_traces": n_traces, "undefined_reason": reason}
    model = _model()
    from sklearn.model_selection import GroupKFold

    texts, phases, questions = _examples(traces)
    read: dict[int, str | None] = {}
    for seen, unseen in GroupKFold(folds).split(texts, phases, questions):
        model.fit([texts[place] for place in seen], [phases[place] for place in seen])
        read |= zip(unseen.tolist(), _name(model, [texts[place] for place in unseen]), strict=True)
    return {
        "accuracy": sum(read[place] == phase for place, phase in enumerate(phases)) / len(phases),
        "unread": sum(phase is None for phase in read.values()) / len(phases),
        "n_paragraphs": len(phases),
        "n_traces": sum(bool(trace.phases) for trace in traces),
        "undefined_reason": None,
    }


def _examples(traces: Sequence[Trace]) -> tuple[list[str], list[str], list[str]]:
    """Give text, phase and question of each labelled paragraph; one that holds two phases is two."""
    rows = [
        (paragraph, span.phase, trace.question_id)
        for trace in traces
        for span in trace.phases
        for paragraph in paragraphs(trace.text[span.start : span.end])
    ]
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows]


def _model() -> Any:
    """Build what is fitted: counts of words and word pairs, and one weight for each in each phase."""
    require_sklearn()
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    counts = TfidfVectorizer(preprocessor=masked, token_pattern=_TOKEN, ngram_range=(1, 2), sublinear_tf=True)
    return make_pipeline(counts, LogisticRegression(C=300, max_iter=5000))


def require_sklearn() -> None:
    """Raise RunError where scikit-learn is not installed."""
    if importlib.util.find_spec("sklearn") is None:
        raise RunError("phases: scikit-learn is not installed; `pip install 'mbt-lite[report]'`")


def masked(text: str) -> str:
    """Put one word for every name and one digit for every number; the rest in small letters.

    >>> masked("First we need Ana Ruiz. Document 12 names her.")
    'first we need _name_ _name_ document 0 names her.'
    """
    return _NUMBER.sub("0", _NAME.sub("_name_", text).lower())


def _name(model: Any, texts: Sequence[str]) -> list[str | None]:
    """Name the phase of each text, None where none is likelier than all others together."""
    if not texts:
        return []
    chances = model.predict_proba(list(texts))
    best = zip(chances.argmax(axis=1).tolist(), chances.max(axis=1).tolist(), strict=True)
    return [str(model.classes_[place]) if chance > LEAST_PROBABILITY else None for place, chance in best]
