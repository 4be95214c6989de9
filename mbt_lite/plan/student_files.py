"""What a plan may read of the student: its numbers and its tokenizer, without torch and without loading it.

Looked for in this order: the list of known architectures, the model's folder, the hub's cache on this disk, the hub
itself (two small files). `HF_HUB_OFFLINE=1` stops before the last.
"""

from __future__ import annotations

import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbt_lite.architecture.config_file import read_config
from mbt_lite.architecture.families import EMBEDDED_NAME, EMBEDDED_PREFIX, KNOWN, RANDOM_PREFIX, known_architecture
from mbt_lite.architecture.numbers import Architecture
from mbt_lite.errors import ModelError
from mbt_lite.records import Message
from mbt_lite.student.embedded import cached_folder

_HUB_TIMEOUT_SECONDS = 2.0

CountTokens = Callable[[Sequence[Sequence[Message]]], list[int]]


def read_architecture(name: str) -> Architecture:
    """Give the numbers of the student that `model.name` names; ModelError with the cure if they cannot be had."""
    known = known_architecture(name)
    if known is not None:
        return known
    for prefix in (EMBEDDED_PREFIX, RANDOM_PREFIX):
        if name.startswith(prefix):
            names = EMBEDDED_NAME if prefix == EMBEDDED_PREFIX else ", ".join(KNOWN)
            raise ModelError(f"model.name: unknown model (got {name}); after `{prefix}` there are: {names}")
    config = _find(name, "config.json") or _download(name, "config.json")
    if config is None:
        raise ModelError(
            f"model.name: no config.json of {name} on this disk, and the hub is not reachable; "
            "download the model first, or give its folder"
        )
    return read_config(config)


def read_token_counter(name: str) -> CountTokens | None:
    """Give a function that counts the tokens of prompts as the student reads them; None without its tokenizer."""
    folder = cached_folder() if name.startswith((EMBEDDED_PREFIX, RANDOM_PREFIX)) else None
    tokenizer = _found(folder, "tokenizer.json") if folder else _find(name, "tokenizer.json")
    template = _template(folder, name)
    if tokenizer is None or template is None:
        return None
    return _counter(tokenizer, template)


def _counter(tokenizer_file: Path, template: str) -> CountTokens:
    from tokenizers import Tokenizer
    from transformers.utils.chat_template_utils import render_jinja_template

    tokenizer = Tokenizer.from_file(str(tokenizer_file))

    def count(conversations: Sequence[Sequence[Message]]) -> list[int]:
        rendered: Any = render_jinja_template(
            conversations=[[dict(message) for message in messages] for messages in conversations],
            chat_template=template,
            add_generation_prompt=True,
        )
        return [len(encoded.ids) for encoded in tokenizer.encode_batch(rendered[0], add_special_tokens=False)]

    return count


def _template(folder: Path | None, name: str) -> str | None:
    """Read the chat template: a file of its own, or a key of tokenizer_config.json."""
    alone = _found(folder, "chat_template.jinja") if folder else _find(name, "chat_template.jinja")
    if alone is not None:
        return alone.read_text(encoding="utf-8")
    settings = _found(folder, "tokenizer_config.json") if folder else _find(name, "tokenizer_config.json")
    if settings is None:
        return None
    template = json.loads(settings.read_text(encoding="utf-8")).get("chat_template")
    return template if isinstance(template, str) else None


def _found(folder: Path, file: str) -> Path | None:
    return folder / file if (folder / file).is_file() else None


def _find(name: str, file: str) -> Path | None:
    """Find a file of a local folder or of the hub's cache."""
    if Path(name).is_dir():
        return _found(Path(name), file)
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(name, file) if name.count("/") == 1 else None
    return Path(cached) if isinstance(cached, str) else None


def _download(name: str, file: str) -> Path | None:
    """Fetch one small file; None if the hub cannot be reached or has none."""
    if name.count("/") != 1 or name.startswith((".", "/")) or not _reaches_hub():
        return None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

    try:
        return Path(hf_hub_download(name, file, etag_timeout=2))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError):
        return None


def _reaches_hub() -> bool:
    """Ask the hub once; its client would try again and again."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return False
    hub = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    try:
        with urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=_HUB_TIMEOUT_SECONDS):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
