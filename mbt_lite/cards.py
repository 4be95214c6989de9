"""The NVIDIA cards of this machine, as nvidia-smi tells them, and which build of torch can use them.

Needs nothing but Python, because the Makefile asks before anything is installed: `python -m mbt_lite.cards index`
prints the address to install torch from, `python -m mbt_lite.cards` what was found.

nvidia-smi is asked, not torch, so that a card that torch cannot use is seen too. The driver decides the CUDA release:
within a major release, older drivers run newer minor releases
(docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html).
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from mbt_lite.errors import ModelError

# Where it lies on WSL, which puts it on the PATH of login shells only.
_ON_WSL = Path("/usr/lib/wsl/lib/nvidia-smi")
_FIELDS = ("name", "memory.total", "driver_version", "compute_cap")
_TIMEOUT_SECONDS = 30
Capability = tuple[int, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Card:
    """A card: `memory` in bytes, None where it shares the machine's; `capability` None where nvidia-smi is too old."""

    name: str
    memory: int | None
    driver: str
    capability: Capability | None

    def __str__(self) -> str:
        return f"{self.name} (driver {self.driver})"


@dataclasses.dataclass(frozen=True, slots=True)
class Build:
    """A build of torch: its suffix, the CUDA it brings, the oldest driver, and the oldest and newest cards."""

    name: str
    cuda: str
    driver: tuple[int, int]
    oldest: Capability
    newest: Capability


# The builds of the torch in constraints-unsloth.txt and constraints-vllm.txt, the better one first.
BUILDS = (
    Build("cu130", "13.0", (580, 65), (7, 5), (12, 1)),
    Build("cu126", "12.6", (525, 60), (5, 0), (9, 0)),
)
INDEX = "https://download.pytorch.org/whl/{build}"


def read_cards() -> tuple[Card, ...]:
    """Ask nvidia-smi for the cards of this machine; none without it, or where CUDA_VISIBLE_DEVICES hides all.

    Where that begins with the number of one, which CUDA gives the fastest first, it is the only one. A number that none
    has hides none: torch sees no card then, which is to be noticed.

    Raises ModelError where nvidia-smi itself fails: then there is a card whose driver does not work.
    """
    found = shutil.which("nvidia-smi") or (str(_ON_WSL) if _ON_WSL.exists() else None)
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES", "all").split(",")[0].strip()
    if found is None or chosen in ("", "-1"):
        return ()
    code, said = _ask(found, _FIELDS)
    if code and "not a valid field" in said:
        code, said = _ask(found, _FIELDS[:-1])
    if "no devices were found" in said.lower():
        return ()
    if code:
        cure = "restart the machine" if "mismatch" in said else "install the NVIDIA driver anew and restart"
        got = " ".join(said.split())[:200]
        raise ModelError(f"nvidia-smi: the driver does not answer (got {got}); {cure}, or set CUDA_VISIBLE_DEVICES=")
    # warnings, of a corrupted infoROM for one, stand among the lines
    cards = [read_line(line) for line in said.splitlines() if line.count(",") >= 2]
    if not chosen.isdecimal():
        return tuple(cards)
    if os.environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
        cards.sort(key=_speed, reverse=True)
    return tuple(cards[int(chosen) :][:1] or cards)


def _ask(program: str, fields: tuple[str, ...]) -> tuple[int, str]:
    command = [program, f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_TIMEOUT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer within {_TIMEOUT_SECONDS} s"
    except OSError as error:
        return 1, str(error)
    said, reason = done.stdout.strip(), done.stderr.strip()
    # of several cards some may answer
    return done.returncode, f"{reason} {said}" if done.returncode else said or reason


def read_line(line: str) -> Card:
    """Read a card from a line of nvidia-smi's CSV; what it does not know stands there as [N/A] or [Not Supported].

    >>> read_line("NVIDIA GeForce RTX 3090, 24576, 535.183.01, 8.6").capability
    (8, 6)
    """
    name, memory, driver, *rest = (field.strip() for field in line.split(","))
    capability = re.fullmatch(r"(\d+)\.(\d+)", rest[0]) if rest else None
    return Card(
        name,
        int(memory) * 2**20 if memory.isdigit() else None,
        driver,
        (int(capability[1]), int(capability[2])) if capability else None,
    )


def best_card(cards: tuple[Card, ...]) -> Card | None:
    """Give the card that CUDA numbers 0: the fastest one, as far as nvidia-smi can tell."""
    return max(cards, key=_speed, default=None)


def _speed(card: Card) -> tuple[Capability, int]:
    return card.capability or (0, 0), card.memory or 0


def choose_build(card: Card, wanted: str | None = None) -> Build:
    """Give the first build that driver and card can run, of all or the one `wanted`.

    Raises ModelError, with the cure, where there is none.
    """
    builds = [build for build in BUILDS if wanted in (None, build.name)]
    fitting = [build for build in builds if card.capability is None or build.oldest <= card.capability <= build.newest]
    if not fitting:
        raise ModelError(f"{card}: no torch for {' or '.join(build.name for build in builds)} is made for this card")
    for build in fitting:
        if driver_version(card.driver) >= build.driver:
            return build
    oldest = ".".join(map(str, fitting[-1].driver))
    raise ModelError(f"{card}: the driver is too old for torch (got {card.driver}); update it to {oldest} or newer")


def driver_version(driver: str) -> tuple[int, int]:
    """Give the first two numbers of a driver's version; zeros where there are none."""
    found = re.match(r"(\d+)\.(\d+)", driver)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def precision_of(capability: Capability) -> str:
    """Name the precision of a card: bfloat16 since Ampere (8.0), float16 since Volta (7.0), both by tensor cores.

    Older cards multiply float16 at a fraction of their float32 speed.

    >>> precision_of((7, 5)), precision_of((8, 6)), precision_of((6, 1))
    ('float16', 'bfloat16', 'float32')
    """
    if capability >= (8, 0):
        return "bfloat16"
    return "float16" if capability >= (7, 0) else "float32"


def unseen(card: Card, cuda: str | None) -> tuple[str, str]:
    """Say that torch, built for `cuda` (None: without CUDA), cannot use a card that nvidia-smi sees, and the cure."""
    if cuda is None:
        return f"{card} is there, but this torch is built without CUDA", "make setup-gpu"
    wanted = next((build for build in BUILDS if build.cuda.split(".")[0] == cuda.split(".")[0]), None)
    said = f"{card} is there, but torch for CUDA {cuda} cannot use it"
    if wanted is None or driver_version(card.driver) >= wanted.driver:
        return (
            said,
            "restart the machine after an update of the driver; see `python -c 'import torch; torch.cuda.init()'`",
        )
    oldest = ".".join(map(str, wanted.driver))
    return said, f"update the driver to {oldest} or newer, or `make setup-gpu`, which takes a torch for this driver"


def main(*asked: str) -> None:
    """Print the index to install torch from, of the best build or of one asked for, or what was found.

    Exits with a line where none fits.
    """
    try:
        card = best_card(read_cards())
        if card is None:
            raise ModelError("nvidia-smi: no card of NVIDIA is here; `make setup` is for a machine without one")
        build = choose_build(card, *asked[1:])
    except ModelError as error:
        sys.exit(str(error))
    said = f"{card}: torch for CUDA {build.cuda} (needs driver {'.'.join(map(str, build.driver))})"
    print(INDEX.format(build=build.name) if asked else said)


if __name__ == "__main__":
    main(*sys.argv[1:])
