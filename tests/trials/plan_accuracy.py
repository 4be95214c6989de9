"""How far a plan is off: `python tests/trials/plan_accuracy.py` measures twelve settings and prints a table.

On a CPU the student is the embedded one; twelve fresh processes, about ten minutes on two free cores. `PROCESS_BYTES`
and `HEAP_SHARE` of `phases` were fitted to the first two settings; the others are predictions. With the argument
`card`, students of a card are simulated on a CPU instead; with `card whole`, by all of their layers.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator, Sequence

from mbt_lite.plan.measure import measure, simulate
from mbt_lite.plan.stages import Lengths, phases_of
from mbt_lite.plan.student_files import read_architecture
from mbt_lite.plan.target import GIB, Target, choose_target, make_setup
from mbt_lite.recipe.schema import Data, Grpo, Lora, Model, Questions, Recipe, Sft


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """One row of the table; `tokens` are a row's in sft, a prompt's in grpo, which rolls out `prompts` at once."""

    stage: str
    rows: int
    tokens: int
    checkpointing: bool = False
    rank: int = 16
    dtype: str = "auto"
    prompts: int = 2
    group_size: int = 4
    completion_tokens: int = 60
    name: str = "embedded:smollm2-135m"

    @property
    def said(self) -> str:
        """Rows and tokens."""
        if self.stage == "sft":
            return f"{self.rows} x {self.tokens:,}"
        rollouts = f"; rollouts {self.prompts} x {self.group_size}" if self.group_size > 4 else ""
        return f"{self.rows} x ({self.tokens:,} + {self.completion_tokens:,}){rollouts}"


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


def _card_settings() -> Iterator[Setting]:
    for name in ("qwen3-0.6b", "qwen3-1.7b", "qwen3-4b"):
        on_card = dataclasses.replace(
            Setting("sft", 1, 6144, checkpointing=True, rank=32, name=f"random:{name}"), group_size=8
        )
        grpo = dataclasses.replace(on_card, stage="grpo")
        yield on_card
        yield dataclasses.replace(on_card, rows=8, tokens=1455)
        yield dataclasses.replace(grpo, tokens=1455, completion_tokens=1024)
        yield dataclasses.replace(grpo, rows=8, tokens=3072, completion_tokens=2048, prompts=4)


CARD_SETTINGS = tuple(_card_settings())
CARD = Target("cuda", 24 * GIB, "a 24 GiB card")


def recipe_of(setting: Setting) -> Recipe:
    """Write the recipe of a setting; its data are never read."""
    questions = Questions(path="none")
    grpo = Grpo(
        prompts_per_step=setting.prompts,
        group_size=setting.group_size,
        micro_batch_size=setting.rows,
        rollout_batch_size=setting.prompts * setting.group_size,
        max_completion_tokens=setting.completion_tokens,
        gradient_checkpointing=setting.checkpointing,
    )
    sft = Sft(
        micro_batch_size=setting.rows,
        gradient_accumulation_steps=1,
        gradient_checkpointing=setting.checkpointing,
    )
    return Recipe(
        model=Model.model_validate({"name": setting.name, "dtype": setting.dtype, "backend": "transformers"}),
        data=Data(train=questions, dev=questions),
        lora=Lora(rank=setting.rank),
        sft=sft,
        grpo=grpo,
    )


def planned(setting: Setting, target: Target) -> dict[str, int]:
    """Give the planned bytes of each phase."""
    recipe, lengths = recipe_of(setting), Lengths(setting.tokens, setting.tokens)
    setup = make_setup(recipe, read_architecture(recipe.model.name), target)
    return {one.name: one.bytes for one in phases_of(recipe, setup, lengths)[setting.stage]}


def table() -> Iterator[str]:
    """Measure every setting; give the lines of a Markdown table."""
    yield "| stage | rows x tokens | checkpointing | rank | precision | planned | measured | off |"
    yield "|---|---|---|---|---|---|---|---|"
    for setting in SETTINGS:
        lengths = Lengths(setting.tokens, setting.tokens)
        measured = measure(setting.stage, recipe_of(setting), lengths, None)
        first = (setting.stage, setting.said, _yes(setting.checkpointing), str(setting.rank), setting.dtype)
        yield _row(first, max(planned(setting, choose_target(None)).values()), max(measured.values()))


def card_table(*, whole: bool) -> Iterator[str]:
    """Simulate every setting of a card; give the lines of a Markdown table, a phase a line."""
    yield "| student | stage | rows x tokens | checkpointing | phase | planned | simulated | off |"
    yield "|---|---|---|---|---|---|---|---|"
    for setting in CARD_SETTINGS:
        recipe, lengths, plan = recipe_of(setting), Lengths(setting.tokens, setting.tokens), planned(setting, CARD)
        setup = make_setup(recipe, read_architecture(recipe.model.name), CARD)
        for name, size in simulate(setting.stage, recipe, lengths, setup, whole=whole).items():
            short = setting.name.partition(":")[2]
            if name != "optimizer":
                first = (short, setting.stage, setting.said, _yes(setting.checkpointing), name)
                yield _row(first, plan[name], size)


def _yes(holds: bool) -> str:
    return "yes" if holds else "no"


def _row(first: Sequence[str], plan: int, found: int) -> str:
    off = f"{plan / found - 1:+.1%}".replace("-", "−")
    return f"| {' | '.join([*first, f'{plan / GIB:.2f} GiB', f'{found / GIB:.2f} GiB', off])} |"


if __name__ == "__main__":
    for line in card_table(whole="whole" in sys.argv) if "card" in sys.argv else table():
        print(line, flush=True)
