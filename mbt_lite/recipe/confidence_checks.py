"""Relations between the keys of rewards for confidence and the others (see `checks` for how they are written)."""

from __future__ import annotations

from collections.abc import Iterator

from mbt_lite.recipe.endpoint_checks import Conflict
from mbt_lite.recipe.schema import Ccrl, Recipe


def confidence_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Give the conflicts of `grpo.ccrl` and `grpo.confidence`."""
    grpo = recipe.grpo
    ccrl = grpo.ccrl
    if not ccrl.weight and ccrl != Ccrl():
        yield Conflict(("grpo.ccrl",), "`grpo.ccrl` is set, but its weight is 0; set `grpo.ccrl.weight`, such as 0.2")
    if ccrl.weight:
        yield from _asked(recipe, "ccrl", "steps")
        # the term lies in -1..1 on both sides
        yield from _bound(recipe, "ccrl", ccrl.weight, _gap(recipe) / 2, "half of ")
    if ccrl.weight and ccrl.confidence == "token":
        yield from _token_confidence(recipe)
    if grpo.confidence.weight:
        yield from _asked(recipe, "confidence", "confidence")
        # a right one that states nothing loses it all, a wrong one that is sure of that nothing
        yield from _bound(recipe, "confidence", grpo.confidence.weight, _gap(recipe), "")


def _asked(recipe: Recipe, name: str, asked: str) -> Iterator[Conflict]:
    key, method, ask_for = f"grpo.{name}.weight", recipe.grpo.method, recipe.data.train.ask_for
    if method != "law":
        yield Conflict((key, "grpo.method"), f"`grpo.{name}` comes on top of method law (got {method}); set it to law")
    if ask_for != asked:
        yield Conflict(
            (key, "data.train.ask_for"),
            f"`grpo.{name}` rewards what nobody asks the student to write (got `data.train.ask_for` {ask_for}); "
            f"set it to {asked}, for dev too, or `{key}` to 0",
        )


def _token_confidence(recipe: Recipe) -> Iterator[Conflict]:
    for key, value, refused, cure in (
        ("model.backend", recipe.model.backend, "unsloth", "transformers"),
        ("grpo.rollout_engine", recipe.grpo.rollout_engine, "vllm", "local"),
    ):
        if value == refused:
            yield Conflict(
                (key, "grpo.ccrl.confidence", "grpo.ccrl.weight"),
                f"`grpo.ccrl.confidence` token reads the policy's log-probabilities, which `{key}` {refused} has not; "
                f"set it to {cure}, or confidence to stated",
            )


def _gap(recipe: Recipe) -> float:
    """Give how far the law sets the worst right completion above the best with an F1 of 0."""
    weights = recipe.grpo.reward.weights
    costs = weights.dwell + weights.redundancy + weights.length + weights.format
    return weights.answer + weights.exact - costs


def _bound(recipe: Recipe, name: str, weight: float, bound: float, part: str) -> Iterator[Conflict]:
    if weight >= bound:
        yield Conflict(
            (f"grpo.{name}.weight", "grpo.reward.weights"),
            f"`grpo.{name}.weight` could lift a wrong answer over a right one (got {weight:g}); it must be below "
            f"{part}answer + exact - format - dwell - redundancy - length of `grpo.reward.weights` ({bound:g} here)",
        )
