"""`mbt-lite init`: a commented recipe for one's own questions, from four answers: data, student, teacher, card.

One file of questions is split into train and dev files beside the recipe. What depends on the data (how long prompts
are, how many questions a step can have) is counted, and what `plan --fit` finds for the card is written in.
"""

from __future__ import annotations

import dataclasses
import json
import random
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mbt_lite import prompts
from mbt_lite.data import hub
from mbt_lite.data.questions import closed_book_lines, read_questions
from mbt_lite.data.stream import iter_records
from mbt_lite.doctor.command import examine
from mbt_lite.errors import DataError, MbtError, ModelError
from mbt_lite.files import write_json, write_text
from mbt_lite.generation.local import read_counts
from mbt_lite.look.check import unread_lines
from mbt_lite.plan.fit import fitting
from mbt_lite.plan.make_plan import Plan, make_plan, plan_with
from mbt_lite.plan.target import choose_target, make_setup
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Model, Questions, Recipe
from mbt_lite.recipe.views import json_schema
from mbt_lite.records import Question

EMBEDDED_STUDENT = "embedded:smollm2-135m"
DEV_SHARE, MOST_DEV = 0.25, 200
PROMPT_STEP = 64
_ORDER = ("model", "data", "teacher", "lora", "gen", "sft", "grpo", "eval")


@dataclasses.dataclass(frozen=True, slots=True)
class Server:
    """Where a kind of teacher listens, and the environment variable that holds its key."""

    base_url: str
    key: str | None = None


