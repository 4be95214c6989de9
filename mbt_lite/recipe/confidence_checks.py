"""Relations between the keys of confidence and the others: rows, rewards, readings (see `checks`)."""

from __future__ import annotations

from collections.abc import Iterator

from mbt_lite.recipe.endpoint_checks import Conflict
from mbt_lite.recipe.schema import Ccrl, Recipe

# Kinds whose rows say how sure they are: by the drafts' agreement, or as they were drafted.
_STATES_CONFIDENCE = ("confidence", "self_distill", "teacher_distill")
_LEAST_DRAFTS = 5


def confidence_conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Give the conflicts of `gen.kind` confidence, `grpo.ccrl`, `grpo.confidence` and `eval.confidence`."""
    yield from _rows(recipe)
    yield from _readings(recipe)
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


def _rows(recipe: Recipe) -> Iterator[Conflict]:
    gen, ask_for = recipe.gen, recipe.data.train.ask_for
    if gen.kind != "confidence" and gen.confidence_from != "agreement":
        yield Conflict(
            ("gen.confidence_from", "gen.kind"),
            f"`gen.confidence_from` is of `gen.kind` confidence (got {gen.kind}); remove it",
        )
    if gen.kind == "confidence" and gen.rollouts_per_question < _LEAST_DRAFTS:
        yield Conflict(
            ("gen.rollouts_per_question", "gen.kind"),
            f"`gen.rollouts_per_question` is {gen.rollouts_per_question}, too few for `gen.kind` confidence to tell "
            f"how far drafts agree; ask for {_LEAST_DRAFTS} at least, better ten",
        )
    if gen.kind == "confidence" and ask_for != "confidence":
        yield Conflict(
            ("data.train.ask_for", "gen.kind"),
            f"`gen.kind` confidence answers a prompt that asks for it (got `data.train.ask_for` {ask_for}); "
            "set it to confidence for train and dev",
        )
    if ask_for == "confidence" and gen.kind not in _STATES_CONFIDENCE:
        yield Conflict(
            ("gen.kind", "data.train.ask_for"),
            f"`data.train.ask_for` is confidence, but rows of `gen.kind` {gen.kind} state none; set it to confidence",
        )


def _readings(recipe: Recipe) -> Iterator[Conflict]:
    """Check that what `eval.confidence` reads can be there."""
    eval_ = recipe.eval
    if len(set(eval_.confidence)) < len(eval_.confidence):
        message = f"`eval.confidence` names a reading twice (got [{', '.join(eval_.confidence)}]); name each once"
        yield Conflict(("eval.confidence",), message)
    for reading, asked in (("stated", "confidence"), ("steps", "steps")):
        if reading in eval_.confidence and recipe.data.dev.ask_for != asked:
            yield Conflict(
                ("eval.confidence", "data.dev.ask_for"),
                f"`eval.confidence` reads {reading}, which nobody is asked for (got `data.dev.ask_for` "
                f"{recipe.data.dev.ask_for}); set that to {asked}, or leave {reading} out",
            )
    elsewhere = {
        "eval.student.base_url": eval_.student.is_asked,
        "eval.engine": eval_.engine != "local",
        "model.backend": recipe.model.backend == "unsloth",
    }
    for reading in (one for one in eval_.confidence if one != "stated"):
        for key in (key for key, is_wrong in elsewhere.items() if is_wrong):
            yield Conflict(
                ("eval.confidence", key),
                f"`eval.confidence` reads {reading}, which only the student in this process tells, with backend "
                f"transformers and engine local (got another `{key}`); leave it out, or change that",
            )
