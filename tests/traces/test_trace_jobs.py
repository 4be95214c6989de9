"""Jobs: which traces are planned, what is asked for them, and the row of one that was kept out."""

import dataclasses

import pytest

from mbt_lite import prompts
from mbt_lite.recipe.schema import Gen
from mbt_lite.records import Completion, Document, Question, Solution
from mbt_lite.traces.jobs import Job, plan_jobs, rejected_row
from mbt_lite.traces.kinds import kind_named, mbt_s

FIRST = Question("q1", "Who?", "Nora", (), (Document("Mill", "Nora runs it.", True),), "mbt")
SECOND = dataclasses.replace(FIRST, question_id="q2")
GUIDE = Solution("q1", "A guide.", "t", False)
DRAFTS = [Completion("q1", 0, "a", "stop", 1, 1), Completion("q1", 1, "b", "stop", 1, 1)]


def test_plan_jobs_from_scratch_are_so_many_per_question() -> None:
    gen = Gen(kind="mbt_s", traces_per_draft=2, trace_words=(50, 90))
    jobs = plan_jobs(kind_named("mbt_s"), gen, [FIRST, SECOND], [])
    assert [job.label for job in jobs] == ["q1:-:0", "q1:-:1", "q2:-:0", "q2:-:1"]
    assert {job.rollout_index for job in jobs} == {None}
    messages = mbt_s.trace_request(jobs[0].question, gen.trace_words)
    assert "Between 50 and 90 words" in messages[0]["content"]


@pytest.mark.parametrize("kind", ["mbt_r", "distill_r"])
def test_plan_jobs_of_rewritings_are_so_many_per_draft(kind) -> None:
    gen = Gen(kind=kind, traces_per_draft=2)
    jobs = plan_jobs(kind_named(kind), gen, [FIRST, SECOND], [*DRAFTS, Completion("q2", 0, "c", "stop", 1, 1)])
    assert [job.label for job in jobs] == ["q1:0:0", "q1:0:1", "q1:1:0", "q1:1:1", "q2:0:0", "q2:0:1"]
    assert (jobs[2].question, jobs[2].draft) == (FIRST, DRAFTS[1])


@pytest.mark.parametrize("kind", ["self_distill", "teacher_distill"])
def test_plan_jobs_of_drafts_kept_as_they_are_is_one_each(kind) -> None:
    jobs = plan_jobs(kind_named(kind), Gen(kind=kind, traces_per_draft=3), [FIRST], DRAFTS)
    assert [job.draft for job in jobs] == DRAFTS


def test_rejected_row_says_what_was_kept_out_why_and_by_which_texts() -> None:
    row = rejected_row(Job(FIRST, DRAFTS[1], 0), kind_named("direct_r"), "empty", "", attempt=2, retried=True)
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
