"""`make gpu-bundle`: what a card's machine lacks, in one folder of at most 60 MiB, so that it is checked offline.

    python tests/gpu/bundle.py FOLDER [--python 3.12]

The machine has torch for CUDA, transformers, accelerate and peft (`check.py` tells what is missing). Wheels are
unpacked, not installed. What a check does not need stays out: unsloth's Studio, and of bitsandbytes' libraries all but
one CUDA.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CONSTRAINTS = Path(__file__).parents[2] / "constraints-unsloth.txt"
MOST_BYTES = 60 * 2**20
# Two releases of TRL: the base set's, and the one that unsloth takes.
TRL = ("1.15.0", "1.16.0")
PACKAGES = (
    "bitsandbytes==0.50.2", "datasets==4.8.5", "unsloth==2026.10.9", "unsloth_zoo==2026.10.9",
    # what these and mbt-lite import that a machine for transformers may lack
    "multiprocess", "dill", "xxhash", "pydantic==2.14.3", "pydantic-core", "annotated-types", "typing-inspection",
    "typer==0.29.2", "rich==15.0.0", "click", "shellingham", "markdown-it-py", "mdurl", "pygments", "gguf==0.19.0",
    "tyro", "docstring-parser", "typeguard", "msgspec", "cut-cross-entropy", "nest-asyncio", "json5", "structlog",
    "einops", "pytest", "pluggy", "iniconfig",
)  # fmt: skip
CUDA = "cuda130"


def download(packages: tuple[str, ...], python: str, into: Path, *options: str) -> list[Path]:
    """Fetch wheels, without what they depend on, for the machine's Python."""
    with tempfile.TemporaryDirectory() as folder:
        target = ["--only-binary=:all:", "--python-version", python, "--platform", "manylinux_2_28_x86_64"]
        platforms = [
            word
            for name in ("manylinux_2_24", "manylinux_2_17", "manylinux2014")
            for word in ("--platform", f"{name}_x86_64")
        ]
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", *target, *platforms, "-d", folder]
        subprocess.run([*command, *options, *packages], check=True)
        wheels = sorted(Path(folder).glob("*.whl"))
        for wheel in wheels:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(into)
        return [Path(wheel.name) for wheel in wheels]


def prune(site: Path) -> None:
    """Take out what is large and not needed."""
    for library in site.glob("bitsandbytes/*.so"):
        if CUDA not in library.name:
            library.unlink()
    for folder in ("unsloth/studio", "studio", "unsloth_cli", "datasets/commands"):
        shutil.rmtree(site / folder, ignore_errors=True)
    for leftover in (*site.rglob("tests"), *site.rglob("*.pdb"), *site.rglob("*.exe")):
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink(missing_ok=True)


def put_tokenizer(cache: Path) -> None:
    """Take the embedded student's tokenizer and configuration along: random students are written with them."""
    from mbt_lite.student.embedded import NAME, PREFIX, embedded_folder

    source = embedded_folder(PREFIX + NAME)
    target = cache / "mbt-lite" / source.name
    target.mkdir(parents=True)
    for file in source.iterdir():
        if file.is_file() and not file.name.endswith(".safetensors"):
            shutil.copy(file, target)


def size_of(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default="3.12")
    asked = parser.parse_args()
    shutil.rmtree(asked.folder, ignore_errors=True)
    site = asked.folder / "site"
    site.mkdir(parents=True)
    # what belongs together is pinned together: pydantic refuses any core but its own
    wheels = download(PACKAGES, asked.python, site, "-c", str(CONSTRAINTS))
    for version in TRL:
        (asked.folder / f"trl-{version}").mkdir()
        wheels += download((f"trl=={version}",), asked.python, asked.folder / f"trl-{version}")
    prune(site)
    put_tokenizer(asked.folder / "cache")
    size = size_of(asked.folder)
    print(f"{asked.folder}: {len(wheels)} wheels, {size / 2**20:.1f} MiB")
    if size > MOST_BYTES:
        print(f"more than {MOST_BYTES / 2**20:.0f} MiB: take something out", file=sys.stderr)
    return int(size > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main())
