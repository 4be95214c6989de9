"""The reader of phases: what it reads, what it leaves, what it does not claim; on made-up and on real traces."""

import dataclasses
import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from mbt_lite.files import write_jsonl
from mbt_lite.metrics.phase_reader import (
    LEAST_QUESTIONS,
    PhaseReader,
    fit_reader,
    held_out,
    reader_of_run,
    why_no_reader,
)
from mbt_lite.metrics.predictions import with_phases
from mbt_lite.records import PhaseSpan, Prediction, Trace, to_row
from mbt_lite.text.paragraphs import paragraph_spans, sentences
from mbt_lite.text.phases import PHASES

LETTERS = "abcdefghijklmnopqrst"
NAMES = ("Ana Ruiz", "Ben Moor", "Cleo Hart", "Dora Finch", "Emil Vane")
SAID = (
    ("The question is about {name}; we leave {other} aside.", "What is asked is where {name} was born, not {other}."),
    ("First we need the maker, then the town.", "So we look for the maker and after that for the town of birth."),
    (
        "Document {n} says {name} was born in Lima. This step holds.",
        "According to document {n}, {name} made it in Lima.",
    ),
    ("Wait, could {other} be meant? No, that is another man.", "But is it not {other}? Looking back, it is not."),
    ("Everything fits the question: the answer is Lima.", "Both conditions are met, and so the town is Lima."),
)


def make_trace(question: str, parts: Sequence[tuple[str, str]], index: int = 0) -> Trace:
    text = "\n\n".join(said for _, said in parts)
    spans = zip(parts, paragraph_spans(text), strict=True)
    return Trace(
        trace_id=f"{question}:{index}", question_id=question, kind="mbt_s", rollout_index=None, trace_index=index,
        teacher="t", scripted=False, prompt_version="v", text=text, answer="Lima", prompt=(), completion=(),
        phases=tuple(PhaseSpan(phase, *span) for (phase, _), span in spans),
    )  # fmt: skip


def made_up(count: int, seed: int = 0) -> list[Trace]:
    dice = random.Random(seed)
    traces = []
    for number in range(count):
        slots = {"n": number, "name": dice.choice(NAMES), "other": dice.choice(NAMES)}
        said = [dice.choice(phrases).format(**slots) for phrases in SAID]
        traces.append(make_trace(f"{seed}-{number}", list(zip(PHASES, said, strict=True))))
    return traces


def shuffled(trace: Trace, dice: random.Random) -> Trace:
    parts = [(span.phase, trace.text[span.start : span.end]) for span in trace.phases]
    dice.shuffle(parts)
    return make_trace(trace.question_id, parts)


@pytest.fixture(scope="module")
def reader() -> PhaseReader:
    return fit_reader(made_up(20))


def test_spans_are_the_phases_of_the_paragraphs_whatever_their_order(reader: PhaseReader) -> None:
    dice = random.Random(0)
    at_their_place = 0
    for trace in made_up(10, seed=1):
        moved = shuffled(trace, dice)
        assert reader.spans(trace.text) == trace.phases
        assert reader.spans(moved.text) == moved.phases
        at_their_place += sum(span.phase == phase for span, phase in zip(moved.phases, PHASES, strict=True))
    # who knew places alone would be as good as chance
    assert at_their_place <= 0.4 * 50


def test_spans_lie_in_the_part_that_is_read(reader: PhaseReader) -> None:
    text = f"First we need it.\n\n<think>{SAID[1][0]}</think>First we need it."
    assert reader.spans(text, 26, 26 + len(SAID[1][0])) == (PhaseSpan("plan", 26, 26 + len(SAID[1][0])),)
    assert reader.spans("") == reader.spans(" \n\n ") == ()


def test_text_unlike_the_traces_is_left_unread(reader: PhaseReader) -> None:
    assert reader.spans("zwölf Boxkämpfer jagen Viktor\n\n北京\n\n***") == ()


def test_names_and_numbers_do_not_change_what_is_read(reader: PhaseReader) -> None:
    one, other = "Document 3 says Ana Ruiz was born in Lima.", "Document 977 says Zoë Quill was born in Oslo."
    assert [span.phase for span in reader.spans(one)] == [span.phase for span in reader.spans(other)]


def test_fit_reader_gives_the_same_reader_for_the_same_traces(reader: PhaseReader) -> None:
    texts = [trace.text for trace in made_up(5, seed=2)]
    again = fit_reader(made_up(20))
    assert again.model.predict_proba(texts).tolist() == reader.model.predict_proba(texts).tolist()


def test_held_out_counts_what_other_questions_teach() -> None:
    found = held_out(made_up(40))
    assert found == {
        "accuracy": 1.0, "unread": 0.0, "n_paragraphs": 200, "n_traces": 40, "undefined_reason": None,
    }  # fmt: skip


