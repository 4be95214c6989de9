"""Which completion is in which row slot, and which prompt in which prompt slot: plain bookkeeping, without tensors."""

from __future__ import annotations

import dataclasses
import math
from collections import deque

# Where nothing waits any more, rows are packed together in such steps: each new shape costs a GPU a graph and oneDNN a
# primitive, and idle rows cost their share of every product.
_PACKED = tuple(share * 2.0**-halving for halving in range(12) for share in (1.0, 0.75))


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A sample of a prompt, and the slot of its prompt."""

    prompt: int
    sample: int
    slot: int


class Schedule:
    """P prompts of G samples each, in this order, in so many row and prompt slots."""

    def __init__(self, prompts: int, samples: int, rows: int, slots: int) -> None:
        self.rows: list[Place | None] = [None] * rows
        self.slots: list[int | None] = [None] * slots
        self._most_rows = rows
        self._waiting = deque((prompt, sample) for prompt in range(prompts) for sample in range(samples))
        self._unfinished = [samples] * prompts

    def admit(self) -> tuple[list[int], list[int]]:
        """Fill the free rows; give those that were, and the slots of the prompts that are new.

        A sample whose prompt finds no slot waits, and so do those behind it: an order that is always the same.
        """
        began, opened = [], []
        for row in (row for row, place in enumerate(self.rows) if place is None):
            if not self._waiting:
                break
            prompt, sample = self._waiting[0]
            if prompt not in self.slots:
                if None not in self.slots:
                    break
                opened.append(self.slots.index(None))
                self.slots[opened[-1]] = prompt
            self._waiting.popleft()
            self.rows[row] = Place(prompt, sample, self.slots.index(prompt))
            began.append(row)
        return began, opened

    def end(self, row: int) -> Place:
        """Free a row, and the slot of its prompt if that has no other sample to come."""
        place = self.rows[row]
        assert place is not None, row
        self.rows[row] = None
        self._unfinished[place.prompt] -= 1
        if not self._unfinished[place.prompt]:
            self.slots[place.slot] = None
        return place

    def pack(self) -> tuple[list[int], list[int]] | None:
        """Give up idle rows and slots, where nothing waits for them; give the slots and rows that stay, if fewer do."""
        live = [row for row, place in enumerate(self.rows) if place is not None]
        if self._waiting or not live:
            return None
        wanted = min(size for share in _PACKED if (size := math.ceil(share * self._most_rows)) >= len(live))
        if wanted >= len(self.rows):
            return None
        rows = live + [row for row, place in enumerate(self.rows) if place is None][: wanted - len(live)]
        slots = [slot for slot, prompt in enumerate(self.slots) if prompt is not None]
        moved = {slot: position for position, slot in enumerate(slots)}
        places = [self.rows[row] for row in rows]
        self.rows = [place and dataclasses.replace(place, slot=moved[place.slot]) for place in places]
        self.slots = [self.slots[slot] for slot in slots]
        return slots, rows
