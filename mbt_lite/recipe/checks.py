"""What one section of a recipe cannot know about another: the relations between keys.

Each check is one `if` that gives the keys it read and what to do; the loader finds their lines. A recipe that passes
the schema and these checks is one that every stage can start.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple, get_args

from mbt_lite.recipe.schema import Questions, Recipe, Variant


class Conflict(NamedTuple):
    """Keys that do not go together, and what to do about it."""

    keys: tuple[str, ...]
    message: str


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Give every conflict of a recipe whose single values are all sound."""
    yield from _data(recipe)
    yield from _teacher(recipe)
    yield from _gen(recipe)
    yield from _sft(recipe)
    yield from _grpo(recipe)
    yield from _reward(recipe)
    yield from _eval(recipe)


def _data(recipe: Recipe) -> Iterator[Conflict]:
    for name, questions in (("data.train", recipe.data.train), ("data.dev", recipe.data.dev)):
        yield from _questions(name, questions)
    train, dev = recipe.data.train, recipe.data.dev
    if (train.path, train.split) == (dev.path, dev.split):
        yield Conflict(
            ("data.dev.path", "data.train.path", "data.dev.split", "data.train.split"),
            f"`data.dev` holds the questions of `data.train` (got {dev.path} twice); score on held-out questions",
        )


def _questions(name: str, questions: Questions) -> Iterator[Conflict]:
    keys = (f"{name}.path", f"{name}.split")
    is_hub = questions.path.startswith("hub:")
    if is_hub and not re.fullmatch(r"hub:[^/:\s]+/[^/:\s]+(:[^:\s]+)?", questions.path):
        message = f"`{keys[0]}` is no dataset name (got {questions.path}); write hub:owner/dataset[:config]"
        yield Conflict(keys[:1], message)
    if is_hub and questions.split is None:
        yield Conflict(keys, f"`{keys[1]}` is missing for {questions.path}; name the split, such as train")
    if not is_hub and questions.split is not None:
        yield Conflict(keys, f"`{keys[1]}` is set, but a file has no splits (got {questions.split}); remove it")


def _teacher(recipe: Recipe) -> Iterator[Conflict]:
    teacher = recipe.teacher
    urls = (teacher.base_url,) if isinstance(teacher.base_url, str) else teacher.base_url
    for url in urls:
        if teacher.base_url != "embedded" and not re.match(r"https?://[^\s/]", url):
            yield Conflict(
                ("teacher.base_url",),
                f"`teacher.base_url` is no endpoint (got {url}); write embedded, or a URL with http:// or https://",
            )
    if len(set(urls)) < len(urls):
        yield Conflict(("teacher.base_url",), f"`teacher.base_url` names a URL twice (got {', '.join(urls)}); keep one")
    prices = ("teacher.price_per_million_prompt_tokens", "teacher.price_per_million_completion_tokens")
    if teacher.budget_usd is not None and None in (
        teacher.price_per_million_prompt_tokens,
        teacher.price_per_million_completion_tokens,
    ):
        yield Conflict(
            ("teacher.budget_usd", *prices),
            f"`teacher.budget_usd` needs prices (got {teacher.budget_usd:g}); set `{prices[0]}` and `{prices[1]}`",
        )
    if teacher.base_url == "embedded" and teacher.model != "scripted":
        yield Conflict(
            ("teacher.model", "teacher.base_url"),
            f"`teacher.model` is {teacher.model}, but the embedded teacher is scripted; "
            "set `teacher.base_url` to its server",
        )
    # The value is not repeated: it may be the key itself.
    if teacher.api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", teacher.api_key_env):
        yield Conflict(
            ("teacher.api_key_env",),
            "`teacher.api_key_env` is no variable name; "
            "write the name of the environment variable that holds the key, never the key itself",
        )
    if teacher.temperature == 0 and recipe.gen.traces_per_draft > 1:
        yield Conflict(
            ("gen.traces_per_draft", "teacher.temperature"),
            f"`gen.traces_per_draft` is {recipe.gen.traces_per_draft}, but at `teacher.temperature` 0 all "
            "traces of a draft are alike; raise the temperature or ask for one",
        )


def _gen(recipe: Recipe) -> Iterator[Conflict]:
    gen = recipe.gen
    if gen.sampling.temperature == 0 and gen.rollouts_per_question > 1:
        yield Conflict(
            ("gen.rollouts_per_question", "gen.sampling.temperature"),
            f"`gen.rollouts_per_question` is {gen.rollouts_per_question}, but at `gen.sampling.temperature` 0 "
            "all drafts of a question are alike; raise the temperature or ask for one",
        )
    if recipe.teacher.temperature == 0 and gen.attempts > 1:
        yield Conflict(
            ("gen.attempts", "teacher.temperature"),
            f"`gen.attempts` is {gen.attempts}, but at `teacher.temperature` 0 another try gives the same trace; "
            "raise the temperature or try once",
        )
    yield from _student_endpoint(recipe)


