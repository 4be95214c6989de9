"""Which texts would become control tokens: `<|im_end|>` in a document ends the user's turn wherever it is tokenised.

A token is a control token if the tokenizer marks it special, or if the chat template itself writes it around a turn.
Not the unknown token, which controls nothing, and never our own tags: a document that holds `<think>` holds text, in
every tokenizer that the kit takes (one in which they are special is refused, see `chat_template.check_tags`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.text.completion import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

_TAGS = (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE)


def control_finder(tokenizer: Any) -> Callable[[str], list[str]]:
    """Give a function that names the control tokens that a text becomes, [] for ordinary text."""
    controls = _control_tokens(tokenizer)

    def find(text: str) -> list[str]:
        spelt = [token for token in controls if token in text]
        if not spelt:
            return []
        # some are found in the middle of a word only, or not at all
        ids = set(tokenizer(text, add_special_tokens=False)["input_ids"])
        return [token for token in spelt if controls[token] in ids]

    return find


def _control_tokens(tokenizer: Any) -> dict[str, int]:
    """Give the control tokens as they are spelt, with their ids."""
    added = tokenizer.added_tokens_decoder
    special = {*tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
    written = {number for number in prompt_ids(tokenizer, [{"role": "user", "content": "probe"}]) if number in added}
    if tokenizer.unk_token_id not in (tokenizer.eos_token_id, tokenizer.bos_token_id, tokenizer.pad_token_id):
        special.discard(tokenizer.unk_token_id)
    numbers = sorted(special | written)
    spelt = dict(zip(tokenizer.convert_ids_to_tokens(numbers), numbers, strict=True))
    return {token: number for token, number in spelt.items() if token not in _TAGS}
