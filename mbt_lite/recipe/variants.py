"""The variants of the student that eval scores: a name, an adapter, a prompt, and a strategy.

A recipe writes one of four short words, or a section that says all of it:

::

    variants: [base, sft, {name: old-sft, adapter: runs/old/sft/adapter}, {name: sft-told, adapter: sft, prompt: ...}]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Discriminator, Field, Tag

from mbt_lite.recipe.section import Section

AdapterStage = Literal["sft", "grpo"]
StrategyName = Literal["single"]
VariantWord = Literal["base", "metacognitive", "sft", "grpo"]

NO_ADAPTER = "none"


class Variant(Section):
    """One variant of the student."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_+-]*$")]
    """Its name in tables and plots, and of its folder in `eval`: letters, digits, `-`, `_` and `+`."""
    adapter: str = NO_ADAPTER
    """`none`: the untrained student; `sft`, `grpo`: with the adapter of that stage; else the folder of an adapter."""
    prompt: Literal["student", "metacognitive"] = "student"
    """`student`: the prompt that all stages use; `metacognitive`: a system prompt of five phases before it."""
    strategy: StrategyName = "single"
    """How it answers; `single`: by one completion."""

    @property
    def stage(self) -> AdapterStage | None:
        """Name the stage whose adapter it has; None for another adapter, or none."""
        return next((stage for stage in get_args(AdapterStage) if stage == self.adapter), None)

    def adapter_folder(self, run: Path) -> Path | None:
        """Give the folder of its adapter, that of a run or the one it names; None without an adapter."""
        if self.adapter == NO_ADAPTER:
            return None
        return Path(self.adapter) if self.stage is None else run / self.stage / "adapter"

    @property
    def is_metacognitive(self) -> bool:
        """Tell whether the five-phase system prompt stands before its questions."""
        return self.prompt == "metacognitive"


WORDS: dict[str, Variant] = {
    "base": Variant(name="base"),
    "metacognitive": Variant(name="metacognitive", prompt="metacognitive"),
    "sft": Variant(name="sft", adapter="sft"),
    "grpo": Variant(name="grpo", adapter="grpo"),
}


# in the places of errors these stand after the index of the item; `recipe.load` takes them out
TAGS = ("<word>", "<section>")

WrittenVariant = Annotated[
    Annotated[VariantWord, Tag(TAGS[0])] | Annotated[Variant, Tag(TAGS[1])],
    Discriminator(lambda value: TAGS[isinstance(value, dict | Variant)]),
]


def in_full(variant: VariantWord | Variant) -> Variant:
    """Give what a short word stands for.

    >>> in_full("sft").adapter
    'sft'
    """
    return variant if isinstance(variant, Variant) else WORDS[variant]


def in_short(variant: VariantWord | Variant) -> Any:
    """Give the short word for a variant that is written out, where there is one: a recipe has one form."""
    is_word = isinstance(variant, Variant) and WORDS.get(variant.name) == variant
    return variant.name if isinstance(variant, Variant) and is_word else variant


def names_of(written: Iterable[str | Mapping[str, Any]]) -> list[str]:
    """Name the variants of a resolved recipe, as a run folder keeps it."""
    return [variant if isinstance(variant, str) else variant["name"] for variant in written]
