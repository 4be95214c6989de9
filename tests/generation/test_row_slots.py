"""Slots that are filled again: the same completions as one by one, nearly all rows alive, in any order of ends."""

import dataclasses
import gc
import weakref

import pytest
import torch

from mbt_lite.generation import generate as module
from mbt_lite.generation import row_slots, shared_prefix
from mbt_lite.generation.decoding import Decoding
from mbt_lite.generation.generate import complete
from mbt_lite.generation.library import complete_by_library
from mbt_lite.generation.schedule import Schedule

PROMPTS = [[5 + (7 * index + 3 * place) % 280 for place in range(2 + 5 * index % 17)] for index in range(9)]
# a token in nine ends a completion: some rows go to their limit, some end at once
STOPS = frozenset(range(0, 320, 9))


@pytest.fixture
def uneven(student, monkeypatch):
    monkeypatch.setattr(type(student), "stop_ids", STOPS)
    return student


def completed(student, prompts, decoding, **more):
    found = list(complete(student, prompts, decoding, **more))
    assert len({place[:2] for place in found}) == len(found) == len(prompts) * decoding.samples
    return {place[:2]: place[2] for place in found}


def head_rows(student, run):
    """Count the rows of the output head while `run` runs, a number for each step."""
    seen = []
    with student.rollout_model() as view:
        hook = view.get_output_embeddings().register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape))
    try:
        return run(), seen
    finally:
        hook.remove()


@pytest.mark.parametrize("samples", [1, 8])
@pytest.mark.parametrize("rows", [3, 8])
def test_refilled_greedy_rows_equal_the_library(uneven, samples, rows):
    decoding = Decoding(samples=samples, max_completion_tokens=20, batch_size=rows)
    found = completed(uneven, PROMPTS, decoding)
    for index, prompt in enumerate(PROMPTS):
        [(expected, _)] = complete_by_library(uneven, [prompt], Decoding(max_completion_tokens=20), [20])
        assert all(found[index, sample] == (expected, None) for sample in range(samples))
    assert len({len(ids) for ids, _ in found.values()}) > 4, "all of about one length: the test shows less"


@pytest.mark.parametrize("cuts", [{}, {"top_k": 20, "top_p": 0.9}], ids=["plain", "top-k and top-p"])
def test_a_completion_depends_on_no_other_row(uneven, cuts):
    decoding = Decoding(
        samples=3, temperature=1.0, max_completion_tokens=16, batch_size=7, seed=5, log_probs=True, **cuts
    )
    found = completed(uneven, PROMPTS, decoding)
    assert len({tuple(ids) for ids, _ in found.values()}) > 20
    for batch_size in (2, 64):
        again = completed(uneven, PROMPTS, dataclasses.replace(decoding, batch_size=batch_size))
        assert {place: ids for place, (ids, _) in again.items()} == {place: ids for place, (ids, _) in found.items()}
        for place, (_, log_probs) in again.items():
            assert torch.allclose(torch.tensor(log_probs), torch.tensor(found[place][1]), atol=1e-4, rtol=0)
    # fewer samples are the first of more
    few = completed(uneven, PROMPTS, dataclasses.replace(decoding, samples=2))
    assert {place: ids for place, (ids, _) in few.items()} == {
        place: ids for place, (ids, _) in found.items() if place[1] < 2
    }


def test_looking_rarely_changes_nothing(uneven, monkeypatch):
    """What a row writes behind its end, before anyone looks, is dropped."""
    decoding = Decoding(samples=2, temperature=1.0, max_completion_tokens=11, batch_size=5, log_probs=True)
    expected = completed(uneven, PROMPTS, decoding)
    original = row_slots.RowSlots.__init__

    def begin(self, *args, **kwargs):
        original(self, *args, **kwargs)
        self._look_every = 4

    monkeypatch.setattr(row_slots.RowSlots, "__init__", begin)
    found = completed(uneven, PROMPTS, decoding)
    assert {place: ids for place, (ids, _) in found.items()} == {place: ids for place, (ids, _) in expected.items()}
    assert all(len(ids) == len(log_probs) for ids, log_probs in found.values())


