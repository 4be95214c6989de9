"""Who answers: a variant of a run in this process, or a model behind a URL. Each gives its text piece by piece."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mbt_lite.endpoint.stream import StreamingEndpoint
from mbt_lite.errors import RunError
from mbt_lite.prompts import metacognitive_message
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe, Variant
from mbt_lite.recipe.variants import WORDS
from mbt_lite.records import Message
from mbt_lite.run_dir import RECIPE_FILE
from mbt_lite.strategies import strategy_named


@dataclasses.dataclass(frozen=True, slots=True)
class Voice:
    """One that answers: `stream` gives the pieces of an answer, which begins with `opening` where the template does."""

    name: str
    stream: Callable[[Sequence[Message]], Iterator[str]]
    opening: str = ""


def read_recipe(run: Path) -> Recipe:
    """Read the recipe of a run; RunError for a folder that is none."""
    if not (run / RECIPE_FILE).is_file():
        raise RunError(f"{run}: not a run folder (no {RECIPE_FILE}); name the folder that `mbt-lite run` wrote")
    return load_recipe(run / RECIPE_FILE, [])


def choose_variants(recipe: Recipe, run: Path, wanted: Sequence[str]) -> list[Variant]:
    """Give the variants to ask: the wanted ones, else base and the newest that is trained."""
    known = WORDS | {variant.name: variant for variant in recipe.eval.full_variants}
    if not wanted:
        return [WORDS["base"], *[WORDS[name] for name in ("grpo", "sft") if _is_ready(WORDS[name], run)][:1]]
    for name in wanted:
        if name not in known:
            raise RunError(f"{run}: no such variant (got --variant {name}); give one of {', '.join(known)}")
        if not _is_ready(known[name], run):
            cure = "finish that stage first" if known[name].stage else "look at its adapter in the recipe"
            raise RunError(f"{run}: no adapter of {name} (got --variant {name}); {cure}")
        if not strategy_named(known[name].strategy).is_one_call:
            raise RunError(f"{run}: {name} answers in several calls (got --variant {name}); ask another here")
    return [known[name] for name in dict.fromkeys(wanted)]


def _is_ready(variant: Variant, run: Path) -> bool:
    adapter = variant.adapter_folder(run)
    return adapter is None or adapter.is_dir()


def local_voice(recipe: Recipe, run: Path, variant: Variant) -> Voice:
    """Load a variant; unsloth would patch what streams, so it is transformers."""
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.stream import stream
    from mbt_lite.student import chat_template as chat
    from mbt_lite.student.loading import load_student

    model = recipe.model.model_copy(update={"backend": "transformers"})
    student = load_student(model, variant.adapter_folder(run))
    decoding = Decoding(
        max_completion_tokens=recipe.eval.max_completion_tokens,
        temperature=recipe.eval.temperature,
        top_p=recipe.eval.top_p,
        top_k=recipe.eval.top_k,
        seed=recipe.eval.seed,
    )

    def pieces(messages: Sequence[Message]) -> Iterator[str]:
        before = [metacognitive_message()] if variant.is_metacognitive else []
        prompt = chat.prompt_ids(student.tokenizer, [*before, *messages])
        ids, shown = list[int](), ""
        for token in stream(student, prompt, decoding):
            ids.append(token)
            text = student.tokenizer.decode(ids, skip_special_tokens=True)
            # a letter of several tokens is shown when it is whole
            if not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text

    return Voice(variant.name, pieces, chat.prefilled_think(student.tokenizer))


def served_voice(recipe: Recipe, base_url: str, model: str | None) -> Voice:
    """Reach a served model; it is asked with the sampling of eval."""
    scored = recipe.eval
    key = os.environ.get(scored.student.api_key_env) if scored.student.api_key_env is not None else None
    endpoint = StreamingEndpoint(base_url, model, key)

    def pieces(messages: Sequence[Message]) -> Iterator[str]:
        return endpoint.stream(
            messages,
            temperature=scored.temperature,
            top_p=scored.top_p,
            max_completion_tokens=scored.max_completion_tokens,
            seed=scored.seed,
        )

    return Voice(endpoint.model, pieces)