TEACHERS: Mapping[str, Server] = {
    "embedded": Server("embedded"),
    "openrouter": Server("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "openai": Server("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "vllm": Server("http://localhost:8000/v1"),
    "ollama": Server("http://localhost:11434/v1"),
    "llama.cpp": Server("http://localhost:8080/v1"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Wanted:
    """The answers: a file of questions, its dev file if there is one, the student, the teacher, the card's GiB."""

    data: str
    dev: str | None
    student: str
    teacher: str
    teacher_model: str | None
    vram_gib: float | None
    out: Path


Setting = tuple[str, Any, str]


def write_recipe(wanted: Wanted) -> Iterator[str]:
    """Write the recipe, and the split data if there was one file; give lines about what was done and found.

    Raises DataError for data or a teacher that cannot be used, and for a recipe that is there already.
    """
    if wanted.out.exists():
        raise DataError(f"{wanted.out}: is there already; name another by --out, or delete it")
    if wanted.teacher not in TEACHERS:
        raise DataError(f"teacher: no such kind (got {wanted.teacher}); write one of {', '.join(TEACHERS)}")
    if wanted.teacher != "embedded" and wanted.teacher_model is None:
        raise DataError("teacher: its model is not named; give --teacher-model, as that server calls it")
    train, dev = (wanted.data, wanted.dev) if wanted.dev is not None else _split(wanted)
    questions = read_questions(Questions(path=train), 0)
    yield f"{train}: {len(questions)} questions to learn from, {dev} is held out"
    yield from [*unread_lines(train, questions), *closed_book_lines(questions, train)]
    most, told = _prompt_limit(wanted.student, questions)
    yield told
    settings = _settings(wanted, train, dev, most, len(questions))
    _write(wanted.out, settings)
    recipe = load_recipe(wanted.out, [])
    yield from _fitted(wanted, recipe, settings)
    schema = wanted.out.with_suffix(".schema.json")
    write_json(schema, json_schema())
    findings = examine(load_recipe(wanted.out, []), Path("runs") / wanted.out.stem)
    yield from (str(finding) for finding in findings if finding.is_problem)
    yield f"{wanted.out}: written; `mbt-lite run {shlex.quote(str(wanted.out))}` runs it, {schema.name} is for editors"


def _split(wanted: Wanted) -> tuple[str, str]:
    """Hold a quarter of one file's records out, at most 200, chosen by chance; both parts keep their records whole."""
    if wanted.data.startswith(hub.PREFIX):
        raise DataError(f"{wanted.data}: a hub dataset is not split here; name its dev split's file by --dev")
    path = Path(wanted.data)
    read_questions(Questions(path=wanted.data), 0)
    rows = [row for _, row in iter_records(path)]
    if len(rows) < 2:
        raise DataError(f"{path}: too few questions to hold any out (got {len(rows)}); add some, or name --dev")
    held_out = set(random.Random(0).sample(range(len(rows)), max(1, min(MOST_DEV, round(DEV_SHARE * len(rows))))))
    lines: dict[str, list[str]] = {"train": [], "dev": []}
    for place, row in enumerate(rows):
        # a table has dates, which no layout reads; half a character stays the escape that it was
        line = json.dumps(row, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
        lines["dev" if place in held_out else "train"].append(f"{line}\n")
    files = {wanted.out.with_name(f"{wanted.out.stem}_{name}.jsonl"): "".join(part) for name, part in lines.items()}
    for file, text in files.items():
        if file.exists() and file.read_bytes() != text.encode():
            raise DataError(f"{file}: is there already, with other records; name another recipe by --out, or move it")
    for file, text in files.items():
        write_text(file, text)
    train, dev = map(str, files)
    return train, dev


def _prompt_limit(student: str, questions: Sequence[Question]) -> tuple[int, str]:
    """Give what the longest prompt needs, or what HotpotQA's longest did where the student's tokenizer is not there."""
    try:
        counts = read_counts(Model(name=student))
    except ModelError as error:
        return 3072, f"prompts: not counted ({str(error).partition(';')[0]}); data.max_prompt_tokens is a guess"
    longest = max(counts.prompt(prompts.student_messages(one, metacognitive=True)) for one in questions)
    limit = min(4096, PROMPT_STEP * -(-longest // PROMPT_STEP))
    return limit, f"prompts: the longest has {longest} tokens with eval's system prompt"


def _settings(wanted: Wanted, train: str, dev: str, prompt_tokens: int, questions: int) -> list[Setting]:
    server = TEACHERS[wanted.teacher]
    small = wanted.student == EMBEDDED_STUDENT
    completion = 160 if small else 2048
    group, micro = (6, 6) if small else (8, 8)
    # a third: questions that are always or never right are left out
    a_step = max(1, min(16 if small else 8, questions // 3))
    keys = [] if server.key is None else [("teacher.api_key_env", server.key, "the variable that holds the key")]
    asked = [] if wanted.teacher == "embedded" else [("teacher.model", wanted.teacher_model, "its name there"), *keys]
    demo = [
        ("sft.learning_rate", 1e-3, "a tiny student learns in few steps"),
        ("sft.gradient_checkpointing", False, "it fits without"),
        ("grpo.learning_rate", 1e-4, ""),
        ("grpo.gradient_checkpointing", False, ""),
        ("grpo.steps", 4, ""),
    ]
    return [
        ("model.name", wanted.student, "a hub id, a local folder, or the embedded one"),
        ("data.train", {"path": train}, "what it learns from"),
        ("data.dev", {"path": dev}, "what eval asks; never trained on"),
        ("data.max_prompt_tokens", prompt_tokens, "distractors go until a prompt fits"),
        ("teacher.base_url", server.base_url, "who writes the traces"),
        *asked,
        ("gen.kind", "mbt_r", "the teacher rewrites the student's drafts; mbt_s: from scratch, half the requests"),
        ("gen.max_completion_tokens", completion, "longest draft"),
        ("sft.epochs", 2, ""),
        ("sft.max_sequence_tokens", prompt_tokens + completion + 512, "prompt and trace"),
        ("sft.micro_batch_size", 4 if small else 1, "rows at once"),
        ("sft.gradient_accumulation_steps", 1 if small else 16, "times this is a step"),
        ("grpo.prompts_per_step", a_step, "questions of a step"),
        ("grpo.group_size", group, "tries of each"),
        ("grpo.micro_batch_size", micro, "a group at once: its prompt is computed once"),
        ("grpo.max_completion_tokens", completion, "longest try"),
        ("grpo.reward", {"overlong_buffer_tokens": completion // 4}, "tries this near the limit lose a little"),
        *(demo if small else [("grpo.rollout_batch_size", 32, "tries written at once")]),
        ("eval.max_completion_tokens", completion, ""),
    ]


def _write(path: Path, settings: Sequence[Setting]) -> None:
    lines = [
        "# Written by `mbt-lite init`; `mbt-lite schema` tells every key.",
        f"# yaml-language-server: $schema={path.with_suffix('.schema.json').name}",
    ]
    section = ""
    for key, value, why in sorted(settings, key=lambda one: _ORDER.index(one[0].partition(".")[0])):
        name, _, rest = key.partition(".")
        if name != section:
            lines += ["", f"{name}:"]
            section = name
        line = f"  {rest}: {_shown(value)}"
        lines.append(f"{line:<40} # {why}" if why else line)
    write_text(path, "\n".join(lines) + "\n")


def _shown(value: Any) -> str:
    # JSON is YAML
    return json.dumps(value, ensure_ascii=False)


def _fitted(wanted: Wanted, recipe: Recipe, settings: list[Setting]) -> Iterator[str]:
    """Plan for the card, and write what fits it into the recipe."""
    target = choose_target(wanted.vram_gib)
    try:
        plan = make_plan(recipe, target, Path("runs") / wanted.out.stem)
    except MbtError as error:
        yield f"plan: not made ({str(error).partition(';')[0]})"
        return

    def plan_of(changed: Recipe) -> Plan:
        return plan_with(changed, make_setup(changed, plan.setup.architecture, target), target, plan.workload)

    change = fitting(recipe, plan_of)
    if change is None:
        yield f"plan: no setting of {wanted.student} fits {target.said}; take a smaller student or a larger card"
    elif change:
        kept = [(key, change.pop(key, value), why) for key, value, why in settings]
        added = [(key, value, "so that it fits") for key, value in change.items()]
        _write(wanted.out, [*kept, *added])
        yield f"plan: made to fit {target.said}"
    else:
        yield f"plan: fits {target.said}"
