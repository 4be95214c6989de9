"""Command `chat`: ask variants of a run, or a served export, side by side, and watch the answers being written."""

import enum


class Variant(enum.StrEnum):
    """Who can answer from a run: the untrained student, or one of its adapters."""

    BASE = "base"
    SFT = "sft"
    GRPO = "grpo"