def _student_endpoint(recipe: Recipe) -> Iterator[Conflict]:
    gen = recipe.gen
    if gen.student_base_url is None:
        for key in ("student_model", "student_api_key_env"):
            if getattr(gen, key) is not None:
                message = f"`gen.{key}` is set without an endpoint; set `gen.student_base_url` or remove it"
                yield Conflict((f"gen.{key}",), message)
        return
    if not re.match(r"https?://[^\s/]", gen.student_base_url):
        yield Conflict(
            ("gen.student_base_url",),
            f"`gen.student_base_url` is no endpoint (got {gen.student_base_url}); write a URL with http:// or https://",
        )
    if gen.student_model is None:
        message = "`gen.student_model` is missing for `gen.student_base_url`; name the student as that server does"
        yield Conflict(("gen.student_base_url",), message)
    # The value is not repeated: it may be the key itself.
    if gen.student_api_key_env is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", gen.student_api_key_env):
        yield Conflict(
            ("gen.student_api_key_env",),
            "`gen.student_api_key_env` is no variable name; "
            "write the name of the environment variable that holds the key, never the key itself",
        )


def _sft(recipe: Recipe) -> Iterator[Conflict]:
    if recipe.sft.max_sequence_tokens <= recipe.data.max_prompt_tokens:
        yield Conflict(
            ("sft.max_sequence_tokens", "data.max_prompt_tokens"),
            f"`sft.max_sequence_tokens` leaves no room for a trace (got {recipe.sft.max_sequence_tokens}); "
            f"it must be above `data.max_prompt_tokens` ({recipe.data.max_prompt_tokens})",
        )
    if recipe.sft.patience is not None and recipe.sft.held_out_traces == 0:
        yield Conflict(
            ("sft.patience", "sft.held_out_traces"),
            f"`sft.patience` waits for a dev loss that nothing is measured on (got {recipe.sft.patience}); "
            "set `sft.held_out_traces`, or remove it",
        )


def _grpo(recipe: Recipe) -> Iterator[Conflict]:
    grpo = recipe.grpo
    if grpo.clip_low >= 1:
        yield Conflict(
            ("grpo.clip_low",),
            f"`grpo.clip_low` is out of range (got {grpo.clip_low:g}); it must be below 1: 1 - clip_low bounds a ratio",
        )
    # under `auto` the stage finds out: it depends on the machine
    if grpo.kl_coefficient > 0 and recipe.model.backend == "unsloth":
        yield Conflict(
            ("grpo.kl_coefficient", "model.backend"),
            f"`grpo.kl_coefficient` under unsloth would pull to the untrained model, away from the SFT adapter "
            f"(got {grpo.kl_coefficient:g}); set it to 0, or `model.backend` to transformers",
        )
    completions = grpo.prompts_per_step * grpo.group_size
    if completions % grpo.micro_batch_size:
        yield Conflict(
            ("grpo.micro_batch_size", "grpo.prompts_per_step", "grpo.group_size"),
            f"`grpo.micro_batch_size` does not divide the {completions} completions of a step "
            f"(got {grpo.micro_batch_size}); choose a divisor of prompts_per_step * group_size",
        )
    if grpo.prefilter == "gen" and recipe.gen.rollouts_per_question < 2:
        yield Conflict(
            ("grpo.prefilter", "gen.rollouts_per_question"),
            f"`grpo.prefilter` is gen, but one draft tells no pass rate (got `gen.rollouts_per_question` "
            f"{recipe.gen.rollouts_per_question}); draft at least two, or set it to start",
        )
    if grpo.dev_questions and recipe.data.dev.limit is None:
        yield Conflict(
            ("grpo.dev_questions", "data.dev.limit"),
            f"`grpo.dev_questions` is {grpo.dev_questions}, but eval scores all of `data.dev`, and choosing an adapter "
            "by what eval scores is peeking; set `data.dev.limit`",
        )


def _reward(recipe: Recipe) -> Iterator[Conflict]:
    reward = recipe.grpo.reward
    weights = reward.weights.model_dump()
    for term, weight in weights.items():
        if weight < 0:
            yield Conflict(
                (f"grpo.reward.weights.{term}",),
                f"`grpo.reward.weights.{term}` is negative (got {weight:g}); write {-weight:g}: "
                "terms that punish are negative themselves",
            )
    if not any(weights.values()):
        yield Conflict(
            ("grpo.reward.weights", *(f"grpo.reward.weights.{term}" for term in weights)),
            "`grpo.reward.weights` are all 0, so every completion earns the same; give at least one term a weight",
        )
    if reward.overlong_buffer_tokens >= recipe.grpo.max_completion_tokens:
        yield Conflict(
            ("grpo.reward.overlong_buffer_tokens", "grpo.max_completion_tokens"),
            f"`grpo.reward.overlong_buffer_tokens` is out of range (got {reward.overlong_buffer_tokens}); "
            f"it must be below `grpo.max_completion_tokens` ({recipe.grpo.max_completion_tokens})",
        )


def _eval(recipe: Recipe) -> Iterator[Conflict]:
    variants = recipe.eval.variants
    in_order = [variant for variant in get_args(Variant) if variant in variants]
    if not variants:
        yield Conflict(("eval.variants",), "`eval.variants` is empty (got []); name at least one, such as [base, sft]")
    elif list(variants) != in_order:
        wrong = "names a variant twice" if len(set(variants)) < len(variants) else "is out of order"
        yield Conflict(
            ("eval.variants",),
            f"`eval.variants` {wrong} (got [{', '.join(variants)}]); write [{', '.join(in_order)}]",
        )
