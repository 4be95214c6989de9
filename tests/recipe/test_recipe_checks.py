"""Relations between keys: each is refused at a line, none of the shipped or minimal recipes is."""

import pytest
from recipe_texts import MINIMAL, Problems

from mbt_lite.rewards.gating import FEWEST_FORECASTS

CONFLICTS = {
    "clip": (
        "grpo:\n  clip_low: 1\n",
        "a.yaml:5: `grpo.clip_low` is out of range (got 1); it must be below 1: 1 - clip_low bounds a ratio",
    ),
    "no room for a trace": (
        "sft:\n  max_sequence_tokens: 4096\n",
        "a.yaml:5: `sft.max_sequence_tokens` leaves no room for a trace (got 4096); "
        "it must be above `data.max_prompt_tokens` (4096)",
    ),
    "patience without a dev loss": (
        "sft:\n  patience: 3\n",
        "a.yaml:5: `sft.patience` waits for a dev loss that nothing is measured on (got 3); "
        "set `sft.held_out_traces`, or remove it",
    ),
    "variant twice": (
        "eval:\n  variants: [base, sft, base]\n",
        "a.yaml:5: `eval.variants` names a variant twice (got [base, sft, base]); write [base, sft]",
    ),
    "variants out of order": (
        "eval:\n  variants: [grpo, base]\n",
        "a.yaml:5: `eval.variants` is out of order (got [grpo, base]); write [base, grpo]",
    ),
    "no variants": (
        "eval:\n  variants: []\n",
        "a.yaml:5: `eval.variants` is empty (got []); name at least one, such as [base, sft]",
    ),
    "weights all zero": (
        "grpo:\n  reward:\n    weights: {answer: 0}\n",
        "a.yaml:6: `grpo.reward.weights` are all 0, so every completion earns the same; "
        "give at least one term a weight",
    ),
    "negative weight": (
        "grpo:\n  reward:\n    weights:\n      keep: -0.2\n",
        "a.yaml:7: `grpo.reward.weights.keep` is negative (got -0.2); write 0.2: "
        "terms that punish are negative themselves",
    ),
    "overlong buffer": (
        "grpo:\n  max_completion_tokens: 256\n",
        "a.yaml:5: `grpo.reward.overlong_buffer_tokens` is out of range (got 256); "
        "it must be below `grpo.max_completion_tokens` (256)",
    ),
    "overlong buffer longer than the completion": (
        "grpo:\n  reward:\n    overlong_buffer_tokens: 4096\n",
        "a.yaml:6: `grpo.reward.overlong_buffer_tokens` is out of range (got 4096); "
        "it must be below `grpo.max_completion_tokens` (2048)",
    ),
    "micro-batches do not divide": (
        "grpo:\n  micro_batch_size: 3\n  group_size: 4\n",
        "a.yaml:6: `grpo.micro_batch_size` does not divide the 32 completions of a step (got 3); "
        "choose a divisor of prompts_per_step * group_size",
    ),
    "plans that the student is not asked for": (
        "gen:\n  kind: comt\n",
        "a.yaml:5: `gen.kind` comt writes plans, but the student is not asked for steps (got `data.train.ask_for` "
        "answer); set `data.train.ask_for` and `data.dev.ask_for` to steps",
    ),
    "executed rows of another kind": (
        "gen:\n  executed_share: 0.5\n",
        "a.yaml:5: `gen.executed_share` and `gen.plan_rows` are of `gen.kind` comt (got mbt_r); remove them",
    ),
    "masa without its method": (
        "grpo:\n  masa: {weight: 2.0}\n",
        "a.yaml:5: `grpo.masa` is set, but `grpo.method` is law; set it to masa",
    ),
    "masa whose gate never closes": (
        "grpo:\n  method: masa\n  group_size: 2\n  micro_batch_size: 2\n  masa: {sequential_after: 1}\n",
        "a.yaml:8: `grpo.group_size` is 2, but `grpo.masa.sequential_after` gates a question by "
        f"{FEWEST_FORECASTS} forecasts that agree, so it never would; raise it, or remove `sequential_after`",
    ),
    "masa with a reference": (
        "grpo:\n  method: masa\n  kl_coefficient: 0.1\n",
        "a.yaml:6: `grpo.kl_coefficient` is 0.1, which `grpo.method` masa has not been tried with; set it to 0",
    ),
    "steps rewarded that are not asked for": (
        "grpo:\n  ccrl: {weight: 0.2}\n",
        "a.yaml:5: `grpo.ccrl` rewards what nobody asks the student to write (got `data.train.ask_for` answer); set it "
        "to steps, for dev too, or `grpo.ccrl.weight` to 0",
    ),
    "a law of confidence without a weight": (
        "grpo:\n  ccrl: {law: linear}\n",
        "a.yaml:5: `grpo.ccrl` is set, but its weight is 0; set `grpo.ccrl.weight`, such as 0.2",
    ),
    "confidence rewarded that is not asked for": (
        "grpo:\n  confidence: {weight: 0.5}\n",
        "a.yaml:5: `grpo.confidence` rewards what nobody asks the student to write (got `data.train.ask_for` answer); "
        "set it to confidence, for dev too, or `grpo.confidence.weight` to 0",
    ),
    "a forecast from one draft": (
        "gen:\n  kind: meta_expert\n",
        "a.yaml:5: `gen.rollouts_per_question` is 1, but one draft tells `gen.kind` meta_expert no share of right "
        "ones; ask for two at least, better eight",
    ),
    "confidence that nobody asks for": (
        "gen:\n  kind: confidence\n  rollouts_per_question: 10\n",
        "a.yaml:5: `gen.kind` confidence answers a prompt that asks for it (got `data.train.ask_for` answer); set it "
        "to confidence for train and dev",
    ),
    "confidence that nobody states": (
        "eval:\n  confidence: [stated]\n",
        "a.yaml:5: `eval.confidence` reads stated, which nobody is asked for (got `data.dev.ask_for` answer); set that "
        "to confidence, or leave stated out",
    ),
    "steps that nobody writes": (
        "eval:\n  confidence: [steps]\n",
        "a.yaml:5: `eval.confidence` reads steps, which nobody is asked for (got `data.dev.ask_for` answer); set that "
        "to steps, or leave steps out",
    ),
    "a reading twice": (
        "eval:\n  confidence: [answer_probability, answer_probability]\n",
        "a.yaml:5: `eval.confidence` names a reading twice (got [answer_probability, answer_probability]); name each "
        "once",
    ),
    "an answer's probability from vllm": (
        "eval:\n  engine: vllm\n  confidence: [answer_probability]\n",
        "a.yaml:6: `eval.confidence` reads answer_probability, which only the student in this process tells, with "
        "backend transformers and engine local (got another `eval.engine`); leave it out, or change that",
    ),
    "an answer's probability from an endpoint": (
        "eval:\n  variants: [base]\n  confidence: [answer_probability]\n"
        "  student: {base_url: 'http://a/v1', models: {base: m}}\n",
        "a.yaml:7: `eval.confidence` reads answer_probability, which only the student in this process tells, with "
        "backend transformers and engine local (got another `eval.student.base_url`); leave it out, or change that",
    ),
    "an adapter for nobody": (
        "gen:\n  kind: mbt_s\n  student_adapter: runs/a/sft/adapter\n",
        "a.yaml:6: `gen.student_adapter` is set, but the student in this process does not draft (`gen.kind` mbt_s, "
        "`gen.student.base_url` none); remove it",
    ),
    "pass rates of one draft": (
        "grpo:\n  prefilter: gen\n",
        "a.yaml:5: `grpo.prefilter` is gen, but one draft tells no pass rate (got `gen.rollouts_per_question` 1); "
        "draft at least two, or set it to start",
    ),
    "dev questions that eval scores": (
        "grpo:\n  dev_questions: 8\n",
        "a.yaml:5: `grpo.dev_questions` is 8, but eval scores all of `data.dev`, and choosing an adapter by what eval "
        "scores is peeking; set `data.dev.limit`",
    ),
    "vllm with a large rank": (
        "lora:\n  rank: 513\ngrpo:\n  rollout_engine: vllm\n",
        "a.yaml:7: `grpo.rollout_engine` is vllm, which takes adapters up to rank 512 (got `lora.rank` 513); "
        "set it to local, or change `lora.rank`",
    ),
    "vllm with dora": (
        "lora:\n  variant: dora\ngrpo:\n  rollout_engine: vllm\n",
        "a.yaml:7: `grpo.rollout_engine` is vllm, which has no DoRA (got `lora.variant` dora); "
        "set it to local, or change `lora.variant`",
    ),
    "endpoint": (
        "teacher:\n  base_url: localhost:8000\n  model: m\n",
        "a.yaml:5: `teacher.base_url` is no endpoint (got localhost:8000); "
        "write embedded, or a URL with http:// or https://",
    ),
    "key in a URL": (
        "teacher:\n  base_url: https://user:sk-1234@a/v1\n  model: m\n",
        "a.yaml:5: `teacher.base_url` holds more than an address (one of @ ? #, or a key); leave user, key and query "
        "out, and name the key's variable in `teacher.api_key_env`",
    ),
    "key in a query": (
        "eval:\n  variants: [base]\n  student: {base_url: 'https://a/v1?api_key=sk-1234', models: {base: m}}\n",
        "a.yaml:6: `eval.student.base_url` holds more than an address (one of @ ? #, or a key); leave user, key and "
        "query out, and name the key's variable in `eval.student.api_key_env`",
    ),
    "key in what is no URL": (
        "teacher:\n  base_url: user:sk-1234@a/v1\n  model: m\n",
        "a.yaml:5: `teacher.base_url` holds more than an address (one of @ ? #, or a key); leave user, key and query "
        "out, and name the key's variable in `teacher.api_key_env`",
    ),
    "scripted model elsewhere": (
        "teacher:\n  base_url: https://api.example.com/v1\n",
        "a.yaml:5: `teacher.model` is scripted, which no server elsewhere has; name the model of `teacher.base_url`",
    ),
    "little room for a trace": (
        "sft:\n  max_sequence_tokens: 4200\n",
        "a.yaml:5: `sft.max_sequence_tokens` leaves 104 tokens beside the longest prompt, too few for a trace of 120 "
        "words; raise it, or lower `data.max_prompt_tokens` or `gen.trace_words`",
    ),
    "endpoint in a list": (
        "teacher:\n  base_url: [http://a/v1, embedded]\n  model: m\n",
        "a.yaml:5: `teacher.base_url` is no endpoint (got embedded); write embedded, or a URL with http:// or https://",
    ),
    "endpoint twice": (
        "teacher:\n  base_url: [http://a/v1, http://a/v1]\n  model: m\n",
        "a.yaml:5: `teacher.base_url` names a URL twice (got http://a/v1, http://a/v1); keep one",
    ),
    "budget without prices": (
        "teacher:\n  budget_usd: 5\n  price_per_million_prompt_tokens: 1\n",
        "a.yaml:6: `teacher.budget_usd` needs prices (got 5); set `teacher.price_per_million_prompt_tokens` and "
        "`teacher.price_per_million_completion_tokens`",
    ),
    "model without endpoint": (
        "teacher:\n  model: gpt-oss-120b\n",
        "a.yaml:5: `teacher.model` is gpt-oss-120b, but the embedded teacher is scripted; "
        "set `teacher.base_url` to its server",
    ),
    "key in place of its variable": (
        "teacher:\n  api_key_env: sk-1234\n",
        "a.yaml:5: `teacher.api_key_env` is no variable name; "
        "write the name of the environment variable that holds the key, never the key itself",
    ),
    "traces all alike": (
        "teacher:\n  temperature: 0\ngen:\n  traces_per_draft: 2\n",
        "a.yaml:7: `gen.traces_per_draft` is 2, but at `teacher.temperature` 0 all traces of a draft are alike; "
        "raise the temperature or ask for one",
    ),
    "drafts all alike": (
        "gen:\n  rollouts_per_question: 4\n  sampling: {temperature: 0}\n",
        "a.yaml:6: `gen.rollouts_per_question` is 4, but at `gen.sampling.temperature` 0 all drafts of a question "
        "are alike; raise the temperature or ask for one",
    ),
    "tries all alike": (
        "teacher:\n  temperature: 0\ngen:\n  attempts: 2\n",
        "a.yaml:7: `gen.attempts` is 2, but at `teacher.temperature` 0 another try gives the same trace; "
        "raise the temperature or try once",
    ),
    "student without endpoint": (
        "gen:\n  student:\n    model: tiny\n",
        "a.yaml:6: `gen.student.model` is set without an endpoint; set `gen.student.base_url` or remove it",
    ),
    "endpoint without student": (
        "gen:\n  student:\n    base_url: http://127.0.0.1:8000/v1\n",
        "a.yaml:6: `gen.student.model` is missing for `gen.student.base_url`; name the student as that server does",
    ),
    "student at no URL": (
        "gen:\n  student:\n    model: tiny\n    base_url: localhost\n",
        "a.yaml:7: `gen.student.base_url` is no endpoint (got localhost); "
        "write none, or a URL with http:// or https://",
    ),
    "judge at no URL": (
        "judge:\n  base_url: localhost\n  model: big\n",
        "a.yaml:5: `judge.base_url` is no endpoint (got localhost); "
        "write none, embedded, or a URL with http:// or https://",
    ),
    "judge that is scripted, by another name": (
        "judge:\n  base_url: embedded\n  model: big\n",
        "a.yaml:6: `judge.model` is big, but the embedded judge is scripted; set `judge.base_url` to its server",
    ),
    "greedy judge asked again": (
        "judge:\n  base_url: embedded\n  temperature: 0\n",
        "a.yaml:6: `judge.temperature` is 0, so that asking again gives the same reply; "
        "raise it, or set `judge.verdict_attempts` and `judge.repeats` to 1",
    ),
    "judge without measures": (
        "judge:\n  base_url: embedded\n  measures: []\n",
        "a.yaml:6: `judge.measures` is empty or names one twice (got []); "
        "name each once, or set `judge.base_url` to none",
    ),
    "overthinking without accuracy": (
        "judge:\n  base_url: embedded\n  measures: [hit, thinking]\n",
        "a.yaml:6: `judge.measures` has thinking without accuracy (got [hit, thinking]); "
        "what counts as over- or underthinking depends on it: add accuracy",
    ),
    "judge's budget without prices": (
        "judge:\n  base_url: embedded\n  budget_usd: 5\n",
        "a.yaml:6: `judge.budget_usd` needs prices (got 5); set `judge.price_per_million_prompt_tokens` and "
        "`judge.price_per_million_completion_tokens`",
    ),
    "judge's key in place of its variable": (
        "judge:\n  base_url: http://a/v1\n  model: big\n  api_key_env: sk-1234\n",
        "a.yaml:7: `judge.api_key_env` is no variable name; "
        "write the name of the environment variable that holds the key, never the key itself",
    ),
    "greedy completions, many of them": (
        "eval:\n  samples_per_question: 4\n",
        "a.yaml:5: `eval.samples_per_question` is 4, but at `eval.temperature` 0 all completions of a question are "
        "alike; raise the temperature or ask for one",
    ),
    "evaluated student without endpoint": (
        "eval:\n  student:\n    models: {base: tiny}\n",
        "a.yaml:6: `eval.student.models.base` is set without an endpoint; set `eval.student.base_url` or remove it",
    ),
    "evaluated student at no URL": (
        "eval:\n  variants: [metacognitive]\n  student: {models: {base: m},\n    base_url: localhost}\n",
        "a.yaml:7: `eval.student.base_url` is no endpoint (got localhost); "
        "write none, or a URL with http:// or https://",
    ),
    "endpoint without the evaluated adapter": (
        "eval:\n  variants: [base, sft]\n  student:\n    {models: {base: m}, base_url: 'http://a/v1'}\n",
        "a.yaml:7: `eval.student.models.sft` is missing for `eval.student.base_url`; "
        "name the student as that server does",
    ),
    "top_k at an endpoint": (
        "eval:\n  variants: [base]\n  student: {models: {base: m}, base_url: 'http://a/v1'}\n  top_k: 20\n",
        "a.yaml:7: `eval.top_k` is 20, but the chat schema of `eval.student.base_url` has none; set it to 0",
    ),
    "two engines": (
        "eval:\n  variants: [base]\n  student: {models: {base: m}, base_url: 'http://a/v1'}\n  engine: vllm\n",
        "a.yaml:7: `eval.engine` is vllm, but `eval.student.base_url` answers elsewhere; remove one of them",
    ),
    "student's key in place of its variable": (
        "gen:\n  student:\n    model: tiny\n    base_url: http://a/v1\n    api_key_env: sk-1234\n",
        "a.yaml:8: `gen.student.api_key_env` is no variable name; "
        "write the name of the environment variable that holds the key, never the key itself",
    ),
}


