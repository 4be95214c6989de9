"""From messages to token ids by the student's own chat template."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mbt_lite.records import Message


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Tokenise a prompt with the template's generation prompt at its end."""
    encoded = tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=True)
    # transformers 5 wraps the ids
    return list(encoded["input_ids"] if hasattr(encoded, "keys") else encoded)


def count_prompt_tokens(tokenizer: Any, messages: Sequence[Message]) -> int:
    """Count the tokens of a prompt as the student will read it."""
    return len(prompt_ids(tokenizer, messages))


def prefills_think(tokenizer: Any) -> bool:
    """Tell whether the template opens `<think>` itself, so that a completion starts inside the trace."""
    text = tokenizer.apply_chat_template([{"role": "user", "content": "x"}], add_generation_prompt=True, tokenize=False)
    return bool(text.rstrip().endswith("<think>"))
