"""The kinds of traces, one file each: who drafts, what the teacher is asked, which gate and row rule hold.

Source: the data construction and the controls of arXiv 2602.22508.

| kind | drafts by | teacher requests | training row |
|---|---|---|---|
| mbt_s | nobody | a monologue per trace | five phases, gold |
| mbt_r | student | a guide per question, a rewriting per trace | five phases, gold |
| direct_r | teacher | a draft each, a guide per question, a rewriting per trace | five phases, gold |
| distill_r | student | a guide per question, a rewriting per trace | plain reasoning, gold |
| self_distill | student | none | the draft's own trace and answer |
| teacher_distill | teacher | a draft each | the draft's own trace and answer |
| meta_expert | student, of the answer and of forecasts | none | the best forecast, with the numbers that came true |
| comt | nobody | a plan per trace | the plan, left open; for some the plan carried out, gold |
| confidence | student | none | the most frequent answer's first draft; how often such are right, which alone trains |

1. Distill-R is ours: the paper names the control, not its prompt. It is MBT-R with one text exchanged.
2. meta_expert is of arXiv 2510.03259 (see `traces/meta_rows.py`), comt of arXiv 2601.21909 (see `traces/comt.py`).
3. confidence is of arXiv 2510.05126 (see `traces/confidence.py`).
4. Direct-R uses the text of MBT-R to the letter, so that only the drafts differ.

To add a kind: its file here, its word in `recipe.schema.TraceKind`, the texts it asks with in `prompts/`.
"""

from __future__ import annotations

import importlib

from mbt_lite.traces.kind import Kind


def kind_named(name: str) -> Kind:
    """Give the kind of traces that a recipe names: `KIND` of the file of that name."""
    kind: Kind = importlib.import_module(f"{__name__}.{name}").KIND
    assert kind.name == name, (kind.name, name)
    return kind
