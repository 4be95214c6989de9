"""Traces of uneven length without a teacher to pay: invented questions with few or many documents, written by rule."""

from __future__ import annotations

from mbt_lite.data.relations import RELATIONS
from mbt_lite.data.synthetic import MULTIHOP, SampleFile, Style, generate_questions
from mbt_lite.records import Trace
from mbt_lite.teacher.writer import write_reply
from mbt_lite.traces.build import build_trace, mbt_s_messages

# 2 to 4 hops among 2 to 12 documents: the longest row has more than twice the tokens of the shortest
STYLE = Style(shapes=MULTIHOP.shapes, relations=RELATIONS, documents=(2, 12), extra_facts=(0, 1))


def uneven_traces(count: int, seed: int) -> list[Trace]:
    """Give `count` scripted traces; the same for the same seed."""
    questions = generate_questions(SampleFile("bench", "train", seed, count, STYLE))
    traces = []
    for index, question in enumerate(questions):
        request = [message["content"] for message in mbt_s_messages(question)]
        text = write_reply(request, seed + index)
        about = {"rollout_index": None, "trace_index": 0, "teacher": "scripted", "scripted": True}
        traces.append(build_trace(question, "mbt_s", text, **about))
    return traces
