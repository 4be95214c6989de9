"""The student in this process: how it counts tokens, and who completes prompts. `gen` and `eval` hand over to this."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from mbt_lite.generation.answer_probability import answer_probability
from mbt_lite.generation.decoding import Rollout
from mbt_lite.generation.generate import generate
from mbt_lite.generation.local_rounds import Generate
from mbt_lite.generation.vllm_engine import VllmEngine
from mbt_lite.recipe import schema
from mbt_lite.student.chat_template import count_prompt_tokens, prefills_think, template_hash
from mbt_lite.student.control_tokens import control_finder
from mbt_lite.student.loading import load_student, load_tokenizer
from mbt_lite.student.token_counts import TokenCounts


def read_counts(model: schema.Model) -> TokenCounts:
    """Load the student's tokenizer."""
    tokenizer = load_tokenizer(model)
    return TokenCounts(
        prompt=functools.partial(count_prompt_tokens, tokenizer),
        text=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
        prefills_think=prefills_think(tokenizer),
        chat_template=template_hash(tokenizer),
        controls=control_finder(tokenizer),
    )


def read_answer_probability(model: schema.Model, *, prefills_think: bool) -> Callable[[Rollout], float | None]:
    """Give what reads the probability of a rollout's answer."""
    return functools.partial(answer_probability, tokenizer=load_tokenizer(model), prefilled_think=prefills_think)


def open_student(
    model: schema.Model,
    adapter: Path | None = None,
    engine: Literal["local", "vllm"] = "local",
    max_sequence_tokens: int = 0,
) -> Generate:
    """Load the student; vLLM is told how long prompt and completion may be together.

    Raises ModelError where it cannot be loaded, or the adapter is another student's.
    """
    if engine == "vllm":
        return VllmEngine(model, adapter, max_sequence_tokens).generate
    return functools.partial(generate, load_student(model, adapter))
