"""What one section of a recipe cannot know about another: the relations between keys.

Each check is one `if` that gives the keys it read and what to do; the loader finds their lines. A recipe that passes
the schema and these checks is one that every stage can start.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import get_args

from mbt_lite.recipe.confidence_checks import confidence_conflicts
from mbt_lite.recipe.endpoint import Endpoint
from mbt_lite.recipe.endpoint_checks import Conflict, endpoint_conflicts, speaker_conflicts
from mbt_lite.recipe.schema import Eval, Gen, Masa, Questions, Recipe, Variant
from mbt_lite.recipe.variants import NO_ADAPTER, WORDS, AdapterStage

# The largest of vLLM's `MaxLoRARanks`.
VLLM_MAX_RANK = 512
# `FEWEST_FORECASTS` of `rewards/gating.py`.
_LEAST_FORECASTS = 3
_DRAFTED_BY_STUDENT = ("mbt_r", "distill_r", "self_distill", "meta_expert", "confidence")
_WRITES_NO_STEPS = ("mbt_r", "mbt_s", "direct_r", "distill_r")
ADAPTERS = (NO_ADAPTER, *get_args(AdapterStage))


def conflicts(recipe: Recipe) -> Iterator[Conflict]:
    """Give every conflict of a recipe whose single values are all sound."""
    yield from _data(recipe)
    yield from _teacher(recipe)
    yield from _judge(recipe)
    yield from _gen(recipe)
    yield from _comt(recipe)
    yield from _sft(recipe)
    yield from _grpo(recipe)
    yield from _masa(recipe)
    yield from confidence_conflicts(recipe)
    yield from _rollout_engine(recipe)
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
    if train.ask_for != dev.ask_for:
        yield Conflict(
            ("data.train.ask_for", "data.dev.ask_for"),
            f"`data.dev` asks the student otherwise than `data.train` (got {dev.ask_for} and {train.ask_for}); "
            "set both alike: what is trained is scored",
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
    yield from speaker_conflicts(teacher)
    if teacher.temperature == 0 and recipe.gen.traces_per_draft > 1:
        yield Conflict(
            ("gen.traces_per_draft", "teacher.temperature"),
            f"`gen.traces_per_draft` is {recipe.gen.traces_per_draft}, but at `teacher.temperature` 0 all "
            "traces of a draft are alike; raise the temperature or ask for one",
        )


def _judge(recipe: Recipe) -> Iterator[Conflict]:
    judge = recipe.judge
    if not judge.is_asked:
        return
    yield from speaker_conflicts(judge)
    if judge.temperature == 0 and max(judge.verdict_attempts, judge.repeats) > 1:
        yield Conflict(
            ("judge.temperature", "judge.verdict_attempts", "judge.repeats"),
            "`judge.temperature` is 0, so that asking again gives the same reply; "
            "raise it, or set `judge.verdict_attempts` and `judge.repeats` to 1",
        )
    if not judge.measures or len(set(judge.measures)) < len(judge.measures):
        yield Conflict(
            ("judge.measures",),
            f"`judge.measures` is empty or names one twice (got [{', '.join(judge.measures)}]); "
            "name each once, or set `judge.base_url` to none",
        )
    if "thinking" in judge.measures and "accuracy" not in judge.measures:
        yield Conflict(
            ("judge.measures",),
            f"`judge.measures` has thinking without accuracy (got [{', '.join(judge.measures)}]); "
            "what counts as over- or underthinking depends on it: add accuracy",
        )


def _gen(recipe: Recipe) -> Iterator[Conflict]:
    gen = recipe.gen
    fewest, most = gen.trace_words
    if fewest > most:
        yield Conflict(("gen.trace_words",), f"`gen.trace_words` is [{fewest}, {most}]; write the fewest words first")
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
    if gen.kind == "meta_expert" and gen.rollouts_per_question < 2:
        yield Conflict(
            ("gen.rollouts_per_question", "gen.kind"),
            f"`gen.rollouts_per_question` is {gen.rollouts_per_question}, but one draft tells "
            "`gen.kind` meta_expert no share of right ones; ask for two at least, better eight",
        )
    if gen.student_adapter is not None and (gen.student.is_asked or gen.kind not in _DRAFTED_BY_STUDENT):
        yield Conflict(
            ("gen.student_adapter", "gen.student.base_url", "gen.kind"),
            "`gen.student_adapter` is set, but the student in this process does not draft (`gen.kind` "
            f"{gen.kind}, `gen.student.base_url` {gen.student.base_url}); remove it",
        )
    yield from _student(gen.student, {"model": gen.student.model}, ["model"])


def _comt(recipe: Recipe) -> Iterator[Conflict]:
    gen, asked = recipe.gen, recipe.data.train.ask_for
    if gen.kind == "comt" and asked != "steps":
        yield Conflict(
            ("data.train.ask_for", "gen.kind"),
            f"`gen.kind` comt writes plans, but the student is not asked for steps (got `data.train.ask_for` {asked}); "
            "set `data.train.ask_for` and `data.dev.ask_for` to steps",
        )
    # grpo from the base needs no traces
    if asked == "steps" and gen.kind in _WRITES_NO_STEPS and recipe.grpo.start != "base":
        yield Conflict(
            ("gen.kind", "data.train.ask_for"),
            f"`gen.kind` {gen.kind} writes no steps, but `data.train.ask_for` is steps; set the kind to comt, or to "
            "self_distill or teacher_distill, which keep what was asked for",
        )
    if gen.kind != "comt" and (gen.executed_share, gen.plan_rows) != (Gen().executed_share, Gen().plan_rows):
        yield Conflict(
            ("gen.executed_share", "gen.plan_rows", "gen.kind"),
            f"`gen.executed_share` and `gen.plan_rows` are of `gen.kind` comt (got {gen.kind}); remove them",
        )
    if not gen.plan_rows and gen.executed_share == 0:
        yield Conflict(
            ("gen.plan_rows", "gen.executed_share"),
            "`gen.plan_rows` is false and `gen.executed_share` 0, so that no row is left; set one of them",
        )


def _student(student: Endpoint, models: Mapping[str, str | None], wanted: Sequence[str]) -> Iterator[Conflict]:
    """Check the endpoint of a student: `models` are its names there by their keys, `wanted` those that are asked."""
    key = student.key
    if not student.is_asked:
        for name, value in {**models, "api_key_env": student.api_key_env}.items():
            if value is not None:
                message = f"`{key}.{name}` is set without an endpoint; set `{key}.base_url` or remove it"
                yield Conflict((f"{key}.{name}",), message)
        return
    yield from endpoint_conflicts(student)
    for name in dict.fromkeys(wanted):
        if models[name] is None:
            message = f"`{key}.{name}` is missing for `{key}.base_url`; name the student as that server does"
            yield Conflict((f"{key}.base_url", f"{key}.{name}"), message)


def _sft(recipe: Recipe) -> Iterator[Conflict]:
    if recipe.sft.max_sequence_tokens <= recipe.data.max_prompt_tokens:
        yield Conflict(
            ("sft.max_sequence_tokens", "data.max_prompt_tokens"),
            f"`sft.max_sequence_tokens` leaves no room for a trace (got {recipe.sft.max_sequence_tokens}); "
            f"it must be above `data.max_prompt_tokens` ({recipe.data.max_prompt_tokens})",
        )
    fewest = recipe.gen.trace_words[0]
    most = recipe.sft.max_sequence_tokens - recipe.data.max_prompt_tokens
    # a word is a token at least; kinds that keep drafts ask for no words
    if recipe.gen.kind in ("mbt_r", "mbt_s", "direct_r", "distill_r") and 0 < most < fewest:
        yield Conflict(
            ("sft.max_sequence_tokens", "data.max_prompt_tokens", "gen.trace_words"),
            f"`sft.max_sequence_tokens` leaves {most} tokens beside the longest prompt, too few for a trace of "
            f"{fewest} words; raise it, or lower `data.max_prompt_tokens` or `gen.trace_words`",
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


def _masa(recipe: Recipe) -> Iterator[Conflict]:
    grpo = recipe.grpo
    if grpo.method != "masa":
        if grpo.masa != Masa():
            yield Conflict(
                ("grpo.masa", "grpo.method"), f"`grpo.masa` is set, but `grpo.method` is {grpo.method}; set it to masa"
            )
        return
    if grpo.kl_coefficient > 0:
        yield Conflict(
            ("grpo.kl_coefficient", "grpo.method"),
            f"`grpo.kl_coefficient` is {grpo.kl_coefficient:g}, which `grpo.method` masa has not been tried with; "
            "set it to 0",
        )
    if grpo.masa.sequential_after is not None and grpo.group_size < _LEAST_FORECASTS:
        yield Conflict(
            ("grpo.group_size", "grpo.masa.sequential_after"),
            f"`grpo.group_size` is {grpo.group_size}, but `grpo.masa.sequential_after` gates a question by "
            f"{_LEAST_FORECASTS} forecasts that agree, so it never would; raise it, or remove `sequential_after`",
        )
    if grpo.masa.sequential_after is not None and grpo.rollout_engine == "vllm":
        yield Conflict(
            ("grpo.masa.sequential_after", "grpo.rollout_engine"),
            "`grpo.masa.sequential_after` gives each prompt a limit of its own, which `grpo.rollout_engine` vllm has "
            "not been run with; set it to local",
        )


def _rollout_engine(recipe: Recipe) -> Iterator[Conflict]:
    """Check what vLLM on the student's own weights can serve; whether it is there, the stage finds out."""
    if recipe.grpo.rollout_engine != "vllm":
        return
    model, lora = recipe.model, recipe.lora
    for key, value, is_wrong, reason in (
        ("model.backend", model.backend, model.backend == "transformers", "shares weights through unsloth only"),
        ("model.name", model.name, model.name.startswith("embedded:"), "needs a hub id or a folder"),
        ("model.dtype", model.dtype, model.dtype == "float32", "computes in bfloat16"),
        ("lora.rank", lora.rank, lora.rank > VLLM_MAX_RANK, f"takes adapters up to rank {VLLM_MAX_RANK}"),
        ("lora.variant", lora.variant, lora.variant == "dora", "has no DoRA"),
    ):
        if is_wrong:
            message = f"`grpo.rollout_engine` is vllm, which {reason} (got `{key}` {value}); set it to local"
            yield Conflict((key, "grpo.rollout_engine"), f"{message}, or change `{key}`")


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
    eval_ = recipe.eval
    yield from _variants(eval_)
    if eval_.temperature == 0 and eval_.samples_per_question > 1:
        yield Conflict(
            ("eval.samples_per_question", "eval.temperature"),
            f"`eval.samples_per_question` is {eval_.samples_per_question}, but at `eval.temperature` 0 "
            "all completions of a question are alike; raise the temperature or ask for one",
        )
    models = {f"models.{name}": name_there for name, name_there in eval_.student.models}
    yield from _student(eval_.student, models, [f"models.{served_as(variant)}" for variant in eval_.full_variants])
    if eval_.student.is_asked and eval_.engine != "local":
        yield Conflict(
            ("eval.engine", "eval.student.base_url"),
            f"`eval.engine` is {eval_.engine}, but `eval.student.base_url` answers elsewhere; remove one of them",
        )
    if eval_.student.is_asked and eval_.top_k:
        yield Conflict(
            ("eval.top_k", "eval.student.base_url"),
            f"`eval.top_k` is {eval_.top_k}, but the chat schema of `eval.student.base_url` has none; set it to 0",
        )


