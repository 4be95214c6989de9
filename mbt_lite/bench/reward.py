"""How fast the reward is: the forms of the law beside separate regex functions, from token ids to seven terms.

Every form starts from the same token ids and decodes them itself. The terms of all are compared before anything is
timed; then the forms take turns, so that what else the machine does falls on all alike, and each pair's ratio is of
neighbours in time. Figures are medians.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

from mbt_lite.bench.completions import Completions, make_completions
from mbt_lite.bench.measurement import measured
from mbt_lite.bench.regex_rewards import REWARDS
from mbt_lite.errors import MbtError
from mbt_lite.records import Measurement
from mbt_lite.rewards import law
from mbt_lite.rewards.counts import to_advantages, to_rewards, to_terms
from mbt_lite.rewards.law import TERM_NAMES, RewardLimits
from mbt_lite.rewards.scorer import Scorer, choose_scorer

# The forms' name for a completion's terms: a row of seven numbers.
Rows = list[tuple[float, ...]]

YARDSTICK = "regex functions"
_WEIGHTS = dict.fromkeys(TERM_NAMES, 1.0)
_VERIFICATION_WORDS, _BUFFER_TOKENS = 40, 256


@dataclasses.dataclass(frozen=True, slots=True)
class Batch:
    """What is scored: `prompts` groups of `group_size` completions of exactly `tokens` tokens each."""

    prompts: int
    group_size: int
    tokens: int


def measure_reward(name: str, batch: Batch, runs: int, say: Callable[[str], None]) -> Measurement:
    """Score one batch by every form, `runs` times each; `name` is the student whose tokenizer is used.

    Raises MbtError if the forms do not agree, in which case nothing is timed.
    """
    import torch

    from mbt_lite.recipe.schema import Model
    from mbt_lite.student.loading import load_tokenizer

    tokenizer = load_tokenizer(Model(name=name))
    completions = make_completions(tokenizer, batch.prompts, batch.group_size, batch.tokens)
    # a little room, so that completions of full length fall into the buffer
    limits = RewardLimits(batch.tokens + _BUFFER_TOKENS // 4, _VERIFICATION_WORDS, _BUFFER_TOKENS)
    forms = make_forms(tokenizer, completions, limits, batch.group_size)
    check_agreement(forms)
    say(f"{len(forms)} forms agree on {len(completions.ids)} completions of {batch.tokens} tokens")
    seconds = take_turns(forms, runs)
    median = {form: statistics.median(taken) for form, taken in seconds.items()}
    ratio = {
        form: statistics.median(slow / fast for slow, fast in zip(seconds[YARDSTICK], taken, strict=True))
        for form, taken in seconds.items()
    }
    for form in forms:
        say(f"{form}: {1000 * median[form]:.1f} ms, {ratio[form]:.1f} times as fast as the {YARDSTICK}")
    fastest = max(ratio, key=lambda form: ratio[form])
    result = (
        f"{fastest} {1000 * median[fastest]:.1f} ms, {ratio[fastest]:.1f} times as fast as the {YARDSTICK} "
        f"({len(completions.ids)} completions of {batch.tokens} tokens, decoding included, median of {runs})"
    )
    return measured(
        "reward",
        result,
        settings=dataclasses.asdict(batch) | {"tokenizer": name, "runs": runs, "threads": torch.get_num_threads()},
        figures={
            "milliseconds": {form: round(1000 * value, 2) for form, value in median.items()},
            "times_as_fast_as_regex": {form: round(value, 2) for form, value in ratio.items()},
        },
        packages=["torch", "numpy", "transformers"],
    )


def make_forms(
    tokenizer: Any, completions: Completions, limits: RewardLimits, group_size: int
) -> dict[str, Callable[[], Rows]]:
    """Give each form as a function from nothing to terms; those of the law's fast forms go on to advantages."""
    import torch

    choose = functools.partial(
        choose_scorer, tokenizer, stop_ids=frozenset({completions.stop_id}), limits=limits, prefilled_think=False
    )
    on_cpu = choose(torch.device("cpu"))
    forms: dict[str, Callable[[], Rows]] = {
        YARDSTICK: lambda: _by_regex(tokenizer, completions, limits),
        "plain law": lambda: _by_law(tokenizer, completions, limits),
        on_cpu.form: lambda: _by_scorer(on_cpu, completions),
    }
    if torch.cuda.is_available():
        on_gpu = choose(torch.device("cuda"))
        forms[on_gpu.form] = lambda: _by_kernel(on_gpu, completions, group_size)
    return forms


def check_agreement(forms: Mapping[str, Callable[[], Rows]]) -> None:
    """Run each form once; MbtError for the first row on which two differ."""
    wanted = forms["plain law"]()
    for form, compute in forms.items():
        for row, (got, want) in enumerate(zip(compute(), wanted, strict=True)):
            if any(abs(a - b) > 1e-9 for a, b in zip(got, want, strict=True)):
                raise MbtError(f"bench reward: the {form} and the plain law differ on row {row} (got {got} and {want})")


def take_turns(forms: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Time each form `runs` times, in seconds, one after the other in every round."""
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(runs):
        for form, compute in forms.items():
            started = time.perf_counter()
            compute()
            seconds[form].append(time.perf_counter() - started)
    return seconds


def _decoded(tokenizer: Any, completions: Completions) -> tuple[list[str], list[bool]]:
    """Decode as TRL does, in one call."""
    stopped = [ids[-1] == completions.stop_id for ids in completions.ids]
    return tokenizer.batch_decode(completions.ids, skip_special_tokens=True), stopped


def _by_regex(tokenizer: Any, completions: Completions, limits: RewardLimits) -> Rows:
    texts, stopped = _decoded(tokenizer, completions)
    # TRL hands everything to each function by keyword
    columns: dict[str, Any] = {"completions": texts, "completion_ids": completions.ids}
    columns |= {"golds": completions.golds, "stopped": stopped}
    terms = [REWARDS[name](**columns, **dataclasses.asdict(limits)) for name in TERM_NAMES]
    return list(zip(*terms, strict=True))


def _by_law(tokenizer: Any, completions: Completions, limits: RewardLimits) -> Rows:
    texts, stopped = _decoded(tokenizer, completions)
    rows = zip(texts, stopped, completions.ids, completions.golds, strict=True)
    return [
        dataclasses.astuple(law.score(text, stopped=done, completion_tokens=len(ids), golds=golds, limits=limits))
        for text, done, ids, golds in rows
    ]


def _by_scorer(scorer: Scorer, completions: Completions) -> Rows:
    return [dataclasses.astuple(terms) for terms in scorer.score(completions.ids, completions.golds).terms]


def _by_kernel(scorer: Scorer, completions: Completions, group_size: int) -> Rows:
    """Go from ids on the host to terms and advantages on the device and back, without texts for a log."""
    import torch

    assert scorer.kernel is not None
    counts, _ = scorer.kernel.count(completions.ids, completions.golds)
    terms = to_terms(counts, scorer.limits)
    advantages, _ = to_advantages(to_rewards(terms, _WEIGHTS), group_size)
    *columns, _ = torch.stack([*terms.values(), advantages]).tolist()
    return list(zip(*columns, strict=True))