@pytest.mark.parametrize("case", CONFLICTS)
def test_conflicts_name_a_line_and_a_cure(case: str, problems: Problems) -> None:
    text, expected = CONFLICTS[case]
    assert problems(MINIMAL + text) == [expected]


QUESTIONS = {
    "hub without split": (
        "{path: 'hub:a/b'}",
        "a.yaml:3: `data.dev.split` is missing for hub:a/b; name the split, such as train",
    ),
    "file with split": (
        "{path: b.jsonl, split: dev}",
        "a.yaml:3: `data.dev.split` is set, but a file has no splits (got dev); remove it",
    ),
    "no dataset name": (
        "{path: 'hub:b', split: dev}",
        "a.yaml:3: `data.dev.path` is no dataset name (got hub:b); write hub:owner/dataset[:config]",
    ),
    "the same file": (
        "{path: a.jsonl}",
        "a.yaml:3: `data.dev` holds the questions of `data.train` (got a.jsonl twice); score on held-out questions",
    ),
}


@pytest.mark.parametrize("case", QUESTIONS)
def test_conflicts_of_questions_name_a_line_and_a_cure(case: str, problems: Problems) -> None:
    dev, expected = QUESTIONS[case]
    text = f"model: {{name: tiny}}\ndata: {{train: {{path: a.jsonl}},\n  dev: {dev}}}\n"
    assert problems(text) == [expected]


ENGINE = {
    "by transformers": (
        "{name: tiny, backend: transformers}",
        "shares weights through unsloth only (got `model.backend` transformers)",
    ),
    "embedded": (
        "{name: 'embedded:smollm2-135m'}",
        "needs a hub id or a folder (got `model.name` embedded:smollm2-135m)",
    ),
    "in 32 bits": ("{name: tiny, dtype: float32}", "computes in bfloat16 (got `model.dtype` float32)"),
}


@pytest.mark.parametrize("case", ENGINE)
def test_conflicts_of_the_engine_with_a_student_name_the_key(case: str, problems: Problems) -> None:
    model, expected = ENGINE[case]
    text = MINIMAL.replace("{name: tiny}", model) + "grpo: {rollout_engine: vllm}\n"
    [said] = problems(text)
    assert said.startswith(f"a.yaml:4: `grpo.rollout_engine` is vllm, which {expected}; set it to local, or change `m")
    assert problems(text.replace("vllm", "local")) == []
