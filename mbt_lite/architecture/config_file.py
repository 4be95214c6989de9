"""An architecture from a model's config.json, as transformers writes it.

Keys that a file leaves out stand for the values of the family's class in transformers 5.17.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from mbt_lite.architecture.numbers import FAMILIES, Architecture, Family
from mbt_lite.errors import ModelError

_IF_UNSAID: dict[Family, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"num_key_value_heads": 32, "sliding_window": 4096, "max_window_layers": 28},
    "qwen3": {"num_key_value_heads": 32, "head_dim": 128, "sliding_window": 4096, "max_window_layers": 28},
    "gemma3_text": {
        "num_key_value_heads": 4, "head_dim": 256, "tie_word_embeddings": True, "sliding_window": 4096,
        "sliding_window_pattern": 6,
    },
}  # fmt: skip


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
        return _architecture(cast("Family", family), _IF_UNSAID[family] | config)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path}: incomplete for a {family} model ({error}); download the model again") from error


def _architecture(family: Family, config: dict[str, Any]) -> Architecture:
    sizes = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    layers, hidden, inner, heads, vocabulary = (_size(name, config[name]) for name in sizes)
    sliding = _sliding_layers(family, config)
    return Architecture(
        family=family,
        layers=layers,
        hidden=hidden,
        intermediate=inner,
        heads=heads,
        kv_heads=_size("num_key_value_heads", config.get("num_key_value_heads") or heads),
        head_size=_size("head_dim", config.get("head_dim") or hidden // heads),
        vocabulary=vocabulary,
        is_tied=config.get("tie_word_embeddings", False),
        has_attention_bias=family != "qwen2" and bool(config.get("attention_bias")),
        sliding_window=config["sliding_window"] if sliding else 0,
        sliding_layers=sliding,
    )


def _size(name: str, value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{name} is {value!r}")
    return value


def _sliding_layers(family: Family, config: dict[str, Any]) -> int:
    """Count the layers with a sliding window; old Gemma files name their pattern, others say `use_sliding_window`."""
    layers = config["num_hidden_layers"]
    if config.get("layer_types"):
        return int(sum(kind == "sliding_attention" for kind in config["layer_types"]))
    if family == "gemma3_text":
        return int(layers - layers // config["sliding_window_pattern"])
    if config.get("use_sliding_window") and config["sliding_window"]:
        return int(max(0, layers - config["max_window_layers"]))
    return 0
