"""The reward law as other trainers call theirs: TRL, verl, verifiers. `recipes/growth.md` shows each in use.

The signatures are those of TRL 1.16 (`reward_funcs`), verl 0.9 (`reward.custom_reward_function`), verifiers 0.4
(`@vf.reward` on a task) and verifiers before it (functions of a `Rubric`).

1. verl and a Rubric hand over the text alone: whether the model ended its turn, and after how many tokens, is not told.
   `format` and `length` need it: a weight on them is refused, never guessed.
2. Golds are the answer and its aliases; one text stands for itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from mbt_lite.errors import RecipeError
from mbt_lite.rewards.law import score, total
from mbt_lite.rewards.terms import TERMS, RewardLimits

# What the paper weighs (arXiv 2602.22508): the answer's F1.
PAPER = {"answer": 1.0}
_UNTOLD = ("format", "length")


def trl_reward(
    weights: Mapping[str, float], limits: RewardLimits, stop_ids: Iterable[int], *, prefilled_think: bool = False
) -> Callable[..., list[float]]:
    """Give the law as one of TRL's `reward_funcs`; the column `golds` of the dataset holds each row's golds.

    `stop_ids` are the tokens that end a turn: a completion whose last id is none of them was cut. RecipeError for a
    weight on a term that the law does not have.
    """
    _check(weights)
    stops = frozenset(stop_ids)

    def mbt_law(
        completions: Sequence[Any], completion_ids: Sequence[Sequence[int]], golds: Sequence[Any], **_: object
    ) -> list[float]:
        rows = zip(completions, completion_ids, golds, strict=True)
        return [
            total(
                score(
                    _text(completion),
                    stopped=bool(ids) and ids[-1] in stops,
                    completion_tokens=len(ids),
                    golds=_golds(accepted),
                    limits=limits,
                    prefilled_think=prefilled_think,
                ),
                weights,
            )
            for completion, ids, accepted in rows
        ]

    return mbt_law


def compute_score(
    data_source: str,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    weights: Mapping[str, float] = PAPER,
    verification_words: int = 40,
    prefilled_think: bool = False,
) -> dict[str, float]:
    """Score one completion for verl: its `score`, and the terms that the text tells, which verl logs.

    `ground_truth` is a gold or a list of them; the other keywords are verl's `reward_kwargs`. RecipeError for a weight
    on a term that the text does not tell.

    >>> compute_score("musique", "<think>so</think><answer>Rome</answer>", "Rome")["score"]
    1.0
    """
    terms = _told(solution_str, _golds(ground_truth), weights, verification_words, prefilled_think)
    return {"score": total(terms, weights), **terms}


def rubric_reward(
    weights: Mapping[str, float], *, verification_words: int = 40, prefilled_think: bool = False
) -> Callable[..., float]:
    """Give the law as a function of a verifiers Rubric: `answer` is a gold or a list of them."""
    _check(weights, _UNTOLD)

    def mbt_law(completion: Any, answer: Any) -> float:
        return total(_told(_text(completion), _golds(answer), weights, verification_words, prefilled_think), weights)

    return mbt_law


def trace_reward(
    weights: Mapping[str, float], limits: RewardLimits, *, prefilled_think: bool = False
) -> Callable[[Any, Any], float]:
    """Give the law as a reward of a verifiers task, `(task, trace)`: `task.golds` are its golds.

    Tokens are what the server counted of the model's replies; RecipeError where it counted none and `length` weighs.
    """
    _check(weights)

    def mbt_law(task: Any, trace: Any) -> float:
        if weights.get("length") and trace.usage is None:
            raise RecipeError(["reward weights: the server counts no tokens, which length needs; set length to 0"])
        scored = score(
            trace.last_reply,
            stopped=not trace.is_truncated,
            completion_tokens=trace.num_output_tokens,
            golds=_golds(task.golds),
            limits=limits,
            prefilled_think=prefilled_think,
        )
        return total(scored, weights)

    return mbt_law


def _told(
    text: str, golds: Sequence[str], weights: Mapping[str, float], verification_words: int, prefilled_think: bool
) -> dict[str, float]:
    """Give the terms that a text alone tells; what the others would need is set to no matter what and left out."""
    _check(weights, _UNTOLD)
    words = RewardLimits(max_completion_tokens=1, verification_words=verification_words, overlong_buffer_tokens=0)
    scored = score(text, stopped=True, completion_tokens=0, golds=golds, limits=words, prefilled_think=prefilled_think)
    return {name: value for name, value in scored.items() if name not in _UNTOLD}


def _check(weights: Mapping[str, float], untold: Sequence[str] = ()) -> None:
    known = [name for name in TERMS if name not in untold]
    wrong = [str(name) for name in weights if name not in known]
    if wrong:
        raise RecipeError(
            [f"reward weights: not of these terms here (got {', '.join(wrong)}); weigh {', '.join(known)}"]
        )


def _text(completion: Any) -> str:
    """Give the text of a completion, or of the last of its messages."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _golds(golds: Any) -> list[str]:
    """Give golds as texts: parquet hands over arrays."""
    return [golds] if isinstance(golds, str) else [str(gold) for gold in golds]
