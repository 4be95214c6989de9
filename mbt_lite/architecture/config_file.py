"""An architecture from a model's config.json, as transformers writes it.

Keys that older files leave out stand for the format's own values: `head_dim` is hidden / heads, embeddings are tied in
Gemma only, every layer of the other families has full attention.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from mbt_lite.architecture.numbers import FAMILIES, Architecture, Family
from mbt_lite.errors import ModelError

_TIED_IF_UNSAID = {"llama": False, "qwen2": False, "qwen3": False, "gemma3_text": True}


def read_config(path: Path) -> Architecture:
    """Read a config.json; ModelError for a file that is none, or for a family that is not known."""
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, OSError) as error:
        raise ModelError(f"{path}: no model configuration ({error}); download the model again") from error
    if not isinstance(config, dict) or "model_type" not in config:
        raise ModelError(f"{path}: no `model_type`; name the folder of a transformers model")
    family = config["model_type"]
    if family not in FAMILIES:
        raise ModelError(f"{path}: the plan does not know this family (got {family}; known: {', '.join(FAMILIES)})")
    try:
        return _architecture(cast("Family", family), config)
    except (KeyError, TypeError) as error:
        raise ModelError(f"{path}: incomplete for a {family} model ({error}); download the model again") from error


def _architecture(family: Family, config: dict[str, Any]) -> Architecture:
    layers, hidden, heads = config["num_hidden_layers"], config["hidden_size"], config["num_attention_heads"]
    sliding = _sliding_layers(family, config)
    return Architecture(
        family=family,
        layers=layers,
        hidden=hidden,
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_size=config.get("head_dim") or hidden // heads,
        vocabulary=config["vocab_size"],
        is_tied=config.get("tie_word_embeddings", _TIED_IF_UNSAID[family]),
        has_attention_bias=family != "qwen2" and bool(config.get("attention_bias")),
        sliding_window=config["sliding_window"] if sliding else 0,
        sliding_layers=sliding,
    )


def _sliding_layers(family: Family, config: dict[str, Any]) -> int:
    """Count the layers with a sliding window; old Gemma files name their pattern, others say `use_sliding_window`."""
    if "layer_types" in config:
        return int(sum(kind == "sliding_attention" for kind in config["layer_types"]))
    if family == "gemma3_text":
        layers = config["num_hidden_layers"]
        return int(layers - layers // config["sliding_window_pattern"])
    if config.get("use_sliding_window"):
        return int(config["num_hidden_layers"] - config["max_window_layers"])
    return 0
