"""How fast the reward is, from token ids to terms: the law, and with CUDA its kernel beside it.

Both decode the same token ids themselves. Their terms are compared before anything is timed; then they take turns, so
that what else the machine does falls on both alike. Figures are medians.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

from mbt_lite.bench.completions import Completions, make_completions
from mbt_lite.bench.measurement import measured
from mbt_lite.errors import MbtError
from mbt_lite.recipe.schema import Model
from mbt_lite.records import Measurement
from mbt_lite.rewards.law import Terms
from mbt_lite.rewards.scorer import Scorer, choose_scorer
from mbt_lite.rewards.terms import RewardLimits
from mbt_lite.student.loading import load_tokenizer

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
    tokenizer = load_tokenizer(Model(name=name))
    completions = make_completions(tokenizer, batch.prompts, batch.group_size, batch.tokens)
    # a little room, so that completions of full length fall into the buffer
    limits = RewardLimits(batch.tokens + _BUFFER_TOKENS // 4, _VERIFICATION_WORDS, _BUFFER_TOKENS)
    forms = make_forms(tokenizer, completions, limits)
    check_agreement(forms)
    seconds = take_turns(forms, runs)
    median = {form: 1000 * statistics.median(taken) for form, taken in seconds.items()}
    said = ", ".join(f"the {form} {milliseconds:.1f} ms" for form, milliseconds in median.items())
    say(f"{said}; they agree on {len(completions.ids)} completions of {batch.tokens} tokens")
    return measured(
        "reward",
        f"{said} ({len(completions.ids)} completions of {batch.tokens} tokens, decoding included, median of {runs})",
        settings=dataclasses.asdict(batch) | {"tokenizer": name, "runs": runs, "threads": torch.get_num_threads()},
        figures={"milliseconds": {form: round(value, 2) for form, value in median.items()}},
        packages=["torch", "transformers"],
    )


def make_forms(tokenizer: Any, completions: Completions, limits: RewardLimits) -> dict[str, Callable[[], list[Terms]]]:
    """Give each form on this machine as a function from nothing to terms."""
    stop_ids = frozenset({completions.stop_id})

    def scores(scorer: Scorer) -> Callable[[], list[Terms]]:
        return lambda: scorer.score(completions.ids, completions.golds).terms

    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    scorers = [
        choose_scorer(tokenizer, torch.device(device), stop_ids, limits, prefilled_think=False) for device in devices
    ]
    return {scorer.form: scores(scorer) for scorer in scorers}


def check_agreement(forms: Mapping[str, Callable[[], list[Terms]]]) -> None:
    """Run each form once; MbtError for the first row on which one differs from the law."""
    wanted = forms["law"]()
    for form, compute in forms.items():
        for row, (got, want) in enumerate(zip(compute(), wanted, strict=True)):
            if got != want:
                raise MbtError(f"bench reward: the {form} and the law differ on row {row} (got {got} and {want})")


def take_turns(forms: Mapping[str, Callable[[], Any]], runs: int) -> dict[str, list[float]]:
    """Time each form `runs` times, in seconds, one after the other in every round."""
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    for _ in range(runs):
        for form, compute in forms.items():
            started = time.perf_counter()
            compute()
            seconds[form].append(time.perf_counter() - started)
    return seconds
