"""What MASA teaches the embedded student, over seeds, beside plain GRPO with as many rollouts. A trial for people.

    mbt-lite run recipes/demo.yaml                              first: its adapter and traces are where all begin
    python tests/trials/masa_bars.py --out runs/masa_bars       hours; the same command goes on after a stop
    python tests/trials/masa_bars.py --out runs/masa_bars --report-only
    python tests/trials/masa_bars.py --out runs/masa_seen --half-unanswerable

Expert rows and sft are made once. From that adapter each seed trains three ways: MASA in one pass, MASA with forecasts
first, and the law with twice the group; all are asked the same 96 dev questions, eight times each, with a forecast.
`--half-unanswerable` takes the evidence from every second question of two hops: then there is something to foresee.
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arms import DEMO_FILES, Arms, folder, half_unanswerable, read_card, run_trial, shown, trial_parser

from mbt_lite.metrics.calibration import auroc
from mbt_lite.rewards.meta import TRIES, rate_term

ARMS = Arms(
    "recipes/demo_masa.yaml",
    {
        "data.train.limit": 128, "data.dev.limit": 96, "grpo.steps": 8, "grpo.prompts_per_step": 12,
        "grpo.group_size": 4, "eval.samples_per_question": 8, "eval.variants": "[grpo]",
    },
    {
        "one pass": {"grpo.masa.sequential_after": "null"},
        "forecasts first": {"grpo.masa.sequential_after": 2},
        "law, twice the group": {"grpo.method": "law", "grpo.masa.sequential_after": "null", "grpo.group_size": 8},
    },
)  # fmt: skip
_RESAMPLES = 2000
LEAST_PARSED, LEAST_GAIN, LEAST_SAVED = 0.95, 0.05, 0.2


def tokens_by_step(run: Path) -> list[float]:
    """Give the tokens that each step wrote, forecasts included."""
    rows = map(json.loads, (run / "grpo/completions.jsonl").read_text().splitlines())
    totals: dict[int, float] = {}
    for row in rows:
        # the stop token of a question that was not solved was not written
        totals[row["step"]] = totals.get(row["step"], 0) + (row["completion_tokens"] if row["text"] else 0)
    return [totals[step] for step in sorted(totals)]


def rates(run: Path) -> dict[str, list[bool]]:
    """Give of each dev question which tries of the trained adapter were right, and stopped."""
    tries: dict[str, list[bool]] = {}
    for line in (run / "eval/grpo/predictions.jsonl").read_text().splitlines():
        row = json.loads(line)
        tries.setdefault(row["question_id"], []).append(bool(row["exact_match"] and row["stopped"]))
    return tries


def by_difficulty(run: Path, others: Sequence[Path]) -> str:
    """Say what one who knows how often the other adapters solve a question would earn by the rate, and rank.

    What there is to foresee in a question alone, whoever answers it: more needs knowledge of this one adapter.
    """
    ours, theirs = rates(run), [rates(other) for other in others]
    known = {one: statistics.fmean(right for tries in theirs for right in tries[one]) for one in ours}
    true = {one: statistics.fmean(tries) for one, tries in ours.items()}

    def earned(said: dict[str, int]) -> float:
        return statistics.fmean(rate_term(said[one], true[one], "masa") for one in ours)

    constant = max(earned(dict.fromkeys(ours, said)) for said in range(TRIES + 1))
    told = earned({one: round(TRIES * rate) for one, rate in known.items()})
    likelier = earned({one: TRIES * (rate >= 0.5) for one, rate in known.items()})
    ranked = auroc([known[one] for one in ours], [rate >= 0.5 for rate in true.values()], _RESAMPLES, 0)
    return (
        f"rate {told:.3f}, or {likelier:.3f} by its likelier end (best constant {constant:.3f}), AUROC {shown(ranked)}"
    )


def lines(out: Path, seeds: Sequence[int]) -> Iterator[str]:
    """Say each figure with its n and what it is held against, then whether the bars hold."""
    start = read_card(out / "begun", "sft")["foresight"]["metrics"]
    yield f"after sft: {shown(start['parsed'])} of forecasts are read (bar {LEAST_PARSED:.0%}); {foreseen(start)}"
    saved = []
    for seed in seeds:
        for name in ARMS.ways:
            run = folder(out, name, seed)
            card, written = read_card(run, "grpo"), tokens_by_step(run)
            told = foreseen(card["foresight"]["metrics"])
            em = shown(card["metrics"]["exact_match"])
            yield f"seed {seed}, {name}: exact match {em}; {told}; {statistics.fmean(written):,.0f} tokens a step"
        first, one_pass = (tokens_by_step(folder(out, name, seed)) for name in ("forecasts first", "one pass"))
        after = ARMS.ways["forecasts first"]["grpo.masa.sequential_after"]
        saved.append(1 - sum(first[after:]) / sum(one_pass[after:]))
    said = ", ".join(f"{one:.1%}" for one in saved)
    yield f"tokens saved by forecasts first, by seed: {said} (bar {LEAST_SAVED:.0%})"
    runs = {(seed, name): folder(out, name, seed) for seed in seeds for name in ARMS.ways}
    for (seed, name), run in runs.items():
        told = by_difficulty(run, [other for other in runs.values() if other != run])
        yield f"seed {seed}, {name}: by how often the other adapters solve each question: {told}"
    gains = [gain(read_card(folder(out, "one pass", seed), "grpo")["foresight"]["metrics"]) for seed in seeds]
    held = {
        "forecasts read": start["parsed"]["mean"] >= LEAST_PARSED,
        f"forecast above the best constant by {LEAST_GAIN} in every seed": min(gains) >= LEAST_GAIN,
        f"{LEAST_SAVED:.0%} fewer tokens in every seed": min(saved) >= LEAST_SAVED,
    }
    yield from (f"{'holds' if holds else 'does not hold'}: {bar}" for bar, holds in held.items())


def gain(metrics: dict[str, Any]) -> float:
    """Give how much forecasts earn above the best constant."""
    return float(metrics["total"]["mean"] - metrics["constant_total"]["mean"])


def foreseen(metrics: dict[str, Any]) -> str:
    """Say what forecasts earn, the best constant beside it."""
    parts = [
        f"{name} {shown(metrics[name])} (best constant {metrics[f'constant_{name}']['mean']:.3f})"
        for name in ("total", "links", "tokens", "rate")
    ]
    return f"forecasts: {', '.join(parts)}, AUROC {shown(metrics['auroc'])} (constant 0.5)"


if __name__ == "__main__":
    options = trial_parser(__doc__)
    options.add_argument("--out", type=Path, required=True, help="folder for the runs")
    options.add_argument("--half-unanswerable", action="store_true", help="half of the questions lack their evidence")
    given = options.parse_args()
    if given.half_unanswerable:
        given.set += [f"{key}={path}" for key, path in half_unanswerable(DEMO_FILES, given.out).items()]
    run_trial(given, ARMS, lines)
