"""The watch over phases: whose time and memory it was, when memory grows, when a run stands still."""

import mmap
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mbt_lite import memory
from mbt_lite.memory import in_phase
from mbt_lite.training import phase_watch
from mbt_lite.training.phase_watch import GROWTH_STEPS, PhaseWatch, growth_per_step

ROOT = Path(__file__).parents[2]
MIB = 2**20


class Watched:
    """A watch with a clock that stands still until it is moved, and no thread that looks."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(phase_watch, "_LOOK", 3600.0)
        self.now, self.noticed = 0.0, []
        self.watch = PhaseWatch("grpo", 0, self.noticed.append, lambda: self.now)
        self.step = 0

    def pass_step(self, **seconds: float) -> dict[str, float]:
        for phase, taken in seconds.items():
            with in_phase(phase):  # type: ignore[arg-type]
                self.now += taken
        self.step += 1
        return self.watch.end_step(self.step, 100)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    lab = Watched(monkeypatch)
    yield lab
    lab.watch.close()


def test_end_step_gives_each_phase_its_own_time_the_innermost_of_nested_ones(watched: Watched) -> None:
    with in_phase("backward"):
        watched.now += 1
        with in_phase("rollouts"):
            watched.now += 10
        with in_phase("forward"):
            watched.now += 3
        watched.now += 4
    watched.now += 100
    values = watched.watch.end_step(1, 10)
    times = {key: value for key, value in values.items() if key.startswith("time/")}
    assert times == {"time/backward_seconds": 5.0, "time/rollouts_seconds": 10.0, "time/forward_seconds": 3.0}
    assert not [key for key in watched.watch.end_step(2, 10) if key.startswith("time/")]


def test_a_phase_ends_with_an_error_too(watched: Watched) -> None:
    def fail() -> None:
        watched.now += 2
        raise KeyError

    with pytest.raises(KeyError), in_phase("rollouts"):
        fail()
    watched.now += 50
    assert watched.watch.end_step(1, 10)["time/rollouts_seconds"] == 2.0


@pytest.mark.skipif(not memory.can_be_watched(), reason="reads resident memory from /proc")
def test_end_step_gives_the_phase_that_held_most_its_peak_exactly(watched: Watched) -> None:
    size = memory.peak_bytes() - memory.resident_bytes() + 64 * MIB
    with in_phase("rollouts"), mmap.mmap(-1, size) as held:
        held.write(b"x" * size)
    with in_phase("optimizer"):
        pass
    values = watched.watch.end_step(1, 10)
    assert values["memory/rollouts_gib"] == pytest.approx(memory.peak_bytes() / 2**30, abs=0.02)
    assert "memory/optimizer_gib" not in values


@pytest.mark.skipif(not memory.can_be_watched(), reason="reads resident memory from /proc")
def test_look_samples_a_phase_that_is_not_the_highest(watched: Watched) -> None:
    with in_phase("rollouts"):
        watched.watch.look()
    values = watched.watch.end_step(1, 10)
    assert values["memory/rollouts_gib"] == pytest.approx(memory.resident_bytes() / 2**30, abs=0.05)


FLAT = [2**30] * 40
GROWTH = {
    "flat": (FLAT, None),
    "too few steps": ([2**30 + step * 64 * MIB for step in range(GROWTH_STEPS - 1)], None),
    "by 24 MiB": ([2**30 + step * 24 * MIB for step in range(40)], 24 * MIB),
    "up and down": ([2**30 + (step % 2) * 512 * MIB + step * 4 * MIB for step in range(40)], None),
    "a step up at the start that stays": ([2**30] + [2**31] * 39, None),
    "little of much": ([100 * 2**30 + step * 10 * MIB for step in range(40)], None),
    "over by now": ([2**30 + min(step, 10) * 64 * MIB for step in range(40)], None),
}


@pytest.mark.parametrize("case", GROWTH)
def test_growth_per_step_by_hand(case: str) -> None:
    held, expected = GROWTH[case]
    assert growth_per_step(held) == expected


def test_end_step_warns_of_growth_once(watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in range(40):
        monkeypatch.setattr(memory, "held_bytes", lambda held=2**30 + step * 100 * MIB: held)
        watched.pass_step()
    (noticed,) = watched.noticed
    assert (noticed.step, noticed.name) == (GROWTH_STEPS, "memory/held_gib")
    assert noticed.meaning == "memory grows by 100 MiB a step, from 2.4 GiB to 10.7 at the end"


def test_look_names_the_phase_that_stalls_once(watched: Watched) -> None:
    for _ in range(3):
        watched.pass_step(rollouts=100, backward=200)
    with in_phase("rollouts"):
        watched.now += 599
        watched.watch.look()
        assert not watched.noticed
        watched.now += 241
        watched.watch.look()
        watched.watch.look()
    (noticed,) = watched.noticed
    assert (noticed.step, noticed.name, noticed.value, noticed.limit) == (4, "time/rollouts_seconds", 840.0, 100.0)
    assert noticed.meaning.startswith("14 min in rollouts, 8 times the median; `py-spy dump --pid ")


def test_look_says_nothing_before_it_knows_what_is_usual_nor_of_short_phases(watched: Watched) -> None:
    with in_phase("rollouts"):
        watched.now += 10_000
        watched.watch.look()
    for _ in range(3):
        watched.pass_step(optimizer=0.1)
    with in_phase("optimizer"):
        watched.now += 60
        watched.watch.look()
    watched.now += 10_000
    watched.watch.look()
    assert not watched.noticed


def test_look_names_a_stall_in_a_phase_that_took_no_time_before(watched: Watched) -> None:
    for _ in range(3):
        watched.pass_step(save=0)
    with in_phase("save"):
        watched.now += 300
        watched.watch.look()
    assert watched.noticed[0].meaning.startswith("5 min in save, ")


HANGING = """
import signal, time
from mbt_lite.memory import in_phase
from mbt_lite.training import phase_watch
# a job in the background of a shell is born deaf to it
signal.signal(signal.SIGINT, signal.default_int_handler)
phase_watch.STALL_SECONDS = 0.3
watch = phase_watch.PhaseWatch("grpo", 0, lambda noticed: print(noticed.meaning, flush=True))
for step in range(3):
    with in_phase("rollouts"):
        time.sleep(0.02)
    watch.end_step(step + 1, 9)
with in_phase("rollouts"):
    time.sleep({seconds})
"""


def test_a_run_that_hangs_is_named_and_still_ends_by_ctrl_c() -> None:
    code = HANGING.format(seconds=600)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          text=True) as child:  # fmt: skip
        assert child.stdout is not None
        assert "in rollouts" in child.stdout.readline()
        child.send_signal(signal.SIGINT)
        try:
            assert child.wait(timeout=60) != 0
        finally:
            child.kill()


def test_the_thread_keeps_no_process_alive() -> None:
    done = subprocess.run([sys.executable, "-c", HANGING.format(seconds=0)], cwd=ROOT, capture_output=True, text=True,
                          check=True, timeout=60)  # fmt: skip
    assert done.stdout == ""
