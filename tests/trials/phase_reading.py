"""What the reader of phases knows: traces of a language model and of the scripted teacher, ordered and shuffled.

Beside it stand who knows a paragraph's place alone and who always says the same. A trial for people, not a test:

    python tests/trials/phase_reading.py
"""

import dataclasses
import json
import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from mbt_lite.data.questions import read_questions
from mbt_lite.metrics.phase_reader import FOLDS, fit_reader
from mbt_lite.recipe.schema import Questions
from mbt_lite.records import PhaseSpan, Trace
from mbt_lite.scripted.writer import write_reply
from mbt_lite.text.paragraphs import paragraph_spans, paragraphs, sentences
from mbt_lite.text.phases import PHASES
from mbt_lite.traces.kinds import mbt_s

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "data"


@dataclasses.dataclass
class Score:
    """Paragraphs: all, those read rightly, those left unread, and those whose place names their phase."""

    n: int = 0
    right: int = 0
    unread: int = 0
    by_place: int = 0


def make_trace(question: str, parts: Sequence[tuple[str, str]]) -> Trace:
    """Make a trace of (phase, paragraph) pairs."""
    text = "\n\n".join(said for _, said in parts)
    phases = tuple(PhaseSpan(part[0], *span) for part, span in zip(parts, paragraph_spans(text), strict=True))
    return Trace(question, question, "mbt_s", None, 0, "t", False, "v", text, "", (), (), phases)


def real_traces(name: str) -> list[Trace]:
    """Read traces of five paragraphs, the five phases in order."""
    rows = map(json.loads, (SHARED / name).read_text(encoding="utf-8").splitlines())
    return [make_trace(row["question_id"], list(zip(PHASES, paragraphs(row["text"]), strict=True))) for row in rows]


def scripted_traces(name: str) -> list[Trace]:
    """Let the scripted teacher write about sample questions; its paragraphs stand below labels."""
    questions = read_questions(Questions(path=str(ROOT / "data_samples" / f"{name}.jsonl")), 0)
    made = []
    for seed, question in enumerate(questions):
        reply = write_reply([mbt_s.trace_request(question, (120, 300))[0]["content"]], seed)
        parts = [part.partition("\n")[2] for part in paragraphs(reply)]
        if len(parts) == len(PHASES):
            made.append(make_trace(question.question_id, list(zip(PHASES, parts, strict=True))))
    return made


def shuffled(trace: Trace, seed: int) -> Trace:
    """Put the paragraphs of a trace into another order."""
    parts = [(span.phase, trace.text[span.start : span.end]) for span in trace.phases]
    random.Random(seed).shuffle(parts)
    return make_trace(trace.question_id, parts)


def held_out_scores(traces: Sequence[Trace], folds: int, group: str) -> dict[str, Score]:
    """Read ordered and shuffled traces by readers that were fitted on the ordered ones of other groups."""
    from sklearn.model_selection import GroupKFold

    orders = {"ordered": traces, "shuffled": [shuffled(trace, seed) for seed, trace in enumerate(traces)]}
    groups = [trace.question_id if group == "question" else str(place) for place, trace in enumerate(traces)]
    scores = {order: Score() for order in orders}
    for seen, unseen in GroupKFold(folds).split(traces, groups=groups):
        reader = fit_reader([traces[place] for place in seen])
        for order, some in orders.items():
            for place in unseen:
                count(scores[order], some[place], reader.spans(some[place].text))
    return scores


def count(score: Score, trace: Trace, read: Sequence[PhaseSpan]) -> None:
    """Add one trace to a score."""
    found = {span.start: span.phase for span in read}
    for phase, span in zip(PHASES, trace.phases, strict=True):
        score.n += 1
        score.right += found.get(span.start) == span.phase
        score.unread += span.start not in found
        score.by_place += phase == span.phase


def main() -> None:
    """Print the table, then what a reader of one writer's phases finds in plain traces and in other writers' phases."""
    few, many = (real_traces(f"real_teacher_{name}.jsonl") for name in ("traces_24", "demo_mbt_s_96"))
    sets = {
        "24 real traces, a question out": (few, len({trace.question_id for trace in few}), "question"),
        "24 real traces, a trace out": (few, len(few), "trace"),
        "96 real traces": (many, FOLDS, "question"),
        "scripted, demo_train": (scripted_traces("demo_train"), FOLDS, "question"),
        "scripted, multihop_train": (scripted_traces("multihop_train"), FOLDS, "question"),
    }
    for name, (traces, folds, group) in sets.items():
        scores = held_out_scores(traces, folds, group)
        most = Counter(span.phase for trace in traces for span in trace.phases).most_common(1)[0][1]
        for order, score in scores.items():
            right, unread, by_place = (part / score.n for part in (score.right, score.unread, score.by_place))
            print(
                f"{name}, {order}: n={score.n}, reader right {right:.1%}, unread {unread:.1%}; "
                f"by place {by_place:.1%}, one phase {most / score.n:.1%}",
                flush=True,
            )
    plain = map(json.loads, (SHARED / "real_teacher_demo_plain_96.jsonl").read_text(encoding="utf-8").splitlines())
    texts = [row["text"] for row in plain]
    reader = fit_reader(many)
    for name, some in {
        "plain traces": texts,
        "plain traces, a paragraph a sentence": ["\n\n".join(sentences(text)) for text in texts],
        "24 real traces": [trace.text for trace in few],
    }.items():
        shown = Counter(len({span.phase for span in reader.spans(text)}) for text in some)
        print(f"by the reader of the 96, {name} show so many phases: {dict(sorted(shown.items()))}")


if __name__ == "__main__":
    main()
