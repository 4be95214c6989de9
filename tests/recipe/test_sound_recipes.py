"""What conflicts are not: sound relations, and how they stand beside other faults."""

import pytest
from recipe_texts import MINIMAL, Problems

SOUND = {
    "vllm on the student's weights": (
        "lora: {rank: 512, variant: rslora, dropout: 0.1}\ngrpo: {rollout_engine: vllm, vllm_memory_fraction: 0.4}"
    ),
    "hub dataset with configuration": (
        "data: {train: {path: 'hub:a/b:c', split: train}, dev: {path: 'hub:a/b:c', split: validation}}"
    ),
    "real teacher": "teacher: {base_url: 'https://api.example.org/v1', model: big, api_key_env: MY_KEY_2}",
    "scripted teacher elsewhere": "teacher: {base_url: 'http://127.0.0.1:8000/v1'}",
    "student at an endpoint": (
        "gen: {student: {base_url: 'http://127.0.0.1:8000/v1', model: m, api_key_env: KEY}, attempts: 3}"
    ),
    "no nucleus": "teacher: {top_p: null}",
    "several endpoints": "teacher: {base_url: ['http://a/v1', 'http://b/v1'], model: big}",
    "budget with prices": (
        "teacher: {budget_usd: 5, price_per_million_prompt_tokens: 1, price_per_million_completion_tokens: 4}"
    ),
    "budget of tokens": "teacher: {budget_tokens: 100000}",
    "greedy single draft": "gen: {sampling: {temperature: 0}}",
    "one variant": "eval: {variants: [grpo]}",
    "early stop": "sft: {held_out_traces: 8, evaluate_every_steps: 5, patience: 3}",
    "checkpoints by the clock": "sft: {save_every_minutes: 10}\ngrpo: {save_every_minutes: 2.5}",
    "tracker": "tracking: {tracker: tensorboard}",
    "no judge, whatever else is said of it": "judge: {temperature: 0, measures: []}",
    "scripted judge": "judge: {base_url: embedded, repeats: 2}",
    "greedy judge asked once": "judge: {base_url: embedded, temperature: 0, verdict_attempts: 1}",
    "judge elsewhere": "judge: {base_url: 'http://a/v1', model: big, api_key_env: KEY, measures: [reach]}",
    "several completions": "eval: {temperature: 0.6, samples_per_question: 8}",
    "variants at an endpoint": (
        "eval: {variants: [base, metacognitive, grpo], student: {base_url: ['http://a/v1', 'http://b/v1'], "
        "models: {base: m, grpo: m-grpo}, api_key_env: KEY, budget_tokens: 9}}"
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_conflicts_has_none_for_sound_relations(case: str, problems: Problems) -> None:
    base = "model: {name: tiny}\n" if case.startswith("hub") else MINIMAL
    assert problems(f"{base}{SOUND[case]}\n") == []


def test_conflicts_refuse_a_reference_under_unsloth(problems: Problems) -> None:
    text = MINIMAL.replace("{name: tiny}", "{name: tiny, backend: unsloth}") + "grpo:\n  kl_coefficient: 0.04\n"
    assert problems(text) == [
        "a.yaml:5: `grpo.kl_coefficient` under unsloth would pull to the untrained model, away from the SFT adapter "
        "(got 0.04); set it to 0, or `model.backend` to transformers"
    ]
    assert problems(text.replace("unsloth", "transformers")) == []


def test_conflicts_are_not_drawn_from_wrong_values(problems: Problems) -> None:
    # The default of micro_batch_size would divide; what is written there is not a number, so nothing is said of it.
    text = "grpo:\n  micro_batch_size: three\n  group_size: 3\n  prompts_per_step: 3\n"
    assert [line.partition(" (")[0] for line in problems(MINIMAL + text)] == [
        "a.yaml:5: `grpo.micro_batch_size` is not a whole number"
    ]


def test_conflicts_are_reported_beside_missing_required_keys(problems: Problems) -> None:
    assert [line.partition(";")[0] for line in problems("grpo:\n  clip_low: 2\ndata: {train: 4}\n")] == [
        "a.yaml:1: missing key `model`",
        "a.yaml:2: `grpo.clip_low` is out of range (got 2)",
        "a.yaml:3: `data.train` is a section (got 4)",
        "a.yaml:3: missing key `data.dev`",
    ]


def test_conflicts_stand_at_the_override_that_made_them(problems: Problems) -> None:
    [problem] = problems(MINIMAL + "sft: {max_sequence_tokens: 6000}\n", ["data.max_prompt_tokens=6000"])
    assert problem.startswith("--set data.max_prompt_tokens=6000: `sft.max_sequence_tokens` leaves no room")