def test_held_out_never_splits_a_question() -> None:
    # words of a question's own: whoever saw its other trace could name every phase
    parts = [[(phase, f"{phase}{letter * 3} {phase}{letter * 4}") for phase in PHASES] for letter in LETTERS]
    traces = [make_trace(f"q{number}", one, twice) for number, one in enumerate(parts) for twice in (0, 1)]
    assert [span.phase for span in fit_reader(traces[::2]).spans(traces[1].text)] == list(PHASES)
    assert held_out(traces)["accuracy"] == 0.0


@pytest.mark.parametrize(
    ("traces", "reason"),
    [
        ([], "the run has no traces to learn the phases from"),
        ([dataclasses.replace(one, phases=()) for one in made_up(3)], "none of the 3 traces labels its phases"),
        (made_up(LEAST_QUESTIONS - 1), "traces of 15 questions label understand_filter, and 16 are needed"),
        (
            [dataclasses.replace(one, phases=one.phases[:3] + one.phases[4:]) for one in made_up(20)],
            "traces of 0 questions label self_correct, and 16 are needed",
        ),
        ([dataclasses.replace(one, question_id="q") for one in made_up(20)], "traces of 1 questions label"),
    ],
    ids=["no traces", "no phases", "too few questions", "a phase too few", "one question often"],
)
def test_why_no_reader_names_the_number(traces: list[Trace], reason: str) -> None:
    said = why_no_reader(traces)
    assert said is not None
    assert said.startswith(reason)
    assert held_out(traces)["undefined_reason"] == said
    assert held_out(traces)["accuracy"] is None


def test_reader_of_run_reads_the_runs_own_traces(tmp_path: Path) -> None:
    assert reader_of_run(tmp_path) is None
    traces = made_up(LEAST_QUESTIONS)
    write_jsonl(tmp_path / "gen" / "traces.jsonl", map(to_row, traces))
    found = reader_of_run(tmp_path)
    assert found is not None
    assert found.spans(traces[0].text) == traces[0].phases


def predicted(text: str) -> Prediction:
    return Prediction(
        question_id="q", variant="sft", rollout_index=0, text=text, finish_reason="stop", completion_tokens=9,
        answer=None, golds=("Lima",), exact_match=0, f1=0.0, substring_match=0, answered=0, stopped=1, degenerate=1,
        answer_hit=0,
    )  # fmt: skip


def test_with_phases_tells_no_reader_from_nothing_to_read(reader: PhaseReader) -> None:
    said = SAID[1][0]
    rows = [predicted(f"<think>{said}</think><answer>Lima</answer>"), predicted("Lima"), predicted(f"<think>\n{said}")]
    found = with_phases(rows, reader)
    assert [row.phases for row in found] == [
        (PhaseSpan("plan", 7, 7 + len(said)),), (), (PhaseSpan("plan", 8, 8 + len(said)),),
    ]  # fmt: skip
    prefilled = with_phases([predicted(f"{said}</think>")], reader, prefilled_think=True)
    assert prefilled[0].phases == (PhaseSpan("plan", 0, len(said)),)
    assert [row.phases for row in with_phases(rows, None)] == [None, None, None]


def real(path: Path) -> list[Trace]:
    """Read real traces of five paragraphs, which are the five phases in order."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        make_trace(row["question_id"], list(zip(PHASES, row["text"].strip().split("\n\n"), strict=True)))
        for row in rows
    ]


def test_held_out_on_a_language_models_traces(shared_data: Path) -> None:
    few, many = (real(shared_data / f"real_teacher_{name}.jsonl") for name in ("traces_24", "demo_mbt_s_96"))
    one_out = held_out(few, folds=len({trace.question_id for trace in few}))
    # measured: 72 % right and 22 % unread, so 93 % of what is read; 97 % right of the larger set
    assert one_out["accuracy"] is not None
    assert one_out["unread"] is not None
    assert one_out["accuracy"] >= 0.7
    assert one_out["accuracy"] / (1 - one_out["unread"]) >= 0.9
    assert (held_out(many)["accuracy"] or 0) >= 0.93


def test_plain_thinking_does_not_show_the_phases(shared_data: Path) -> None:
    reader = fit_reader(real(shared_data / "real_teacher_demo_mbt_s_96.jsonl"))
    rows = (shared_data / "real_teacher_demo_plain_96.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(row)["text"] for row in rows]
    # a plain trace is one paragraph; cut at every sentence it plans, finds and concludes, and seldom does all five
    cut = ["\n\n".join(sentences(text)) for text in texts]
    shown = [[len({span.phase for span in reader.spans(text)}) for text in some] for some in (texts, cut)]
    assert max(shown[0]) <= 1
    assert sum(count == len(PHASES) for count in shown[1]) <= 0.05 * len(texts)