def test_a_recorded_step_is_the_step(uneven, monkeypatch):
    """All of a CUDA graph but its capture: what a step reads and writes stays in its place while it is replayed."""
    sampled = {"temperature": 1.0, "seed": 4, "log_probs": True}
    decoding = Decoding(samples=2, max_completion_tokens=40, batch_size=5, **sampled)
    expected = completed(uneven, PROMPTS, decoding)
    replays = []

    def record(step):
        slots = step.__self__

        def places():
            kept = [value for value in vars(slots).values() if isinstance(value, torch.Tensor)]
            cache = slots._cache
            kept += [cache.rows, cache.columns, cache.row_lanes, cache.lane_rows, cache.prompt_mask]
            kept += [one for layer in cache.slot_layers for one in (layer.prompt_keys, layer.keys, layer.values)]
            return [tensor.data_ptr() for tensor in kept]

        recorded_at = places()

        def replay():
            assert places() == recorded_at
            replays.append(len(slots._ended))
            step()

        return replay

    monkeypatch.setattr(module, "recorder", lambda device, wanted: record)
    found = completed(uneven, PROMPTS, decoding)
    assert found == expected
    assert len(set(replays)) > 1, "recorded in one shape only: the test shows less"


def test_rows_are_alive_until_the_last_prompts(student, monkeypatch):
    """64 prompts of 4 samples in 16 rows, ends as uneven as they come."""
    monkeypatch.setattr(type(student), "stop_ids", frozenset(range(0, 320, 40)))
    decoding = Decoding(samples=4, temperature=1.0, max_completion_tokens=64, batch_size=16, seed=1)
    prompts = [[5 + index, 9, 11] for index in range(64)]
    found, shapes = head_rows(student, lambda: completed(student, prompts, decoding))
    assert max(len(ids) for ids, _ in found.values()) > 2 * sum(len(ids) for ids, _ in found.values()) / len(found)
    assert all(shape[1] == 1 for shape in shapes)
    rows = [shape[0] for shape in shapes]
    assert sum(len(ids) for ids, _ in found.values()) >= 0.9 * sum(rows)
    assert max(rows) == 16
    assert len(set(rows)) <= 8, "few shapes"


@pytest.mark.parametrize("wanted", [{0, 5}, {8}, set(range(9)), set()])
@pytest.mark.parametrize("samples", [1, 2])
def test_what_goes_on_after_a_stop_is_what_it_would_have_been(uneven, monkeypatch, samples, wanted):
    """Bit for bit: its log-probabilities too."""
    monkeypatch.setattr(module, "WAVE", 2)
    decoding = Decoding(
        samples=samples, temperature=1.0, max_completion_tokens=12, batch_size=3, seed=2, log_probs=True
    )
    whole = completed(uneven, PROMPTS, decoding)
    again = {place[:2]: place[2] for place in complete(uneven, PROMPTS, decoding, wanted)}
    assert {place for place in whole if place[0] in wanted} <= again.keys()
    assert again.items() <= whole.items()


def test_a_wave_of_which_nothing_is_wanted_is_not_computed(student, monkeypatch):
    monkeypatch.setattr(module, "WAVE", 1)
    decoding = Decoding(max_completion_tokens=3, batch_size=4)
    prompts = [[5] * (20 - index) for index in range(12)]
    found = {place[0] for place in complete(student, prompts, decoding, {5})}
    assert found <= {4, 5, 6, 7}


def test_limits_hold_for_each_prompt_beside_others(uneven):
    decoding = Decoding(samples=2, max_completion_tokens=20, batch_size=5)
    limits = [1 + index % 20 for index in range(len(PROMPTS))]
    whole = completed(uneven, PROMPTS, decoding)
    cut = completed(uneven, PROMPTS, decoding, limits=limits)
    assert cut == {place: (ids[: limits[place[0]]], None) for place, (ids, _) in whole.items()}


def test_schedule_keeps_every_place_once_and_its_prompt_in_one_slot():
    schedule = Schedule(prompts=7, samples=3, rows=5, slots=3)
    seen = []
    while True:
        _, opened = schedule.admit()
        assert len(set(opened)) == len(opened)
        live = [row for row, place in enumerate(schedule.rows) if place]
        if not live:
            break
        for place in (schedule.rows[row] for row in live):
            assert schedule.slots[place.slot] == place.prompt
        ended = live[len(seen) % len(live)]
        place = schedule.end(ended)
        seen.append((place.prompt, place.sample))
        schedule.pack()
    assert sorted(seen) == [(prompt, sample) for prompt in range(7) for sample in range(3)]
    assert len(schedule.rows) == 1


def test_the_cache_goes_when_its_completions_have_ended(student, monkeypatch):
    made = []
    init = shared_prefix.SlotCache.__init__

    def seen(self, *arguments):
        init(self, *arguments)
        made.append(weakref.ref(self))

    monkeypatch.setattr(shared_prefix.SlotCache, "__init__", seen)
    gc.disable()
    try:
        completed(student, PROMPTS, Decoding(samples=2, max_completion_tokens=4, batch_size=4))
        assert made
        assert not [cache for cache in made if cache() is not None], "it would stay on the card through backward"
    finally:
        gc.enable()
