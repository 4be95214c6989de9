"""Teacher distillation, a control: right drafts of the teacher as they are."""

from __future__ import annotations

from mbt_lite.traces.kind import Kind

KIND = Kind(name="teacher_distill", drafter="teacher")
