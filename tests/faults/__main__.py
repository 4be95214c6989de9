"""Run the faults and say what came of them; exit code 1 if anything was wrong."""

import argparse
import functools
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import faults
from faults.damages import damage_often
from faults.full_disks import fill_often
from faults.inputs import break_recipes, fuzz
from faults.kills import kill_often
from faults.lab import Lab
from faults.replies import answer_oddly

SMALL = {"recipes": 60, "inputs": 3000, "replies": 4, "full disks": 3, "damages": 6, "kills": 5}
LONG = {"recipes": 60, "inputs": 50_000, "replies": 54, "full disks": 30, "damages": 150, "kills": 160}


def run(counts: dict[str, int], seed: int, say: Callable[[str], object]) -> list[str]:
    """Run so many of each kind; give all that was wrong."""
    kinds: dict[str, Callable[[int, random.Random], list[str]]] = {"recipes": break_recipes, "inputs": fuzz}
    wrong = _each(kinds, counts, seed, say)
    if not counts.keys() - kinds.keys():
        return wrong
    with tempfile.TemporaryDirectory() as scratch, Lab(Path(scratch)).open() as lab:
        say("stages: " + ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in lab.seconds.items()))
        kinds = {
            "replies": functools.partial(answer_oddly, lab),
            "full disks": functools.partial(fill_often, lab),
            "damages": functools.partial(damage_often, lab),
            "kills": functools.partial(kill_often, lab),
        }
        return wrong + _each(kinds, counts, seed, say)


def _each(
    kinds: dict[str, Callable[[int, random.Random], list[str]]],
    counts: dict[str, int],
    seed: int,
    say: Callable[[str], object],
) -> list[str]:
    found = []
    for name, inflict in kinds.items():
        if name not in counts:
            continue
        begun = time.monotonic()
        wrong = inflict(counts[name], random.Random(seed))
        say("\n\n".join([*wrong, f"{counts[name]} {name}: {len(wrong)} wrong, {time.monotonic() - begun:.0f} s"]))
        found += wrong
    return found


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=faults.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=LONG, help="run one kind")
    asked = parser.parse_args()
    counts = LONG if asked.long else SMALL
    chosen = counts if asked.only is None else {asked.only: counts[asked.only]}
    sys.exit(bool(run(chosen, asked.seed, lambda line: print(line, flush=True))))


if __name__ == "__main__":
    main()
