"""What rewarding confidence on steps teaches the embedded student, beside the same without. A trial for people.

    python tests/trials/ccrl_bars.py --out runs/ccrl_bars       hours; the same command goes on after a stop
    python tests/trials/ccrl_bars.py --out runs/ccrl_bars --report-only

Plans, executed rows and sft are made once. From that adapter each seed trains with the term and without it, in as many
steps of as many completions; a third way begins from sft on executed rows alone. All are asked the same 96 dev
questions, four times each, greedily once by eval. How sure a step is comes from the log-probabilities of the adapter
that wrote it, at temperature 1.
"""

import functools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from arms import Arms, folder, read_card, run_trial, shown, trial_parser

from mbt_lite.data.questions import read_questions
from mbt_lite.metrics.calibration import (
    auroc,
    expected_calibration_error,
    null_calibration_error,
    overconfident,
)
from mbt_lite.recipe.load import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.rewards.spans import score_spans, token_confidence

ARMS = Arms(
    "recipes/demo_comt.yaml",
    {
        "data.dev.limit": 96, "grpo.steps": 8, "grpo.prompts_per_step": 16, "grpo.group_size": 6,
        "grpo.rollout_batch_size": 96, "eval.variants": "[grpo]",
    },
    {
        "ccrl": {"grpo.ccrl.weight": 0.2},
        "without the term": {"grpo.ccrl.weight": 0.0},
        # 147 rows, whose trained tokens are those of 160 plans and 80 executed rows
        "executed rows alone": {"gen.plan_rows": False, "gen.executed_share": 0.92, "grpo.ccrl.weight": 0.0},
    },
)  # fmt: skip
SAMPLES, LEAST_WITH_STEPS, LEAST_SEEDS = 4, 0.95, 2
_RESAMPLES = 2000


def read_spans(run: Path) -> list[tuple[str, float, bool]]:
    """Read, or sample once, the spans of the trained adapter: question id, confidence and truth of each."""
    file = run / "spans.json"
    if not file.exists():
        recipe = load_recipe(run / "recipe.resolved.json")
        file.write_text(json.dumps(sample_spans(recipe, run / "grpo/adapter")))
    return [(question_id, sure, right) for question_id, sure, right in json.loads(file.read_text())]


def sample_spans(recipe: Recipe, adapter: Path) -> list[tuple[str, float, bool]]:
    """Sample completions of the dev questions by an adapter; give their spans as they are scored."""
    from mbt_lite.student.libraries import prepare

    prepare()
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import generate
    from mbt_lite.prompts import student_messages
    from mbt_lite.rewards.vocabulary import decode_without_specials
    from mbt_lite.student.loading import load_student

    student = load_student(recipe.model, adapter)
    decode = functools.partial(decode_without_specials, student.tokenizer)
    questions = read_questions(recipe.data.dev, recipe.data.seed)
    decoding = Decoding(
        samples=SAMPLES, temperature=1.0, batch_size=96, log_probs=True,
        max_completion_tokens=recipe.eval.max_completion_tokens,
    )  # fmt: skip
    found = list[tuple[str, float, bool]]()
    for one in generate(student, [student_messages(question) for question in questions], decoding):
        ids, log_probs, question = one.token_ids, one.log_probs, questions[one.prompt_index]
        assert log_probs is not None
        sure_of = functools.partial(token_confidence, ids=ids, log_probs=log_probs, decode=decode)
        scored = score_spans(one.text, question, sure_of, prefilled_think=student.prefills_think)
        found.extend((question.question_id, sure, right) for sure, right in scored)
    return found


def figures(spans: Sequence[tuple[str, float, bool]]) -> dict[str, Any]:
    """Give n, share right, overconfident share, ECE with what a perfect model would show, AUROC with its interval."""
    if not spans:
        return {"n": 0, "overconfident": None, "ece": None}
    units, sure, rights = [one[0] for one in spans], [one[1] for one in spans], [int(one[2]) for one in spans]
    return {
        "n": len(spans),
        "right": sum(rights) / len(rights),
        "overconfident": overconfident(sure, rights),
        "ece": expected_calibration_error(sure, rights),
        "ece_if_perfect": null_calibration_error(sure, 0),
        "auroc": auroc(sure, list(map(bool, rights)), _RESAMPLES, 0, units=units),
    }


def lines(out: Path, seeds: Sequence[int]) -> Iterator[str]:
    """Say each figure with its n, then whether the bars hold."""
    steps = read_card(out / "begun", "sft")["spans"]["has_steps"]
    yield f"after sft: {shown(steps)} of completions have a result line (bar {LEAST_WITH_STEPS:.0%})"
    better, not_below = {"overconfident": 0, "ece": 0}, 0
    for seed in seeds:
        arms = {name: folder(out, name, seed) for name in ARMS.ways}
        found = {name: figures(read_spans(run)) for name, run in arms.items()}
        answers = {name: read_card(run, "grpo")["metrics"]["exact_match"] for name, run in arms.items()}
        for name, one in found.items():
            yield f"seed {seed}, {name}: exact match {shown(answers[name])}; {told(one)}"
        term, without = found["ccrl"], found["without the term"]
        for figure in better:
            better[figure] += is_lower(term[figure], without[figure])
        not_below += answers["ccrl"]["mean"] >= answers["without the term"]["low"]
    held = {
        f"a result line in {LEAST_WITH_STEPS:.0%} after sft": steps["mean"] >= LEAST_WITH_STEPS,
        f"overconfident share of wrong steps lower in {LEAST_SEEDS} seeds": better["overconfident"] >= LEAST_SEEDS,
        f"ECE of steps lower in {LEAST_SEEDS} seeds": better["ece"] >= LEAST_SEEDS,
        "exact match not below the control's interval in any seed": not_below == len(seeds),
    }
    yield from (f"{'holds' if holds else 'does not hold'}: {bar}" for bar, holds in held.items())


def is_lower(ours: float | None, theirs: float | None) -> bool:
    """Tell whether a figure is lower; where there is none, nothing is."""
    return ours is not None and theirs is not None and ours < theirs


def told(one: Mapping[str, Any]) -> str:
    """Say what the steps of an arm are worth."""
    if not one["n"]:
        return "no steps"
    sure = "no wrong ones" if one["overconfident"] is None else f"{one['overconfident']:.1%} of wrong ones sure"
    return (
        f"{one['n']} steps, {one['right']:.1%} right, {sure}, ECE {one['ece']:.3f} "
        f"({one['ece_if_perfect']:.3f} if perfect), AUROC {shown(one['auroc'])}"
    )


if __name__ == "__main__":
    options = trial_parser(__doc__)
    options.add_argument("--out", type=Path, required=True, help="folder for the runs")
    run_trial(options.parse_args(), ARMS, lines)
