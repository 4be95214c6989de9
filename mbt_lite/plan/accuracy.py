"""How far a plan is off: `python -m mbt_lite.plan.accuracy` measures twelve settings and prints a table.

On a CPU the student is the embedded one; twelve fresh processes, about ten minutes on two free cores. `PROCESS_BYTES`
and `HEAP_SHARE` of `phases` were fitted to the first two settings; the others are predictions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mbt_lite.plan.measure import measure
from mbt_lite.plan.stages import Lengths, phases_of
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.plan.target import GIB, choose_target, make_setup
from mbt_lite.recipe.schema import Data, Grpo, Lora, Model, Questions, Recipe, Sft

_COMPLETION_TOKENS = 60


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `tokens` are a row's in sft, a prompt's in grpo."""

    stage: str
    rows: int
    tokens: int
    checkpointing: bool = False
    rank: int = 16
    dtype: str = "auto"
    prompts: int = 2


SETTINGS = (
    Setting("sft", 2, 256),
    Setting("sft", 4, 256, checkpointing=True),
    Setting("sft", 4, 192),
    Setting("sft", 8, 192, checkpointing=True),
    Setting("sft", 1, 768),
    Setting("sft", 2, 256, rank=64, dtype="float32"),
    Setting("grpo", 4, 100),
    Setting("grpo", 8, 100),
    Setting("grpo", 8, 150, checkpointing=True),
    Setting("grpo", 4, 300, prompts=1),
    Setting("grpo", 8, 100, checkpointing=True, dtype="float32"),
    Setting("grpo", 2, 200, rank=64, prompts=1),
)


def recipe_of(setting: Setting) -> Recipe:
    """Write the recipe of a setting; its data are never read."""
    questions = Questions(path="none")
    grpo = Grpo(
        prompts_per_step=setting.prompts,
        group_size=4,
        micro_batch_size=setting.rows,
        max_completion_tokens=_COMPLETION_TOKENS,
        gradient_checkpointing=setting.checkpointing,
    )
    sft = Sft(
        micro_batch_size=setting.rows,
        gradient_accumulation_steps=1,
        gradient_checkpointing=setting.checkpointing,
    )
    return Recipe(
        model=Model.model_validate({"name": "embedded:smollm2-135m", "dtype": setting.dtype}),
        data=Data(train=questions, dev=questions),
        lora=Lora(rank=setting.rank),
        sft=sft,
        grpo=grpo,
    )


def compare(setting: Setting) -> tuple[int, int]:
    """Give the planned and the measured peak of a setting, in bytes."""
    recipe, lengths = recipe_of(setting), Lengths(setting.tokens, setting.tokens)
    setup = make_setup(recipe, read_architecture(recipe.model.name), choose_target(None))
    planned = max(one.bytes for one in phases_of(recipe, setup, lengths)[setting.stage])
    return planned, max(measure(setting.stage, recipe, lengths, None).values())


def table() -> Iterator[str]:
    """Measure every setting; give the lines of a Markdown table."""
    yield "| stage | rows x tokens | checkpointing | rank | precision | planned | measured | off |"
    yield "|---|---|---|---|---|---|---|---|"
    for setting in SETTINGS:
        planned, measured = compare(setting)
        tokens = f"({setting.tokens} + {_COMPLETION_TOKENS})" if setting.stage == "grpo" else f"{setting.tokens}"
        off = f"{planned / measured - 1:+.0%}".replace("-", "−")
        cells = (
            setting.stage,
            f"{setting.rows} x {tokens}",
            "yes" if setting.checkpointing else "no",
            str(setting.rank),
            setting.dtype,
            f"{planned / GIB:.2f} GiB",
            f"{measured / GIB:.2f} GiB",
            off,
        )
        yield f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    for line in table():
        print(line, flush=True)
