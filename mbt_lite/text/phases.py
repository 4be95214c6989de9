"""The five phases of a metacognitive trace, by name.

Source: arXiv 2602.22508: understand and filter, plan, execute and monitor, self-correct, verify.
"""

from __future__ import annotations

PHASES = ("understand_filter", "plan", "execute_monitor", "self_correct", "verify")
