"""The five phases of a metacognitive trace, by name, and the labels that the prompts ask a teacher for.

Source: arXiv 2602.22508: understand and filter, plan, execute and monitor, self-correct, verify.
"""

from __future__ import annotations

LABELS = {
    "understand_filter": "understand",
    "plan": "plan",
    "execute_monitor": "execute",
    "self_correct": "correct",
    "verify": "verify",
}
PHASES = tuple(LABELS)
