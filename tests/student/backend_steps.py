"""Run as a script by test_unsloth: rows and first steps of one backend, for each kind of adapter.

Arguments: recipe, traces.jsonl, backend, folder to write to, folder of the adapters to continue. Each variant is
trained twice: from a fresh adapter, and from the earlier one, so that two backends can begin with equal weights.
"""

import json
import sys
from pathlib import Path

from mbt_lite.console import Screen
from mbt_lite.recipe import load_recipe
from mbt_lite.stages import sft
from mbt_lite.student.backend import import_backend


def main(recipe_file: str, traces_file: str, backend: str, out: str, earlier: str) -> None:
    folder = Path(out)
    traces = sft.read_traces(Path(traces_file))
    for variant in ("lora", "rslora", "dora"):
        settings = [f"model.backend={backend}", f"lora.variant={variant}"]
        continued = f"lora.continue_from={earlier}/{variant}/fresh/adapter"
        for name, extra in (("fresh", []), ("continued", [continued])):
            recipe = load_recipe(Path(recipe_file), settings + extra)
            stage = folder / variant / name
            stage.mkdir(parents=True)
            import_backend(recipe.model.backend)
            from mbt_lite.training.sft import train

            train(recipe, traces, stage, Screen(quiet=True))
    from mbt_lite.student.loading import load_student
    from mbt_lite.training.rows import encode_traces

    student = load_student(recipe.model)
    assert student.backend == backend
    rows = encode_traces(traces, student.tokenizer, recipe.sft.max_sequence_tokens).rows
    (folder / "rows.json").write_text(json.dumps([[row.input_ids, row.completion_mask] for row in rows]))


main(*sys.argv[1:])
