"""Students with one oddity each, as people bring them: made of the tiny one."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from byte_tokenizer import TEMPLATE

NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}" + TEMPLATE
)
OPENING = "<|im_start|>assistant\n{% endif %}"
THINKS_WHEN_TOLD = TEMPLATE.replace(
    OPENING,
    "<|im_start|>assistant\n{% if enable_thinking is defined and enable_thinking is true %}<think>\n"
    "{% else %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)
assert THINKS_WHEN_TOLD != TEMPLATE


def with_tokenizer(change: Callable[[Any], Any]) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        change(tokenizer)
        tokenizer.save_pretrained(folder)

    return make


def with_template(template: Any) -> Callable[[Path], None]:
    return with_tokenizer(lambda tokenizer: setattr(tokenizer, "chat_template", template))


def with_special(*tokens: str) -> Callable[[Path], None]:
    return with_tokenizer(lambda tokenizer: tokenizer.add_special_tokens({"additional_special_tokens": list(tokens)}))


def with_rows_for_its_tokens(folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder)
    model.resize_token_embeddings(len(AutoTokenizer.from_pretrained(folder)))
    model.save_pretrained(folder)


def without_rows(folder: Path) -> None:
    with_special("<|turn|>")(folder)
    with_template(TEMPLATE.replace("<|im_start|>", "<|turn|>"))(folder)


def cut(name: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[: len(content) // 2])

    return make


def with_config(**changes: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return make


def odd_student(folder: Path, base: Path, *changes: Callable[[Path], None]) -> Path:
    shutil.copytree(base, folder)
    for change in changes:
        change(folder)
    return folder
