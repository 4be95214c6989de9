"""A made-up run: three variants, a few questions, curves, a scripted teacher, and text that tries to break out."""

import dataclasses
from pathlib import Path
from typing import Any

from mbt_lite.files import write_json, write_jsonl
from mbt_lite.metrics.traces import trace_figures
from mbt_lite.records import PhaseSpan, Prediction, Question, to_row
from mbt_lite.report.contents import Curve, Run, Teachers
from mbt_lite.text.completion import parse_completion, trace_span
from mbt_lite.text.paragraphs import paragraph_spans
from mbt_lite.text.phases import PHASES

HOSTILE = "</script><b>bold</b><!-- & \"quoted\" 'too' <img src=http://evil.example/x.png>"


def estimate(mean: float | None, low: float | None, high: float | None, n: int = 64) -> dict[str, Any]:
    return {"mean": mean, "low": low, "high": high, "n": n, "undefined_reason": None}


def make_metrics(variant: str, exact: float, tokens: float, aes: dict[str, Any] | None, n: int = 64) -> dict[str, Any]:
    def share(value: float) -> dict[str, Any]:
        return estimate(value, max(value - 0.1, 0), min(value + 0.1, 1), n)

    return {
        "variant": variant,
        "n_questions": n,
        "n_predictions": n,
        "metrics": {
            "exact_match": share(exact),
            "f1": share(exact),
            "substring_match": share(exact),
            "answered": share(0.95),
            "stopped": share(1.0),
            "degenerate": share(0.05),
            "completion_tokens": estimate(tokens, tokens - 40, tokens + 60, n),
            "answer_inclusive_error": share(0.25),
            "answer_exclusive_error": share(1 - exact - 0.25),
            "phase_coverage": share(0.3),
            **{f"phase/{phase}": share(0.1 * place) for place, phase in enumerate(PHASES, 1)},
        },
        "phases": {
            "accuracy": 0.983, "unread": 0.005, "n_paragraphs": 600, "n_traces": 120, "undefined_reason": None,
        },
        "aes": aes,
        "left_out": [],
    }  # fmt: skip


def make_question(number: int) -> Question:
    return Question(
        question_id=f"q{number}",
        question=f"In which country was the maker of device {number} born? {HOSTILE if number == 0 else ''}",
        answer="New Arden",
        aliases=("Arden",),
        documents=(),
        source="mbt",
        hops=2,
        question_type="bridge",
    )


def make_prediction(number: int, variant: str, exact: int, hit: int, text: str | None = None) -> Prediction:
    answer = "New Arden" if exact else "Port Ellis"
    place = "New Arden" if hit else "Port Ellis"
    trace = (
        f"We first note what is asked: the birthplace of the maker of device {number}. The notes name Ada Vell as the "
        f"maker. Ada Vell was born in {place}, so the answer should be {place}.\n\nWait, does another note speak of "
        "Port Ellis? It is about the company, not the person. Let us check once more that the maker is meant."
    )
    golds = ("New Arden", "Arden")
    written = text if text is not None else f"<think>\n{trace}\n</think>\n\n<answer>{answer}</answer>"
    return Prediction(
        question_id=f"q{number}",
        variant=variant,
        rollout_index=0,
        text=written,
        finish_reason="stop",
        completion_tokens=90 + number,
        answer=answer,
        golds=golds,
        exact_match=exact,
        f1=float(exact),
        substring_match=exact,
        answered=1,
        stopped=1,
        degenerate=0,
        answer_hit=hit,
        **dataclasses.asdict(trace_figures(parse_completion(written).trace, golds)),
        phases=make_phases(written),
    )


def make_phases(text: str) -> tuple[PhaseSpan, ...]:
    """Call the first paragraph of a trace understanding, the second a self-correction."""
    found = paragraph_spans(text, *trace_span(text) or (0, 0))
    return tuple(PhaseSpan(phase, *span) for phase, span in zip(("understand_filter", "self_correct"), found))  # noqa: B905


def make_run(n: int = 64, text: str | None = None, name: str = f"demo {HOSTILE}") -> Run:
    aes = estimate(2.31, 1.42, 3.5, n)
    undefined = estimate(None, None, None, n) | {"undefined_reason": "base accuracy is 0"}
    every = {"base": 5, "metacognitive": 4, "sft": 2}
    return Run(
        name=name,
        recipe={"model": {"name": "embedded:smollm2-135m"}, "data": {"dev": {"path": "data_samples/dev.jsonl"}}},
        environment={
            "python": "3.12.1", "platform": "Linux", "cpu_count": 2,
            "packages": {"mbt-lite": "0.1.0", "torch": "2.13.0"},
        },
        questions={f"q{number}": make_question(number) for number in range(n)},
        metrics={
            "base": make_metrics("base", 0.2, 210, None, n),
            "metacognitive": make_metrics("metacognitive", 0.25, 230, undefined, n),
            "sft": make_metrics("sft", 0.5, 104, aes, n),
        },
        predictions={
            variant: [
                make_prediction(number, variant, int(number % step == 0), int(number % 3 > 0), text)
                for number in range(n)
            ]
            for variant, step in every.items()
        },
        curves=(
            Curve("sft", "loss", tuple((float(step), 3 / (step + 1)) for step in range(30))),
            Curve("grpo", "reward", ()),
        ),
        teachers=Teachers(("scripted",), 120, 120),
        reaches={variant: {} for variant in every},
        judged_phases={variant: {} for variant in every},
        servers=("judge: 3 of 6 replies of m are of no use (empty)",),
    )  # fmt: skip


def write_run(path: Path, run: Run) -> Path:
    """Write a run folder as eval leaves it; give its path."""
    write_json(path / "recipe.resolved.json", {**run.recipe, "eval": {"variants": list(run.predictions)}})
    write_json(path / "environment.json", run.environment)
    write_jsonl(path / "eval" / "questions.jsonl", map(to_row, run.questions.values()))
    for variant, rows in run.predictions.items():
        write_jsonl(path / "eval" / variant / "predictions.jsonl", map(to_row, rows))
        write_json(path / "eval" / variant / "metrics.json", run.metrics[variant])
    return path
