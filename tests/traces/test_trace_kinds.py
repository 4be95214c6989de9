"""The kinds of traces as a table: who drafts, which requests are sent, which prompt texts shape the row."""

from pathlib import Path
from typing import get_args

import pytest

from mbt_lite.recipe.schema import Gen, TraceKind
from mbt_lite.traces import kinds
from mbt_lite.traces.kinds import kind_named

# with 5 questions, 2 drafts each, 3 traces per draft
TABLE: dict[TraceKind, tuple[str | None, dict[str, int], tuple[str, ...]]] = {
    "mbt_s": (None, {"mbt_s": 15}, ("student", "mbt_s", "monologue")),
    "mbt_r": ("student", {"solution": 5, "mbt_r": 30}, ("student", "solution", "mbt_r", "monologue")),
    "direct_r": (
        "teacher",
        {"draft": 10, "solution": 5, "direct_r": 30},
        ("student", "solution", "mbt_r", "monologue"),
    ),
    "distill_r": ("student", {"solution": 5, "distill_r": 30}, ("student", "solution", "distill_r")),
    "self_distill": ("student", {}, ("student",)),
    "teacher_distill": ("teacher", {"draft": 10}, ("student",)),
    "meta_expert": ("student", {}, ("student", "meta")),
    "confidence": ("student", {}, ("student",)),
    "comt": (None, {"comt": 15}, ("student", "comt")),
}


def test_the_table_holds_every_kind_that_a_recipe_may_name_and_each_is_a_file() -> None:
    files = {file.stem for file in Path(kinds.__file__).parent.glob("[a-z]*.py")}
    assert set(TABLE) == set(get_args(TraceKind)) == files


@pytest.mark.parametrize("kind", TABLE)
def test_kinds_say_who_drafts_what_is_asked_and_by_which_texts(kind: TraceKind) -> None:
    drafter, requests, texts = TABLE[kind]
    made = kind_named(kind)
    assert made.drafter == drafter
    assert made.count_requests(Gen(kind=kind, rollouts_per_question=2, traces_per_draft=3), 5) == requests
    assert made.prompts == texts
