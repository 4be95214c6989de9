"""Relations of the rewards for confidence: what they need, and how much they may weigh."""

import pytest
from recipe_texts import Problems

TEXT = """\
model: {{name: tiny, backend: {backend}}}
data: {{train: {{path: train.jsonl, ask_for: {ask}}}, dev: {{path: dev.jsonl, ask_for: {ask}}}}}
grpo:
  reward: {{weights: {{answer: 1.0, format: 0.1, length: 0.1}}}}
  {grpo}
gen: {{kind: {kind}, rollouts_per_question: 10}}
"""
KINDS = {"answer": "mbt_r", "steps": "comt", "confidence": "confidence"}


def said(problems: Problems, grpo: str, ask: str = "steps", backend: str = "auto") -> list[str]:
    return problems(TEXT.format(grpo=grpo, ask=ask, backend=backend, kind=KINDS[ask]))


@pytest.mark.parametrize(
    ("grpo", "ask"),
    [
        ("ccrl: {weight: 0.2}", "steps"),
        ("ccrl: {weight: 0.39, law: linear}", "steps"),
        ("confidence: {weight: 0.79}", "confidence"),
        ("ccrl: {weight: 0}", "answer"),
    ],
)
def test_a_weight_below_its_bound_is_sound(problems: Problems, grpo: str, ask: str) -> None:
    assert said(problems, grpo, ask) == []


@pytest.mark.parametrize(
    ("grpo", "ask", "line"),
    [
        (
            "ccrl: {weight: 0.4}", "steps",
            "a.yaml:5: `grpo.ccrl.weight` could lift a wrong answer over a right one (got 0.4); it must be below half "
            "of answer + exact - format - dwell - redundancy - length of `grpo.reward.weights` (0.4 here)",
        ),
        (
            "confidence: {weight: 0.8}", "confidence",
            "a.yaml:5: `grpo.confidence.weight` could lift a wrong answer over a right one (got 0.8); it must be below "
            "answer + exact - format - dwell - redundancy - length of `grpo.reward.weights` (0.8 here)",
        ),
        (
            "ccrl: {weight: 0.2}\n  rollout_engine: vllm", "steps",
            "a.yaml:6: `grpo.ccrl.confidence` token reads the policy's log-probabilities, which `grpo.rollout_engine` "
            "vllm has not; set it to local, or confidence to stated",
        ),
        (
            "ccrl: {weight: 0.2}\n  method: masa", "steps",
            "a.yaml:6: `grpo.ccrl` comes on top of method law (got masa); set it to law",
        ),
    ],
    ids=["steps too heavy", "confidence too heavy", "vllm", "masa"],
)  # fmt: skip
def test_what_does_not_go_together_is_named(problems: Problems, grpo: str, ask: str, line: str) -> None:
    assert line in said(problems, grpo, ask)


def test_token_confidence_is_refused_under_unsloth_and_stated_is_not(problems: Problems) -> None:
    [line] = said(problems, "ccrl: {weight: 0.2}", backend="unsloth")
    assert line == (
        "a.yaml:5: `grpo.ccrl.confidence` token reads the policy's log-probabilities, which `model.backend` unsloth "
        "has not; set it to transformers, or confidence to stated"
    )
    assert said(problems, "ccrl: {weight: 0.2, confidence: stated}", backend="unsloth") == []
