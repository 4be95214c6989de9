"""The installed versions against the sets `constraints-base.txt`, `constraints-unsloth.txt`, `constraints-vllm.txt`.

The files here are copies of those beside pyproject.toml, so that an installed wheel has them; a test compares them.
"""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import sys
from collections.abc import Iterator

from mbt_lite.doctor.findings import Finding

SETS = ("base", "unsloth", "vllm")
_PYTHONS = ((3, 11), (3, 13))
_BROUGHT_ALONG = "# brought along"
# What the command line itself needs; the others belong to the extra `train`.
_CORE = ("openai", "pydantic", "pyyaml", "rich", "typer")


def read_set(name: str) -> dict[str, str]:
    """Read a tested set: versions by lower-case package name; what its packages bring along is left out."""
    text = importlib.resources.files(__package__).joinpath(f"constraints-{name}.txt").read_text(encoding="utf-8")
    lines = (line.strip() for line in text.partition(_BROUGHT_ALONG)[0].splitlines())
    pins = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {package.lower(): version for package, version in pins}


def check_python(version: tuple[int, int] = (sys.version_info[0], sys.version_info[1])) -> Finding:
    """Compare the interpreter with the tested ones."""
    said = f"{version[0]}.{version[1]}"
    if _PYTHONS[0] <= version <= _PYTHONS[1]:
        return Finding("python", said)
    return Finding("python", f"{said} is not tested", "use Python 3.11, 3.12 or 3.13: make PYTHON=python3.12 setup")


def check_versions() -> Iterator[Finding]:
    """Compare every package with the set that is installed: that of vLLM or unsloth where it is there, else base."""
    name = next((name for name in ("vllm", "unsloth") if _installed_version(name)), "base")
    tested = read_set(name)
    for package, wanted in tested.items():
        yield _check_version(package, wanted, name)


def _check_version(package: str, wanted: str, name: str) -> Finding:
    found = _installed_version(package)
    if found is None:
        extra = "" if package in _CORE else "[train]"
        return Finding(package, "not installed", f"pip install -c constraints-{name}.txt 'mbt-lite{extra}'")
    # a local version, such as 2.13.0+cpu, is a build of the same release
    if found.partition("+")[0] != wanted:
        return Finding(package, f"{found}, but {wanted} is tested", f"pip install '{package}=={wanted}'")
    return Finding(package, found)


def _installed_version(package: str) -> str | None:
    """Read a package's version from its metadata; None if it is not there."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
