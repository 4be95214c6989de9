"""From messages to token ids by the student's own chat template, handled by what it does, never by its name.

Templates differ in how a turn of the assistant begins. Some write nothing, and the model thinks if it likes (ChatML,
hybrid Qwen3, the 2507 instruct models). Some open `<think>` (the 2507 thinking models, Qwen3.5). Some close it at once
unless told `enable_thinking`, which is why every template is told; those that do not know the word ignore it.
Finished turns are never rendered by a template: several add a think block, drop it, or write it twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jinja2.exceptions import TemplateError

from mbt_lite.errors import ModelError, RunError
from mbt_lite.files import read_json, write_json
from mbt_lite.records import Message
from mbt_lite.text.completion import ANSWER_CLOSE, ANSWER_OPEN, THINK_CLOSE, THINK_OPEN

_TEMPLATE_FILE = "template.json"
_PROBE: list[Message] = [{"role": "user", "content": "probe"}]
_REPLY = "reply"


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Tokenise a prompt with the template's generation prompt at its end."""
    encoded = _apply(tokenizer, messages, add_generation_prompt=True, tokenize=True)
    # transformers 5 wraps the ids
    return list(encoded["input_ids"] if hasattr(encoded, "keys") else encoded)


def count_prompt_tokens(tokenizer: Any, messages: Sequence[Message]) -> int:
    """Count the tokens of a prompt as the student will read it."""
    return len(prompt_ids(tokenizer, messages))


def _generation_prompt(tokenizer: Any) -> str:
    """Give what the template writes where a completion begins; ModelError if it rewrites the prompt to do so."""
    before, whole = rendered(tokenizer, _PROBE), rendered(tokenizer, _PROBE, add_generation_prompt=True)
    if not whole.startswith(before):
        raise ModelError(
            "chat template: a prompt with the opening of the next turn does not begin as the prompt alone does "
            f"(got {whole!r} and {before!r}); use another model or template"
        )
    return whole.removeprefix(before)


def prefilled_think(tokenizer: Any) -> str:
    """Give what the template writes of the completion itself: `<think>` and what follows it, or nothing.

    Raises ModelError for a template that closes the think block too: there the student could not think.
    """
    opening = _generation_prompt(tokenizer)
    found = opening.find(THINK_OPEN)
    if found >= 0 and THINK_CLOSE in opening:
        raise ModelError(
            f"chat template: it closes the think block before the student can think (got {opening!r}); "
            "use a thinking model, or another template"
        )
    return opening[found:] if found >= 0 else ""


def prefills_think(tokenizer: Any) -> bool:
    """Tell whether the template opens `<think>` itself, so that a completion starts inside the trace."""
    return bool(prefilled_think(tokenizer))


def check_end_of_turn(tokenizer: Any) -> None:
    """Raise ModelError unless the template ends a turn of the assistant with the tokenizer's end of turn."""
    turn = rendered(tokenizer, [*_PROBE, {"role": "assistant", "content": _REPLY}])
    ending = turn.rpartition(_REPLY)[2]
    if not ending.startswith(tokenizer.eos_token):
        raise ModelError(
            f"chat template: a turn does not end with the tokenizer's end of turn (got {ending!r}, "
            f"expected {tokenizer.eos_token}); set eos_token in the model folder's tokenizer_config.json"
        )


def template_hash(tokenizer: Any) -> str:
    """Give a short hash of the chat template: other templates make other rows and other prompts."""
    return hashlib.sha256(tokenizer.get_chat_template().encode()).hexdigest()[:12]


def record_template(folder: Path, tokenizer: Any) -> str:
    """Write down which template a stage works with, or hold it to the one it began with; give its hash."""
    found = template_hash(tokenizer)
    refuse_other_template(folder, found)
    write_json(folder / _TEMPLATE_FILE, {"chat_template": found})
    return found


def refuse_other_template(folder: Path, found: str) -> None:
    """Raise RunError if a stage worked with another template: its adapter answers prompts of that one."""
    path = folder / _TEMPLATE_FILE
    if path.exists() and (before := read_json(path, chat_template=str)["chat_template"]) != found:
        raise RunError(
            f"{folder}: the student's chat template changed since {folder.name} began (got {found}, was {before}); "
            f"put the old one back (a copy: {folder / 'adapter/chat_template.jinja'}), "
            f"or redo `mbt-lite {folder.name}` with --overwrite"
        )


def rendered(tokenizer: Any, messages: Sequence[Message], *, add_generation_prompt: bool = False) -> str:
    """Write messages as the template does, before they become tokens."""
    return str(_apply(tokenizer, messages, add_generation_prompt=add_generation_prompt, tokenize=False))


def takes_system(tokenizer: Any) -> bool:
    """Tell whether the template has a system turn; some raise at one, some leave it out."""
    system: list[Message] = [{"role": "system", "content": _REPLY}, *_PROBE]
    try:
        return _REPLY in rendered(tokenizer, system)
    except ModelError:
        return False


def check_tags(tokenizer: Any, name: str) -> None:
    """Raise ModelError unless the tags of trace and answer survive being tokenised and read back."""
    text = f"{THINK_OPEN}a{THINK_CLOSE}\n\n{ANSWER_OPEN}b{ANSWER_CLOSE}"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    back = tokenizer.decode(ids, skip_special_tokens=True)
    lost = [tag for tag in (THINK_OPEN, THINK_CLOSE, ANSWER_OPEN, ANSWER_CLOSE) if tag not in back]
    if lost:
        raise ModelError(
            f"{name}: the tokenizer loses {' and '.join(lost)} when completions are read (got {back!r} for {text!r}); "
            'set "special": false for them in the model folder\'s tokenizer.json and tokenizer_config.json'
        )


def check_rows(tokenizer: Any, rows: int, name: str) -> None:
    """Raise ModelError where a prompt or completion holds a token that the model has no embedding for."""
    completion = tokenizer(f"{THINK_OPEN}{THINK_CLOSE}{ANSWER_OPEN}{ANSWER_CLOSE}", add_special_tokens=False)[
        "input_ids"
    ]
    used = {*prompt_ids(tokenizer, _PROBE), *completion, tokenizer.eos_token_id, tokenizer.pad_token_id}
    beyond = sorted(token for token in used if token >= rows)
    if beyond:
        raise ModelError(
            f"{name}: the tokenizer has tokens that the model has no row for (got "
            f"{', '.join(tokenizer.convert_ids_to_tokens(beyond))}, the embedding has {rows} rows); "
            "use the tokenizer that belongs to these weights, or resize the embedding"
        )


def _apply(tokenizer: Any, messages: Sequence[Message], **settings: Any) -> Any:
    """Apply the template; ModelError with its own words if it refuses the messages."""
    try:
        return tokenizer.apply_chat_template(list(messages), enable_thinking=True, **settings)
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise ModelError(
            f"chat template: it refuses turns of {roles} ({error}); use another model or template, or, for a system "
            "turn, leave metacognitive out of `eval.variants`"
        ) from error
