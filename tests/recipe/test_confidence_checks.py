"""Relations of steps and of confidence: rows, rewards and readings, what they need and how much they may weigh."""

import pytest
from recipe_texts import MINIMAL, Problems

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


CONFIDENCE = {
    "of too few drafts": (
        "{kind: confidence, rollouts_per_question: 4}",
        "a.yaml:4: `gen.rollouts_per_question` is 4, too few for `gen.kind` confidence to tell how far drafts agree; "
        "ask for 5 at least, better ten",
    ),
    "of drafts all alike": (
        "{kind: confidence, rollouts_per_question: 9, sampling: {temperature: 0}}",
        "a.yaml:4: `gen.rollouts_per_question` is 9, but at `gen.sampling.temperature` 0 all drafts of a question are "
        "alike; raise the temperature or ask for one",
    ),
    "that no row states": (
        "{kind: mbt_r}",
        "a.yaml:2: `data.train.ask_for` is confidence, but rows of `gen.kind` mbt_r state none; set it to confidence",
    ),
}


@pytest.mark.parametrize("case", CONFIDENCE)
def test_conflicts_of_confidence_that_is_asked_for(case: str, problems: Problems) -> None:
    gen, expected = CONFIDENCE[case]
    text = MINIMAL.replace(".jsonl", ".jsonl, ask_for: confidence") + f"gen: {gen}\n"
    said = problems(text)
    assert [line.partition(": ")[2] for line in said] == [expected.partition(": ")[2]]
    assert problems(text.replace(gen, "{kind: self_distill}")) == []


STEPS = """\
model: {name: tiny}
data: {train: {path: a.jsonl, ask_for: steps},
  dev: {path: b.jsonl, ask_for: steps}}
"""


@pytest.mark.parametrize("sections", ["gen: {kind: comt}", "gen: {kind: self_distill}", "grpo: {start: base}"])
def test_steps_may_be_asked_of_what_writes_them_or_needs_no_traces(sections: str, problems: Problems) -> None:
    assert problems(f"{STEPS}{sections}\n") == []


def test_steps_are_refused_beside_a_kind_that_writes_none(problems: Problems) -> None:
    assert problems(STEPS + "gen: {kind: mbt_s}\n") == [
        "a.yaml:4: `gen.kind` mbt_s writes no steps, but `data.train.ask_for` is steps; set the kind to comt, or to "
        "self_distill or teacher_distill, which keep what was asked for"
    ]


def test_comt_without_any_rows_is_refused(problems: Problems) -> None:
    assert problems(STEPS + "gen: {kind: comt, plan_rows: false, executed_share: 0}\n") == [
        "a.yaml:4: `gen.plan_rows` is false and `gen.executed_share` 0, so that no row is left; set one of them"
    ]


def test_what_confidence_is_made_from_is_a_key_of_its_rows(problems: Problems) -> None:
    assert problems(STEPS + "gen: {kind: comt, confidence_from: rate}\n") == [
        "a.yaml:4: `gen.confidence_from` is of `gen.kind` confidence (got comt); remove it"
    ]
