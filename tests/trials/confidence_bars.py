"""What rows of confidence teach the embedded student, over seeds of sft. A trial for people.

    mbt-lite run recipes/demo.yaml                                      first: its adapter is where all begin
    python tests/trials/confidence_bars.py --out runs/confidence_bars   an hour; the same command goes on after a stop
    python tests/trials/confidence_bars.py --out runs/confidence_bars --report-only
    python tests/trials/confidence_bars.py --out runs/confidence_known --half-unanswerable

It drafts on 256 questions made on the spot: of those that it has trained on the adapter gets more right than of others.
Drafts and rows are made once. Each seed trains the lines; all answer the same 96 dev questions greedily, and so does
the adapter that they began with, by the prompt that it knows.
`--half-unanswerable` takes the evidence from every second question of two hops: then doubt has a reason.
"""

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from arms import DEMO_FILES, half_unanswerable, read_card, shown

from mbt_lite.data.synthetic import DEMO, SampleFile, generate_questions
from mbt_lite.files import write_jsonl
from mbt_lite.records import to_row

RECIPE = "recipes/demo_confidence.yaml"
SIZE = {"data.train.limit": 256, "data.dev.limit": 96}
UNSEEN = SampleFile("demo_unseen", "train", 21, 256, DEMO)
# the adapter of before, asked for an answer alone
BEFORE = {
    "gen.kind": "self_distill", "gen.confidence_from": "agreement",
    "data.train.ask_for": "answer", "data.dev.ask_for": "answer",
    "eval.confidence": "[answer_probability]", "eval.variants": "[{name: before, adapter: runs/demo/sft/adapter}]",
}  # fmt: skip
LEAST_STATED = 0.95


def mbt_lite(stage: str, out: Path, settings: dict[str, Any]) -> None:
    """Run a stage in a process of its own; one that is done says so and ends."""
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    subprocess.run([sys.executable, "-m", "mbt_lite", stage, RECIPE, "--out", str(out), *words], check=True)


def train(out: Path, seeds: Sequence[int], more: dict[str, Any], is_half_unanswerable: bool) -> None:
    """Run everything that is not there yet; `more` may name other questions."""
    files = DEMO_FILES | {"data.train.path": out / "unseen.jsonl"}
    write_jsonl(files["data.train.path"], map(to_row, generate_questions(UNSEEN)))
    if is_half_unanswerable:
        files = half_unanswerable(files, out / "questions")
    more = {**files, **more}
    mbt_lite("gen", out / "begun", SIZE | more)
    mbt_lite("eval", out / "before", SIZE | more | BEFORE)
    for seed in seeds:
        run = out / f"seed-{seed}"
        if not (run / "gen").exists():
            shutil.copytree(out / "begun/gen", run / "gen.part", dirs_exist_ok=True)
            (run / "gen.part").rename(run / "gen")
        for stage in ("sft", "eval"):
            mbt_lite(stage, run, SIZE | {"sft.seed": seed} | more)


def lines(out: Path, seeds: Sequence[int]) -> Iterator[str]:
    """Say each figure with its n and what it is held against, then whether the bars hold."""
    before = read_card(out / "before", "before")
    yield f"before: exact match {shown(before['metrics']['exact_match'])}"
    yield f"before, answer probability: {calibrated(before['calibration']['answer_probability'])}"
    held: dict[str, list[bool]] = {}
    for seed in seeds:
        card = read_card(out / f"seed-{seed}", "sft")
        exact, stated = card["metrics"]["exact_match"], card["calibration"]["stated"]
        share = 1 - stated["missing"] / card["n_predictions"]
        yield f"seed {seed}: exact match {shown(exact)}; states a confidence: {share:.1%} of {card['n_predictions']}"
        for reading, found in card["calibration"].items():
            yield f"seed {seed}, {reading}: {calibrated(found)}"
        metrics = stated["metrics"]
        bars = {
            f"{LEAST_STATED:.0%} of completions state a confidence": share >= LEAST_STATED,
            "Brier below that of the constant base rate": below(metrics["brier"], metrics["brier_of_base_rate"]),
            "AUROC's interval above 0.5": metrics["auroc"]["low"] is not None and metrics["auroc"]["low"] > 0.5,
            "exact match of before within the interval": exact["low"]
            <= before["metrics"]["exact_match"]["mean"]
            <= exact["high"],
        }
        for bar, holds in bars.items():
            held.setdefault(bar, []).append(holds)
    yield from (
        f"{'holds' if all(ones) else f'does not hold ({sum(ones)} of {len(ones)})'}: {bar}"
        for bar, ones in held.items()
    )


def below(ours: dict[str, Any], base: dict[str, Any]) -> bool:
    """Tell whether a figure is there and below another."""
    return ours["mean"] is not None and bool(ours["mean"] < base["mean"])


def calibrated(found: dict[str, Any]) -> str:
    """Say what a reading is worth."""
    metrics = found["metrics"]
    if metrics["ece"]["mean"] is None:
        return f"none of {found['missing']} has one"
    ece = metrics["ece"]
    return (
        f"ECE {ece['mean']:.3f} (perfect: {metrics['ece_if_perfect']['mean']:.3f}, n={ece['n']}), "
        f"Brier {shown(metrics['brier'])} (base rate: {metrics['brier_of_base_rate']['mean']:.3f}), "
        f"AUROC {shown(metrics['auroc'])} (constant 0.5), AURC {metrics['aurc']['mean']:.3f}"
    )


def main() -> None:
    """Train what is missing, then say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="seeds of sft")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="over the recipe, in all runs")
    parser.add_argument("--half-unanswerable", action="store_true", help="half of the questions lack their evidence")
    parser.add_argument("--report-only", action="store_true", help="train nothing")
    given = parser.parse_args()
    if not given.report_only:
        settings = dict(setting.split("=", 1) for setting in given.set)
        train(given.out, given.seeds, settings, given.half_unanswerable)
    print(*lines(given.out, given.seeds), sep="\n")


if __name__ == "__main__":
    main()
