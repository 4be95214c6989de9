"""Every kind of fault of a recipe, with its exact line and message."""

from pathlib import Path

import pytest
from recipe_texts import MINIMAL, Problems

from mbt_lite.errors import RecipeError
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.foreign import KEYS, NONE
from mbt_lite.recipe.keys import known_keys

# What is added below MINIMAL (from line 4 on) -> the one problem.
FAULTS = {
    "unknown key, near name": ("lora:\n  rnak: 8\n", "a.yaml:5: unknown key `lora.rnak`; did you mean `rank`?"),
    "unknown section, near name": ("lroa:\n  rank: 8\n", "a.yaml:4: unknown key `lroa`; did you mean `lora`?"),
    "key that went": (
        "gen:\n  student_base_url: http://a/v1\n",
        "a.yaml:5: unknown key `gen.student_base_url`; it is `gen.student.base_url` now",
    ),
    "section that went": (
        "eval:\n  student_models: {base: m}\n",
        "a.yaml:5: unknown key `eval.student_models`; it is `eval.student.models` now",
    ),
    "key of another section": (
        "sft:\n  group_size: 4\n",
        "a.yaml:5: unknown key `sft.group_size`; it belongs in `grpo`",
    ),
    "key of a section at the top": ("rank: 8\n", "a.yaml:4: unknown key `rank`; it belongs in `lora`"),
    "key of the section below": (
        "gen:\n  temperature: 0.5\n",
        "a.yaml:5: unknown key `gen.temperature`; it belongs in `gen.sampling`",
    ),
    "key of many sections": (
        "sft:\n  top_p: 0.5\n",
        "a.yaml:5: unknown key `sft.top_p`; it belongs in `teacher` or `judge` or `gen.sampling` or `eval`",
    ),
    "section in a section": ("gen:\n  lora: {}\n", "a.yaml:5: unknown key `gen.lora`; it belongs in the top level"),
    "dotted key": ("lora.rank: 8\n", "a.yaml:4: unknown key `lora.rank`; write `rank` in the section `lora`"),
    "key of an older version": (
        "grpo:\n  reward:\n    weights: {phases: 0.3}\n",
        "a.yaml:6: unknown key `grpo.reward.weights.phases`; "
        "the term is gone: words that announce thinking won it; delete the line",
    ),
    "key without a use": (
        "judge:\n  seed: 3\n",
        "a.yaml:5: unknown key `judge.seed`; each try has its own seed, from 0 on; delete the line",
    ),
    "section without a use": (
        "eval:\n  aes: {alpha: 2.0}\n",
        "a.yaml:5: unknown key `eval.aes`; the score compares with base, by the weights 1, 3 and 5; delete the section",
    ),
    "price of a student": (
        "gen:\n  student: {budget_usd: 5}\n",
        "a.yaml:5: unknown key `gen.student.budget_usd`; "
        "a served student has no prices; delete the line, `budget_tokens` bounds what it is asked",
    ),
    "learning rate that cannot be meant": (
        "grpo:\n  learning_rate: 5\n",
        "a.yaml:5: `grpo.learning_rate` is out of range (got 5); it must be below 1",
    ),
    "batch that cannot be meant": (
        "sft:\n  micro_batch_size: 100000000000000000\n",
        "a.yaml:5: `sft.micro_batch_size` is out of range (got 100000000000000000); it must be at most 65536",
    ),
    "temperature that cannot be meant": (
        "teacher:\n  temperature: 50\n",
        "a.yaml:5: `teacher.temperature` is out of range (got 50); it must be at most 5",
    ),
    "seed that no generator takes": (
        "grpo:\n  seed: -1\n",
        "a.yaml:5: `grpo.seed` is out of range (got -1); it must be at least 0",
    ),
    "wait of a lifetime": (
        "judge:\n  timeout_seconds: 1e17\n",
        "a.yaml:5: `judge.timeout_seconds` is out of range (got 1e17); it must be at most 86400",
    ),
    "unknown key, nothing near": (
        "lora:\n  zzz: 1\n",
        "a.yaml:5: unknown key `lora.zzz`; the keys here are variant, rank, alpha, dropout, continue_from",
    ),
    "number as key": (
        "lora:\n  1: 4\n",
        "a.yaml:5: unknown key `lora.1`; the keys here are variant, rank, alpha, dropout, continue_from",
    ),
    "list as key": ("lora:\n  ? [a]\n  : 4\n", "a.yaml:5: a key is a word (got a list)"),
    "duplicate key": (
        "lora:\n  rank: 8\n  alpha: 3\n  rank: 4\n",
        "a.yaml:7: duplicate key `lora.rank`; it stands on line 5 too, keep one",
    ),
    "duplicate section": ("model: {name: x}\n", "a.yaml:4: duplicate key `model`; it stands on line 1 too, keep one"),
    "text for a whole number": (
        "lora:\n  rank: four\n",
        'a.yaml:5: `lora.rank` is not a whole number (got the text "four"); write a whole number such as 32',
    ),
    "underscores in a number": (
        "lora:\n  rank: 1_000\n",
        'a.yaml:5: `lora.rank` is not a whole number (got the text "1_000"); write a whole number such as 32',
    ),
    "octal": (
        "sft:\n  seed: 0o17\n",
        'a.yaml:5: `sft.seed` is not a whole number (got the text "0o17"); write a whole number such as 0',
    ),
    "fraction for a whole number": (
        "lora:\n  rank: 8.0\n",
        "a.yaml:5: `lora.rank` is not a whole number (got 8.0); write a whole number such as 32",
    ),
    "boolean for a whole number": (
        "lora:\n  rank: true\n",
        "a.yaml:5: `lora.rank` is not a whole number (got true); write a whole number such as 32",
    ),
    "no value": (
        "lora:\n  rank:\n",
        "a.yaml:5: `lora.rank` is not a whole number (got nothing); write a whole number such as 32",
    ),
    "quoted number": (
        'lora:\n  rank: "4"\n',
        'a.yaml:5: `lora.rank` is not a whole number (got the text "4"); write a whole number such as 32',
    ),
    "value on its own line": (
        "lora:\n  rank:\n    four\n",
        'a.yaml:6: `lora.rank` is not a whole number (got the text "four"); write a whole number such as 32',
    ),
    "text for a number": (
        "sft:\n  learning_rate: fast\n",
        'a.yaml:5: `sft.learning_rate` is not a number (got the text "fast"); write a number such as 0.0002',
    ),
    "infinity": (
        "sft:\n  learning_rate: .inf\n",
        'a.yaml:5: `sft.learning_rate` is not a number (got the text ".inf"); write a number such as 0.0002',
    ),
    "sexagesimal": (
        "sft:\n  epochs: 1:30\n",
        'a.yaml:5: `sft.epochs` is not a number (got the text "1:30"); write a number such as 1.0',
    ),
    "yes for a boolean": (
        "sft:\n  gradient_checkpointing: yes\n",
        'a.yaml:5: `sft.gradient_checkpointing` is neither true nor false (got the text "yes"); write true or false',
    ),
    "number for text": (
        "teacher:\n  api_key_env: 4\n",
        "a.yaml:5: `teacher.api_key_env` is not text (got 4); put it in quotes if it is meant as text",
    ),
    "long text over two lines": (
        f"lora:\n  rank: |\n    {'x' * 40}\n    {'y' * 40}\n",
        f'a.yaml:5: `lora.rank` is not a whole number (got the text "{"x" * 40}\\n{"y" * 19}..."); '
        "write a whole number such as 32",
    ),
    "empty section": (
        "lora:\n",
        "a.yaml:4: `lora` is a section (got nothing); give it keys of its own, or leave it out",
    ),
    "list for a section": (
        "lora: [1]\n",
        "a.yaml:4: `lora` is a section (got a list); give it keys of its own, or leave it out",
    ),
    "section for a number": (
        "lora:\n  rank: {is: 4}\n",
        "a.yaml:5: `lora.rank` is not a whole number (got a section); write a whole number such as 32",
    ),
    "text for a list": (
        "eval:\n  variants: base\n",
        'a.yaml:5: `eval.variants` is not a list (got the text "base"); write [a, b]',
    ),
    "not above": ("lora:\n  rank: 0\n", "a.yaml:5: `lora.rank` is out of range (got 0); it must be above 0"),
    "not at least": (
        "grpo:\n  group_size: 1\n",
        "a.yaml:5: `grpo.group_size` is out of range (got 1); it must be at least 2",
    ),
    "warm-up of all steps": (
        "sft:\n  warmup_fraction: 1.0\n",
        "a.yaml:5: `sft.warmup_fraction` is out of range (got 1.0); it must be below 1",
    ),
    "not below": ("lora:\n  dropout: 1\n", "a.yaml:5: `lora.dropout` is out of range (got 1); it must be below 1"),
    "not at most": (
        "eval:\n  top_p: 1.5\n",
        "a.yaml:5: `eval.top_p` is out of range (got 1.5); it must be at most 1",
    ),
    "negative rate": (
        "sft:\n  learning_rate: -1e-4\n",
        "a.yaml:5: `sft.learning_rate` is out of range (got -1e-4); it must be above 0",
    ),
    "unknown choice, near": (
        "sft:\n  schedule: cosin\n",
        'a.yaml:5: `sft.schedule` has no such choice (got the text "cosin"); did you mean cosine?',
    ),
    "unknown choice, nothing near": (
        "sft:\n  schedule: zzz\n",
        'a.yaml:5: `sft.schedule` has no such choice (got the text "zzz"); write one of cosine, linear, constant',
    ),
    "unknown choice in a list": (
        "eval:\n  variants:\n    - base\n    - sftt\n",
        'a.yaml:7: `eval.variants[1]` has no such choice (got the text "sftt"); did you mean sft?',
    ),
    "syntax": (
        "lora: rank: 4\n",
        "a.yaml:4: not valid YAML (mapping values are not allowed here); check indentation, quotes and brackets",
    ),
    "open bracket": (
        "lora: [1\n",
        "a.yaml:5: not valid YAML (expected ',' or ']', but got '<stream end>'); "
        "check indentation, quotes and brackets",
    ),
    "tab as indentation": (
        "lora:\n\trank: 4\n",
        "a.yaml:5: not valid YAML (found character '\\t' that cannot start any token); indent with spaces, not tabs",
    ),
    "control character": (
        "lora:\n  rank: \x01\n",
        "a.yaml:5: a character that YAML does not allow (got #x0001); remove it",
    ),
    "anchor": ("lora: &x\n  rank: 4\n", "a.yaml:4: the value of `lora` has an anchor (got &x); remove it"),
    "tag": (
        "lora:\n  rank: !!int 4\n",
        "a.yaml:5: the value of `lora.rank` has a tag (got tag:yaml.org,2002:int); remove it",
    ),
    "merge key": (
        "lora:\n  <<: {rank: 4}\n",
        "a.yaml:5: merge keys are not supported (got `<<`); write the keys out",
    ),
    "second document": ("---\nlora: {}\n", "a.yaml:4: a second document begins here; one file is one recipe"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_load_recipe_names_a_fault_by_line(case: str, problems: Problems) -> None:
    text, expected = FAULTS[case]
    assert problems(MINIMAL + text) == [expected]


WHOLE_FILES = {
    "empty": ("", "a.yaml:1: the recipe is empty; give it the sections `model` and `data`"),
    "comments only": ("# later\n\n", "a.yaml:1: the recipe is empty; give it the sections `model` and `data`"),
    "null": ("~\n", "a.yaml:1: the recipe is empty; give it the sections `model` and `data`"),
    "list": ("- a\n", "a.yaml:1: not a recipe (got a list); write the sections `model` and `data`"),
    "text": ("hello\n", 'a.yaml:1: not a recipe (got the text "hello"); write the sections `model` and `data`'),
    "missing section": (
        "data: {train: {path: a},\n  dev: {path: b}}\n",
        "a.yaml:1: missing key `model`; add the section: The student",
    ),
    "missing keys, lines of their sections": (
        "data:\n  train:\n    layout: hotpot\n  dev: {path: b}\nmodel: {}\n",
        "a.yaml:2: missing key `data.train.path`; "
        "add it: A file, relative to the working directory, or `hub:owner/dataset[:config]`",
        "a.yaml:5: missing key `model.name`; "
        "add it: Hub id, local folder, `embedded:smollm2-135m` (needs neither hub nor GPU), or `random:qwen3-4b` "
        "(random weights of a known architecture, to measure memory and speed)",
    ),
    "half a character": (
        'model: {name: "\\ud800"}\ndata: {train: {path: a}, dev: {path: b}}\n',
        "a.yaml:1: the recipe is refused (got a section); "
        "invalid json: unexpected end of hex escape at line 1 column 27",
    ),
    "required section that is no section": (
        "model: 4\ndata: 5\n",
        "a.yaml:1: `model` is a section (got 4); give it keys of its own, or leave it out",
        "a.yaml:2: `data` is a section (got 5); give it keys of its own, or leave it out",
    ),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_load_recipe_refuses_what_is_no_recipe(case: str, problems: Problems) -> None:
    text, *expected = WHOLE_FILES[case]
    assert problems(text) == expected


def test_load_recipe_reports_five_different_faults_by_line(problems: Problems) -> None:
    text = "grpo:\n  clip_low: 1.5\nlora:\n  rnak: 8\n  alpha: four\n  alpha: 3\nsft:\n  schedule: cosin\n"
    assert problems(MINIMAL + text) == [
        "a.yaml:5: `grpo.clip_low` is out of range (got 1.5); it must be below 1: 1 - clip_low bounds a ratio",
        "a.yaml:7: unknown key `lora.rnak`; did you mean `rank`?",
        'a.yaml:8: `lora.alpha` is not a whole number (got the text "four"); write a whole number such as 32',
        "a.yaml:9: duplicate key `lora.alpha`; it stands on line 8 too, keep one",
        'a.yaml:11: `sft.schedule` has no such choice (got the text "cosin"); did you mean cosine?',
    ]


def test_load_recipe_reports_an_alias_once_and_checks_the_rest(problems: Problems) -> None:
    assert problems(MINIMAL + "lora:\n  rank: &r 4\n  alpha: *r\n  dropout: 2\n") == [
        "a.yaml:5: the value of `lora.rank` has an anchor (got &r); remove it",
        "a.yaml:6: the value of `lora.alpha` is an alias (got *r); write it out",
        "a.yaml:7: `lora.dropout` is out of range (got 2); it must be below 1",
    ]


def test_load_recipe_survives_an_alias_of_itself(problems: Problems) -> None:
    assert problems(MINIMAL + "eval:\n  variants: &v [*v]\n")[-1] == (
        "a.yaml:5: the value of `eval.variants[0]` is an alias (got *v); write it out"
    )


def test_load_recipe_reports_both_wrong_items_of_a_list(problems: Problems) -> None:
    assert [line.partition(" (")[0] for line in problems(MINIMAL + "eval:\n  variants: [bse, 3]\n")] == [
        "a.yaml:5: `eval.variants[0]` has no such choice",
        "a.yaml:5: `eval.variants[1]` has no such choice",
    ]


def test_load_recipe_names_a_missing_file_and_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "mbt_r.yaml").touch()
    with pytest.raises(RecipeError, match=r"mbtr\.yaml: no such file; did you mean .*mbt_r\.yaml\?$"):
        load_recipe(tmp_path / "mbtr.yaml")
    with pytest.raises(RecipeError, match=r"other\.yaml: no such file; give the path of a recipe file$"):
        load_recipe(tmp_path / "other.yaml")


def test_load_recipe_refuses_a_folder_and_bytes_that_are_no_text(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a folder, not a file"):
        load_recipe(tmp_path)
    (tmp_path / "a.yaml").write_bytes(b"model: \xff\n")
    with pytest.raises(RecipeError, match=r"a\.yaml: not UTF-8 text \(byte 7\); save it as UTF-8$"):
        load_recipe(tmp_path / "a.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    with pytest.raises(RecipeError, match=r"loop\.yaml: cannot be read \(.+\); give"):
        load_recipe(tmp_path / "loop.yaml")


# As in TRL's GRPOConfig, axolotl's and LLaMA-Factory's YAML, unsloth's notebooks: what each ends with.
FOREIGN = {
    "grpo.num_generations": "it is `grpo.group_size` here",
    "grpo.beta": "it is `grpo.kl_coefficient` here",
    "grpo.per_device_train_batch_size": "it is `grpo.micro_batch_size` here",
    "grpo.max_completion_length": "it is `grpo.max_completion_tokens` here",
    "grpo.max_prompt_length": "it is `data.max_prompt_tokens` here",
    "grpo.epsilon": "it is `grpo.clip_low` here",
    "sft.num_train_epochs": "it is `sft.epochs` here",
    "sft.max_seq_length": "it is `sft.max_sequence_tokens` here",
    "sft.warmup_ratio": "it is `sft.warmup_fraction` here",
    "sft.lr": "it is `sft.learning_rate` here",
    "sft.optim": "training uses AdamW; delete the line",
    "lora.r": "it is `lora.rank` here",
    "lora.lora_alpha": "it is `lora.alpha` here",
    "lora.target_modules": "the adapter is on all linear layers; delete the line",
    "lora.learning_rate": "it belongs in `sft` or `grpo`",
    "model.load_in_4bit": "it is `model.quantization` here",
    "model.bf16": "it is `model.dtype` here",
    "model.trust_remote_code": "code of strangers is never run; delete the line",
    "model_name_or_path": "it is `model.name` here",
    "base_model": "it is `model.name` here",
    "dataset": "it is `data.train.path` here",
    "lora_r": "it is `lora.rank` here",
    "sequence_len": "it is `sft.max_sequence_tokens` here",
    "output_dir": "the run folder is named on the command line: --out runs/<name>",
    "report_to": "it is `tracking.tracker` here",
    "micro-batch": "it is `sft.micro_batch_size` or `grpo.micro_batch_size` here",
    "fp16": "it is `model.dtype` here",
}


@pytest.mark.parametrize("key", FOREIGN)
def test_load_recipe_knows_what_other_tools_call_it(key: str, problems: Problems) -> None:
    section, _, name = key.rpartition(".")
    model = MINIMAL.replace("name: tiny", f"name: tiny, {name}: 1") if section == "model" else MINIMAL
    added = "" if section == "model" else f"{section}:\n  {name}: 1\n" if section else f"{name}: 1\n"
    [found] = problems(model + added)
    assert found.partition(": ")[2] == f"unknown key `{key}`; {FOREIGN[key]}"


def test_every_foreign_name_stands_for_a_key_that_exists_and_is_none_of_ours() -> None:
    known = {".".join(path) for path in known_keys()}
    assert {key for keys in KEYS.values() for key in keys} <= known
    assert not KEYS.keys() & NONE.keys()
    assert not {name.rpartition(".")[2] for name in known} & (KEYS.keys() | NONE.keys()) - {"batch_size", "adapter"}
