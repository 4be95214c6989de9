"""What doctor finds: one line a check, and a cure for each problem."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check; a problem has a cure, anything else has none."""

    check: str
    said: str
    cure: str | None = None

    @property
    def is_problem(self) -> bool:
        """Whether something has to be mended."""
        return self.cure is not None

    def __str__(self) -> str:
        mark = "PROBLEM" if self.is_problem else "ok"
        return f"{mark:8}{self.check}: {self.said}" + (f"; {self.cure}" if self.cure else "")
