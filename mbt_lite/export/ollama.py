"""GGUF for llama.cpp and Ollama: llama.cpp's own converter on the merged model, and a Modelfile that asks as we train.

The converter is no part of a package that we could depend on: llama.cpp keeps `convert_hf_to_gguf.py` in its
repository. So it is found or named, run on the merged folder, and what it wrote is read back with the `gguf` library.
The Modelfile's template is not written by hand: it is cut out of what the tokenizer's chat template renders.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from mbt_lite.errors import ModelError
from mbt_lite.recipe.schema import Recipe

# The script of a llama.cpp checkout, and the names under which distributions install it.
CONVERTERS = ("convert_hf_to_gguf.py", "convert-hf-to-gguf", "llama-convert-hf-to-gguf")
CURE = "clone llama.cpp and give its convert_hf_to_gguf.py with --converter, or use --format merged"
# Stand for the contents when a template is rendered; no template holds them.
SYSTEM, USER, ASSISTANT = "MBT-SYSTEM-CONTENT", "MBT-USER-CONTENT", "MBT-ASSISTANT-CONTENT"


def find_converter(given: Path | None) -> list[str]:
    """Give the converter's command: the given one, or the one on PATH. ModelError with the cure if there is none."""
    if given is not None and not given.is_file():
        raise ModelError(f"--converter: no such file (got {given}); {CURE}")
    found = str(given) if given is not None else next(filter(None, map(shutil.which, CONVERTERS)), None)
    if found is None:
        raise ModelError(f"export: llama.cpp's converter is not on PATH (looked for {', '.join(CONVERTERS)}); {CURE}")
    return [sys.executable, found] if found.endswith(".py") else [found]


def convert(command: list[str], merged: Path, gguf: Path, tokenizer: Any) -> None:
    """Convert a merged folder to one GGUF file in its own precision, and check what stands in it.

    Raises ModelError with the converter's last words if it fails, or if the file would end turns elsewhere.
    """
    done = subprocess.run(
        [*command, str(merged), "--outfile", str(gguf), "--outtype", "auto"], capture_output=True, text=True
    )
    if done.returncode != 0 or not gguf.is_file():
        words = (done.stderr or done.stdout).strip().splitlines()
        said = words[-1] if words else "nothing"
        raise ModelError(f"{command[-1]}: failed with exit code {done.returncode} (said: {said}); {CURE}")
    check_gguf(gguf, tokenizer)


def check_gguf(path: Path, tokenizer: Any) -> None:
    """Compare the file's kind of tokenizer, end of turn and template with ours; ModelError names what differs."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    # a tokenizer that describes itself wrongly is taken for another kind, and then reads nothing or nonsense
    kind = "gpt2" if "\u0120" in tokenizer.get_vocab() else None
    for key, wanted in (
        *([("tokenizer.ggml.model", kind)] if kind else []),
        ("tokenizer.ggml.eos_token_id", tokenizer.eos_token_id),
        ("tokenizer.chat_template", tokenizer.chat_template),
    ):
        found = fields[key].contents() if key in fields else None
        if found != wanted:
            problem = f"`{key}` is wrong (got {found!r}, not {wanted!r})"
            raise ModelError(f"{path}: {problem}; use another version of llama.cpp, or --format merged")


def ollama_template(tokenizer: Any) -> str:
    """Write the tokenizer's chat template in Ollama's words, for one question and its answer."""
    after = _between(tokenizer, [("user", USER), ("assistant", ASSISTANT)], generate=False)[-1]
    before, request = _between(tokenizer, [("user", USER)], generate=True)
    asked = f"{before}{{{{ .Prompt }}}}"
    pieces = _between(tokenizer, [("system", SYSTEM), ("user", USER)], generate=True)
    # a template without a system role leaves its content out
    if len(pieces) == 3:
        told = f"{pieces[0]}{{{{ .System }}}}{pieces[1]}{{{{ .Prompt }}}}"
        asked = f"{{{{ if .System }}}}{told}{{{{ else }}}}{asked}{{{{ end }}}}"
    return f"{asked}{request}{{{{ .Response }}}}{after}"


def _between(tokenizer: Any, turns: list[tuple[str, str]], *, generate: bool) -> list[str]:
    """Render a conversation and give the texts around its contents, in order."""
    messages = [{"role": role, "content": content} for role, content in turns]
    rest = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generate)
    pieces = []
    for _, content in turns:
        if content in rest:
            piece, _, rest = rest.partition(content)
            pieces.append(piece)
    return [*pieces, rest]


def modelfile(recipe: Recipe, tokenizer: Any, stop_ids: list[int], gguf: str) -> str:
    """Write the Modelfile: template, stop tokens, and the sampling with which `eval` scores."""
    scored = recipe.eval
    parameters: dict[str, float] = {
        "temperature": scored.temperature,
        "num_ctx": recipe.data.max_prompt_tokens + scored.max_completion_tokens,
        "num_predict": scored.max_completion_tokens,
    }
    if scored.temperature > 0:
        parameters |= {"top_p": scored.top_p, "top_k": scored.top_k}
    lines = [
        "# One question, one answer: what the model was trained on.",
        "#   ollama create NAME -f Modelfile                        as it is, or smaller:",
        "#   ollama create NAME -f Modelfile --quantize q4_K_M",
        f"FROM ./{gguf}",
        f'TEMPLATE """{ollama_template(tokenizer)}"""',
        *(f'PARAMETER stop "{token}"' for token in tokenizer.convert_ids_to_tokens(stop_ids)),
        *(f"PARAMETER {name} {value:g}" for name, value in parameters.items()),
    ]
    return "\n".join(lines) + "\n"
