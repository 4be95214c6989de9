"""Continuous batching (Orca, OSDI 2022): a completion that ends leaves its row to the next one at once.

A batch that waits for its longest completion computes mostly air: at a mean of 500 and a maximum of 1,300 tokens, 60 %
of it. Here all rows but those of the tail are alive at every step, and the tail is packed into fewer rows.

A prompt is prefilled but for its last token; each of its samples begins by reading that one, so a first token is drawn
like every other. Nothing of a step waits for the device: what was drawn, which rows have ended and how far they are
stays there, and is looked at every `LOOK_EVERY` steps; what a row writes behind its end is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from mbt_lite.architecture.storage import PREFILL_TOKENS, prompt_slots
from mbt_lite.generation import shared_prefix
from mbt_lite.generation.decode_graphs import Replayed, Step
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.sampling import sample, stream_key, token_log_probs, uniform
from mbt_lite.generation.schedule import Schedule

# Steps between two looks at a device for which a look is a wait. A CPU has nothing to wait for.
LOOK_EVERY = 8

# The tokens of a completion and, where they were asked for, their log-probabilities.
Written = tuple[list[int], tuple[float, ...] | None]


class RowSlots:
    """Prompts under way in R row slots; `advance` until `is_done`.

    `prompts` are token ids, longest first; `limits` the most tokens of each one's completions; `names` the index that a
    prompt's streams of random numbers go by.
    """

    def __init__(
        self,
        model: Any,
        prompts: Sequence[Sequence[int]],
        decoding: Decoding,
        *,
        limits: Sequence[int],
        names: Sequence[int],
        rows: int,
        stop_ids: frozenset[int],
        record: Callable[[Step], Step] | None,
        like: Tensor,
    ) -> None:
        slots = min(len(prompts), prompt_slots(rows, decoding.samples))
        self.schedule = Schedule(len(prompts), decoding.samples, rows, slots)
        self.completions_left = len(prompts) * decoding.samples
        self._model, self._prompts, self._decoding = model, prompts, decoding
        self._limits, self._names = limits, names
        on_cpu = like.device.type == "cpu"
        self._look_every, self._width_step = (1, 32) if on_cpu else (LOOK_EVERY, 256)
        self._decoding_step = Replayed(self._decode, record)
        room = max(limits)
        layers = model.config.get_text_config().num_hidden_layers
        self._cache = shared_prefix.SlotCache(
            layers, decoding.samples, (slots, max(len(prompt) for prompt in prompts)), (rows, room), like
        )
        self._stop = torch.tensor(sorted(stop_ids), device=like.device)
        # of each row: the token to read, its position, tokens written, the most of them, the stream, whether it ended
        empty = torch.zeros(rows, dtype=torch.long, device=like.device)
        self._tokens, self._positions, self._lengths, self._most, self._keys = (empty.clone() for _ in range(5))
        self._ended = torch.ones_like(empty, dtype=torch.bool)
        # one column more, for what is written behind the end of a row that is full
        self._written = empty.new_zeros(rows, room + 1)
        self._log_probs = self._written.float() if decoding.log_probs else None
        self._ages = [0] * rows

    @property
    def is_done(self) -> bool:
        """Whether all completions were given."""
        return not self.completions_left

    @torch.inference_mode()
    def advance(self) -> list[tuple[int, int, Written]]:
        """Go on to the next look; give the completions that have ended: prompt, sample, what was written."""
        with shared_prefix.attending(self._model):
            self._admit()
            for _ in range(self._look_every):
                self._step()
        ended = self._take_ended()
        packed = self.schedule.pack()
        if packed is not None:
            self._pack(*packed)
        self.completions_left -= len(ended)
        return ended

    def close(self) -> None:
        """Let the cache go at once: what is in a circle with its own method waits for Python to look for circles."""
        del self._cache, self._decoding_step

    def _admit(self) -> None:
        """Let free rows begin what waits."""
        began, opened = self.schedule.admit()
        if not began:
            return
        self._prefill(opened)
        places = [_held(self.schedule.rows[row]) for row in began]
        prompts = [self._prompts[place.prompt] for place in places]
        rows = self._tensor(began)
        self._tokens[rows] = self._tensor([prompt[-1] for prompt in prompts])
        self._positions[rows] = self._tensor([len(prompt) - 1 for prompt in prompts])
        self._most[rows] = self._tensor([self._limits[place.prompt] for place in places])
        seed = self._decoding.seed
        self._keys[rows] = self._tensor([stream_key(seed, self._names[one.prompt], one.sample) for one in places])
        self._lengths[rows] = 0
        self._ended[rows] = False
        for row in began:
            self._ages[row] = 0
        self._set_lanes()

    def _prefill(self, slots: Sequence[int]) -> None:
        """Compute the prompts that are new in these slots, but for their last token, a few at once."""
        while slots:
            prompts = [self._prompts[_held(self.schedule.slots[slot])] for slot in slots]
            width = self._stepped(max(1, len(prompts[0]) - 1))
            some = max(1, PREFILL_TOKENS // width)
            lengths = [len(prompt) - 1 for prompt in prompts[:some]]
            ids = self._tensor([[*prompt[:-1], *[0] * (width - len(prompt) + 1)] for prompt in prompts[:some]])
            prefilled = DynamicCache()
            # without the output head: nothing is drawn from these
            getattr(self._model, self._model.base_model_prefix)(
                input_ids=ids,
                position_ids=torch.arange(width, device=ids.device).expand_as(ids),
                past_key_values=prefilled,
                use_cache=True,
            )
            self._cache.store(prefilled, list(slots[:some]), lengths)
            slots = slots[some:]

    def _set_lanes(self) -> None:
        """Tell the cache which rows ask which prompts, and how wide the widest of them is."""
        samples = self._decoding.samples
        lanes = [place.slot * samples + place.sample if place else 0 for place in self.schedule.rows]
        self._cache.row_lanes.copy_(self._tensor(lanes))
        rows = [0] * len(self._cache.lane_rows)
        for row, place in enumerate(self.schedule.rows):
            if place:
                rows[lanes[row]] = row
        self._cache.lane_rows.copy_(self._tensor(rows))
        longest = max(len(self._prompts[prompt]) for prompt in self.schedule.slots if prompt is not None)
        self._cache.prompt_width = min(self._stepped(longest), self._cache.prompt_room[1])

    def _step(self) -> None:
        """Read a token of every row and draw the next."""
        cache = self._cache
        alive = [age for age, place in zip(self._ages, self.schedule.rows, strict=True) if place]
        cache.width = min(self._stepped(max(alive) + 1), cache.completion_room[1])
        self._decoding_step.run((cache.width, cache.prompt_width))
        self._ages = [age + 1 for age in self._ages]

    def _decode(self) -> None:
        """Do what a step does on the device: all that it keeps is written in place."""
        cache, decoding = self._cache, self._decoding
        torch.clamp(self._lengths, max=cache.completion_room[1] - 1, out=cache.columns)
        cache.mask_columns()
        output = self._model(
            input_ids=self._tokens[:, None],
            position_ids=self._positions[:, None],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
            shared_prefix=cache,
        )
        logits = output.logits[:, -1]
        self._tokens.copy_(sample(logits, decoding, uniform(self._keys, self._lengths)))
        self._written[cache.rows, self._lengths] = self._tokens
        if self._log_probs is not None:
            self._log_probs[cache.rows, self._lengths] = token_log_probs(logits, self._tokens, decoding.temperature)
        self._lengths += ~self._ended
        self._positions += ~self._ended
        self._ended |= (self._tokens[:, None] == self._stop).any(dim=1) | (self._lengths >= self._most)

    def _take_ended(self) -> list[tuple[int, int, Written]]:
        """Look at the device: give what has ended and free its rows."""
        over = [row for row, ended in enumerate(self._ended.tolist()) if ended and self.schedule.rows[row]]
        if not over:
            return []
        rows = self._tensor(over)
        lengths, ids = self._lengths[rows].tolist(), self._written[rows].tolist()
        log_probs = None if self._log_probs is None else self._log_probs[rows].tolist()
        found = []
        for place, (row, length) in enumerate(zip(over, lengths, strict=True)):
            told = None if log_probs is None else tuple(log_probs[place][:length])
            ended = self.schedule.end(row)
            found.append((ended.prompt, ended.sample, (ids[place][:length], told)))
        return found

    def _pack(self, slots: Sequence[int], rows: Sequence[int]) -> None:
        """Keep only these prompt and row slots."""
        self._decoding_step.forget()
        kept = self._tensor(rows)
        self._cache.keep(self._tensor(slots), kept)
        for name in ("_tokens", "_positions", "_lengths", "_most", "_keys", "_ended", "_written"):
            setattr(self, name, getattr(self, name)[kept])
        if self._log_probs is not None:
            self._log_probs = self._log_probs[kept]
        self._ages = [self._ages[row] for row in rows]
        self._set_lanes()

    def _stepped(self, width: int) -> int:
        """Give a width that there are few of."""
        return -(-width // self._width_step) * self._width_step

    def _tensor(self, numbers: Sequence[Any]) -> Tensor:
        return torch.tensor(numbers, dtype=torch.long, device=self._ended.device)


def _held(found: Any) -> Any:
    assert found is not None
    return found
