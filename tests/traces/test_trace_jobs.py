"""Jobs: which traces are planned from questions, drafts and guides, and the row of one that was kept out."""

import dataclasses

import pytest

from mbt_lite import prompts
from mbt_lite.records import Completion, Document, Question, Solution
from mbt_lite.traces.build import mbt_s_messages, rewrite_messages
from mbt_lite.traces.jobs import Job, rejected_row, rewrite_jobs, scratch_jobs

FIRST = Question("q1", "Who?", "Nora", (), (Document("Mill", "Nora runs it.", True),), "mbt")
SECOND = dataclasses.replace(FIRST, question_id="q2")
GUIDE = Solution("q1", "A guide.", "t", False)
DRAFTS = [Completion("q1", 0, "a", "stop", 1, 1), Completion("q1", 1, "b", "stop", 1, 1)]


def test_scratch_jobs_are_so_many_per_question() -> None:
    jobs = scratch_jobs([FIRST, SECOND], 2)
    assert [job.label for job in jobs] == ["q1:-:0", "q1:-:1", "q2:-:0", "q2:-:1"]
    assert all(job.messages == mbt_s_messages(FIRST) for job in jobs)
    assert {job.rollout_index for job in jobs} == {None}


@pytest.mark.parametrize("request_name", ["mbt_r", "distill_r"])
def test_rewrite_jobs_are_so_many_per_draft_and_name_those_without_a_guide(request_name) -> None:
    drafts = [*DRAFTS, Completion("q2", 0, "c", "stop", 1, 1)]
    jobs, without = rewrite_jobs(drafts, {"q1": FIRST, "q2": SECOND}, {"q1": GUIDE}, request_name, 2)
    assert [job.label for job in jobs] == ["q1:0:0", "q1:0:1", "q1:1:0", "q1:1:1"]
    assert [job.label for job in without] == ["q2:0:0", "q2:0:1"]
    assert jobs[2].messages == rewrite_messages(FIRST, GUIDE, DRAFTS[1], request_name)
    assert all(job.messages == () for job in without)


def test_rejected_row_says_what_was_kept_out_why_and_by_which_texts() -> None:
    row = rejected_row(Job(FIRST, DRAFTS[1], 0), "direct_r", "empty", "", attempt=2, retried=True)
    assert row == {
        "label": "q1:1:0",
        "question_id": "q1",
        "kind": "direct_r",
        "prompt_version": prompts.version("student", "solution", "mbt_r", "monologue"),
        "rollout_index": 1,
        "trace_index": 0,
        "attempt": 2,
        "retried": True,
        "reason": "empty",
        "text": "",
    }
