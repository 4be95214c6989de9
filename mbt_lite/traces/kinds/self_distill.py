"""Self-distillation, a control: right drafts of the student as they are."""

from __future__ import annotations

from mbt_lite.traces.kind import Kind

KIND = Kind(name="self_distill", drafter="student")