def served_as(variant: Variant) -> str:
    """Give the model that answers for a variant: prompting alone needs no adapter."""
    return variant.stage or "base"


def _variants(eval_: Eval) -> Iterator[Conflict]:
    key, variants = "eval.variants", eval_.full_variants
    names = [variant.name for variant in variants]
    words = [name for name in eval_.variants if isinstance(name, str)]
    in_order = [word for word in WORDS if word in words]
    if not variants:
        yield Conflict((key,), "`eval.variants` is empty (got []); name at least one, such as [base, sft]")
    elif words != in_order:
        wrong = "names a variant twice" if len(set(words)) < len(words) else "is out of order"
        yield Conflict((key,), f"`{key}` {wrong} (got [{', '.join(words)}]); write [{', '.join(in_order)}]")
    elif len({name.casefold() for name in names}) < len(names):
        yield Conflict((key,), f"`{key}` has one name twice (got [{', '.join(names)}]); each has a folder of its name")
    for variant in variants:
        yield from _variant(variant, is_served=eval_.student.is_asked)


def _variant(variant: Variant, *, is_served: bool) -> Iterator[Conflict]:
    key, name, adapter = ("eval.variants",), variant.name, variant.adapter
    if name in WORDS and variant != WORDS[name]:
        yield Conflict(key, f"`eval.variants` gives the name {name} to another variant; take a name of its own")
    if name.casefold() == "report-plots":
        yield Conflict(key, f"`eval.variants` has the name of a folder of the report (got {name}); take another")
    is_folder = adapter not in ADAPTERS
    if is_folder and "/" not in adapter:
        near = difflib.get_close_matches(adapter, ADAPTERS, n=1)
        cure = f"did you mean {near[0]}?" if near else f"write {', '.join(ADAPTERS)} or a folder, runs/x/sft/adapter"
        yield Conflict(key, f"`eval.variants`: {name} has no such adapter (got {adapter}); {cure}")
    elif is_folder and is_served:
        yield Conflict(
            (*key, "eval.student.base_url"),
            f"`eval.variants`: {name} has an adapter's folder (got {adapter}), which no key of `eval.student.models` "
            "names; write adapter: sft or grpo, and there what the server calls it",
        )
