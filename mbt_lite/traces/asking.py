"""From jobs to traces: guides and requests, the reply as it is read, the gate, other attempts, and a first trial."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from mbt_lite.endpoint.reading import WhyUseless, of_use, why_useless
from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.errors import DataError
from mbt_lite.files import write_jsonl
from mbt_lite.recipe.endpoint import EMBEDDED
from mbt_lite.recipe.schema import Gen, Teacher
from mbt_lite.records import Question, Solution, Trace, to_row
from mbt_lite.traces.build import build_trace
from mbt_lite.traces.checks import Rules
from mbt_lite.traces.drafts import parse_draft
from mbt_lite.traces.jobs import Job, rejected_row
from mbt_lite.traces.kind import Kind
from mbt_lite.traces.reply import TeacherText, read_reply
from mbt_lite.traces.requests import solution_request
from mbt_lite.traces.tables import counted

UNSUPPORTED = "unsupported"
# What an endpoint refuses once it refuses again, and documents do not change.
FINAL = ("refused", UNSUPPORTED)
CURES = {
    "fewer phases than asked": "set gen.min_phases lower (0 asks for none), or ask a stronger teacher.model",
    "phases out of order": "set gen.min_phases to 0, or ask a stronger teacher.model",
    "too long for training": "raise sft.max_sequence_tokens or lower gen.trace_words",
    "truncated": "raise teacher.max_completion_tokens",
    "cut off": "raise gen.max_completion_tokens",
    UNSUPPORTED: "check that the documents of data.train hold what its answers need",
}


@dataclasses.dataclass
class Made:
    """What became of jobs: traces by label, rows of `rejected.jsonl`, what was taken off accepted replies by kind.

    `told` is what people should know of them besides, in sentences.
    """

    accepted: dict[str, Trace] = dataclasses.field(default_factory=dict)
    rejected: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    taken_off: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    told: list[str] = dataclasses.field(default_factory=list)

    @property
    def traces(self) -> list[Trace]:
        """Give the traces in the order of their jobs."""
        return list(self.accepted.values())

    @property
    def final(self) -> collections.Counter[str]:
        """Count the jobs without a trace by their last reason."""
        return collections.Counter(row["reason"] for row in self.rejected if not row["retried"])


class Ask(Protocol):
    """Who asks the teacher."""

    def __call__(
        self, requests: list[TeacherRequest], what: str, *, useless: WhyUseless = why_useless
    ) -> Mapping[str, Reply]:
        """Give replies by label; `what` names the requests for people, `useless` says why a reply is of no use."""


@dataclasses.dataclass(frozen=True)
class Maker:
    """Makes traces of one kind: asks the teacher, or finds its replies in the journal, and holds them to the rules.

    `student` is the name of the student, who signs drafts of its own that are kept.
    """

    kind: Kind
    gen: Gen
    teacher: Teacher
    student: str
    rules: Rules
    ask: Ask
    folder: Path

    def make(self, jobs: Sequence[Job], attempts: int) -> Made:
        """Make the traces of jobs; those that the gate rejects are tried up to `attempts` times."""
        if self.kind.trace_request is None:
            return self._keep_drafts(jobs)
        made = Made()
        guides = self._ask_for_guides(jobs, made)
        pending = [job for job in jobs if guides is None or job.question.question_id in guides]
        for attempt in range(attempts):
            replies = self._ask_for_traces(pending, guides or {}, attempt)
            may_retry = attempt + 1 < attempts
            pending = [job for job, reply in replies if not self._settle(job, reply, attempt, may_retry, made)]
        made.accepted = {job.label: made.accepted[job.label] for job in jobs if job.label in made.accepted}
        return made

    def _keep_drafts(self, jobs: Sequence[Job]) -> Made:
        """Turn drafts that pass into traces as they are."""
        made = Made()
        for job in jobs:
            assert job.draft is not None, job.label
            reason = self.kind.rejects_draft(job.draft, job.question, self.rules)
            if reason is None:
                parsed = parse_draft(job.draft.text)
                made.accepted[job.label] = self._build(job, TeacherText(str(parsed.trace)), parsed.answer)
            else:
                made.rejected.append(rejected_row(job, self.kind, reason, job.draft.text))
        return made

    def _ask_for_guides(self, jobs: Sequence[Job], made: Made) -> dict[str, Solution] | None:
        """Ask for the guides that jobs need, None if their kind needs none; jobs that get none are rejected at once."""
        if not self.kind.wants_guide:
            return None
        by_id = {job.question.question_id: job.question for job in jobs}
        replies = self.ask([self._guide_request(question) for question in by_id.values()], "guides")
        read = {key: read_reply(reply.text, has_phases=False) for key, reply in replies.items()}
        guides = {
            key: Solution(key, reply.text, self.teacher.model, self._is_scripted)
            for key, reply in replies.items()
            if reply.finish_reason == "stop" and reply.text and read[key].unsupported is None
        }
        write_jsonl(self.folder / "solutions.jsonl", map(to_row, guides.values()))
        for job in jobs:
            key = job.question.question_id
            if key not in guides:
                reason = "no guide" if read[key].unsupported is None else UNSUPPORTED
                made.rejected.append(rejected_row(job, self.kind, reason, replies[key].text))
        return guides

    def _guide_request(self, question: Question) -> TeacherRequest:
        return TeacherRequest("solution", question.question_id, solution_request(question), self.gen.seed)

    def _ask_for_traces(
        self, jobs: Sequence[Job], guides: Mapping[str, Solution], attempt: int
    ) -> list[tuple[Job, Reply]]:
        if not jobs:
            return []
        requests = [self._request(job, guides.get(job.question.question_id), attempt) for job in jobs]
        if attempt == 0:
            replies = self.ask(requests, "traces")
        else:
            replies = self.ask(requests, f"traces, attempt {attempt + 1}", useless=of_use)
        return [(job, replies[request.label]) for job, request in zip(jobs, requests, strict=True)]

    def _settle(self, job: Job, reply: Reply, attempt: int, may_retry: bool, made: Made) -> bool:
        """Accept or reject a reply; False if its job is to be tried again."""
        read = read_reply(reply.text, has_phases=self.kind.has_phases)
        if not self.kind.has_phases:
            read = dataclasses.replace(read, text=self.kind.reads(read.text))
        reason = self._judge(job, reply, read)
        if reason is None:
            made.accepted[job.label] = self._build(job, read, None)
            made.taken_off.update(read.taken_off)
            return True
        retried = may_retry and reason not in FINAL
        made.rejected.append(rejected_row(job, self.kind, reason, reply.text, attempt=attempt + 1, retried=retried))
        return not retried

    def _request(self, job: Job, guide: Solution | None, attempt: int) -> TeacherRequest:
        assert self.kind.trace_request is not None, self.kind.name
        label = job.label if attempt == 0 else f"{job.label}:again{attempt}"
        # no two requests for one draft share a seed
        seed = self.gen.seed + job.trace_index + attempt * self.gen.traces_per_draft
        messages = self.kind.trace_request(job.question, self.gen.trace_words, job.draft, guide)
        return TeacherRequest(self.kind.name, label, messages, seed)

    def _judge(self, job: Job, reply: Reply, read: TeacherText) -> str | None:
        if reply.finish_reason == "stop" and read.unsupported is not None:
            return UNSUPPORTED
        return self.kind.rejects(read.text, reply.finish_reason, job.question, self.rules, read.phases)

    def _build(self, job: Job, read: TeacherText, answer: str | None) -> Trace:
        own = self.kind.is_by_student
        return build_trace(
            job.question,
            self.kind,
            read.text,
            rollout_index=job.rollout_index,
            trace_index=job.trace_index,
            teacher=self.student if own else self.teacher.model,
            scripted=not own and self._is_scripted,
            answer=answer,
            phases=read.phases,
        )

    @property
    def _is_scripted(self) -> bool:
        return self.teacher.base_url == EMBEDDED


def check_trial(made: Made, cut_off: int, least: float, folder: Path) -> str:
    """Say how a trial went; DataError with the cure if less than a share of `least` passed.

    `cut_off` are drafts of the teacher that no trace can be made of.
    """
    passed, reasons = len(made.traces), made.final + collections.Counter({"cut off": cut_off})
    asked = passed + reasons.total()
    why = f" (rejected: {counted(+reasons)})" if reasons.total() else ""
    line = f"{passed} of the first {asked} traces passed the gate{why}"
    if not asked or passed / asked >= least:
        return line
    write_jsonl(folder / "rejected.jsonl", made.rejected)
    cure = CURES.get(reasons.most_common(1)[0][0], "try another teacher.model or teacher.temperature")
    raise DataError(
        f"{folder}: {line}, gen.min_acceptance is {least:g}, so no more are asked for; read rejected.jsonl and {cure}"
        "; the replies are kept, and pass another gate without being asked for again"
    )
