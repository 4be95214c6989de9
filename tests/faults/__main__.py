"""Run the faults and say what came of them; exit code 1 if anything was wrong."""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faults
from faults.full_disks import fill_often
from faults.inputs import break_recipes, fuzz
from faults.kills import kill_often
from faults.lab import Lab
from faults.replies import answer_oddly

SMALL = {"recipes": 60, "inputs": 3000, "replies": 4, "full disks": 3, "kills": 5}
LONG = {"recipes": 60, "inputs": 50_000, "replies": 40, "full disks": 30, "kills": 160}


def run(counts: dict[str, int], seed: int, say: Callable[[str], object]) -> list[str]:
    """Run so many of each kind; give all that was wrong."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as scratch:
        kinds: dict[str, Callable[[int, random.Random], list[str]]] = {"recipes": break_recipes, "inputs": fuzz}
        wrong += _each(kinds, counts, seed, say)
        with Lab(Path(scratch)).open() as lab:
            say("stages: " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in lab.seconds.items()))
            kinds = {
                "replies": lambda times, chance: answer_oddly(lab, times, chance),
                "full disks": lambda times, chance: fill_often(lab, times, chance),
                "kills": lambda times, chance: kill_often(lab, times, chance),
            }
            wrong += _each(kinds, counts, seed, say)
    return wrong


def _each(
    kinds: dict[str, Callable[[int, random.Random], list[str]]],
    counts: dict[str, int],
    seed: int,
    say: Callable[[str], object],
) -> list[str]:
    found = []
    for name, inflict in kinds.items():
        begun = time.monotonic()
        wrong = inflict(counts[name], random.Random(seed))
        say(f"{counts[name]} {name}: {len(wrong)} wrong, {time.monotonic() - begun:.0f} s")
        found += wrong
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=faults.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    wrong = run(LONG if asked.long else SMALL, asked.seed, lambda line: print(line, flush=True))
    print("\n\n".join(wrong))
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
