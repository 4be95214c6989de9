"""Who answers: a variant of a run in this process, or a model behind a URL. Each gives its text piece by piece."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from mbt_lite.chat import Variant
from mbt_lite.endpoint.stream import StreamingEndpoint
from mbt_lite.errors import RunError
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Message
from mbt_lite.run_dir import RECIPE_FILE


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


def choose_variants(run: Path, wanted: Sequence[Variant]) -> list[Variant]:
    """Give the variants to ask: the wanted ones, else base and the newest that is trained."""
    trained = [name for name in (Variant.GRPO, Variant.SFT) if _adapter(run, name).is_dir()]
    if not wanted:
        return [Variant.BASE, *trained[:1]]
    for name in wanted:
        if name != Variant.BASE and name not in trained:
            raise RunError(f"{run}: no adapter of {name} (got --variant {name}); finish that stage first")
    return list(dict.fromkeys(wanted))


def _adapter(run: Path, variant: str) -> Path:
    return run / variant / "adapter"


def local_voice(recipe: Recipe, run: Path, variant: Variant) -> Voice:
    """Load a variant; unsloth would patch what streams, so it is transformers."""
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.stream import stream
    from mbt_lite.student import chat_template as chat
    from mbt_lite.student.loading import load_student

    model = recipe.model.model_copy(update={"backend": "transformers"})
    student = load_student(model, None if variant == Variant.BASE else _adapter(run, variant))
    decoding = Decoding(
        max_completion_tokens=recipe.eval.max_completion_tokens,
        temperature=recipe.eval.temperature,
        top_p=recipe.eval.top_p,
        top_k=recipe.eval.top_k,
        seed=recipe.eval.seed,
    )

    def pieces(messages: Sequence[Message]) -> Iterator[str]:
        prompt = chat.prompt_ids(student.tokenizer, messages)
        ids, shown = list[int](), ""
        for token in stream(student, prompt, decoding):
            ids.append(token)
            text = student.tokenizer.decode(ids, skip_special_tokens=True)
            # a letter of several tokens is shown when it is whole
            if not text.endswith("\ufffd"):
                yield text[len(shown) :]
                shown = text

    return Voice(variant, pieces, chat.prefilled_think(student.tokenizer))


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
