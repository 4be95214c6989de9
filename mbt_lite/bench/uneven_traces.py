"""Traces of uneven length without a teacher to pay: invented questions with few or many documents, written by rule."""

from __future__ import annotations

from mbt_lite.data.synthetic import DEMO, SampleFile, Style, generate_questions
from mbt_lite.recipe.schema import Gen
from mbt_lite.records import Question, Trace
from mbt_lite.scripted.writer import write_reply
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.kinds import mbt_s
from mbt_lite.traces.reply import read_reply

# two hops among 2 to 12 documents of a sentence: the longest row has about twice the tokens of the shortest
STYLE = Style(shapes=DEMO.shapes, relations=DEMO.relations, documents=(2, 12), extra_facts=(0, 0))


def uneven_traces(count: int, seed: int) -> list[Trace]:
    """Give `count` scripted traces; the same for the same seed."""
    questions = generate_questions(SampleFile("bench", "train", seed, count, STYLE))
    return [_trace(question, seed + index) for index, question in enumerate(questions)]


def _trace(question: Question, seed: int) -> Trace:
    messages = mbt_s.trace_request(question, Gen().trace_words)
    read = read_reply(write_reply([message["content"] for message in messages], seed), has_phases=True)
    return build_trace(
        question, mbt_s.KIND, read.text, rollout_index=None, trace_index=0, teacher="scripted", scripted=True,
        phases=read.phases,
    )  # fmt: skip
