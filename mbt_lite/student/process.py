"""Run a module of ours in a process of its own, with the student's backend imported before all that it patches.

`python -m mbt_lite.student.process BACKEND MODULE ARGUMENT...` calls the module's `main` with the arguments. So heavy
libraries stand at the top of such modules. BACKEND is a value of `model.backend`, or `none` for other people's code.
"""

from __future__ import annotations

import importlib
import sys

from mbt_lite.student.backend import import_backend


def command(backend: str, module: str, *arguments: str) -> list[str]:
    """Give the command line of such a process."""
    return [sys.executable, "-m", "mbt_lite.student.process", backend, module, *arguments]


def main(backend: str, module: str, *arguments: str) -> None:
    """Import the backend, then run the module."""
    if backend != "none":
        import_backend(backend)
    importlib.import_module(module).main(*arguments)


if __name__ == "__main__":
    main(*sys.argv[1:])
