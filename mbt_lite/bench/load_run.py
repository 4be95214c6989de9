"""One load of a student in a process of its own: `python -m mbt_lite.bench.load_run JSON`.

JSON has `model` (as `model.name`) and `began`, the time (seconds since 1970) at which the process was started. The last
line is JSON: seconds from then until the libraries are imported, the student is loaded in 4 bits and its first token is
there; peak memory in GiB; backend; threads.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

GIB = 2**30


def run(name: str, began: float) -> dict[str, Any]:
    """Import, load, generate one token."""
    from mbt_lite.recipe.schema import Model
    from mbt_lite.student.backend import import_backend
    from mbt_lite.student.loading import load_student

    model = Model(name=name)
    import_backend(model.backend)
    import bitsandbytes
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mbt_lite.data.synthetic import FILES, generate_questions
    from mbt_lite.generation.decoding import Decoding
    from mbt_lite.generation.generate import generate
    from mbt_lite.memory import peak_bytes, resident_bytes
    from mbt_lite.prompts import student_messages

    # transformers imports these when they are asked for
    assert all((AutoModelForCausalLM, AutoTokenizer, bitsandbytes, peft))
    imported = time.time() - began
    student = load_student(model)
    loaded = seconds_since(began)
    prompt = student_messages(generate_questions(FILES[0])[0])
    [rollout] = generate(student, [prompt], Decoding(max_completion_tokens=1))
    assert len(rollout.token_ids) == 1, rollout
    on_cuda = torch.cuda.is_available()
    return {
        "imported": imported,
        "loaded": loaded,
        "first_token": seconds_since(began),
        "resident_gib": resident_bytes("VmHWM") / GIB,
        "gpu_gib": peak_bytes() / GIB if on_cuda else None,
        "backend": student.backend,
        "threads": torch.get_num_threads(),
    }


def seconds_since(began: float) -> float:
    """Give the seconds until everything asked of the device is done."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.time() - began


if __name__ == "__main__":
    asked = json.loads(sys.argv[1])
    print(json.dumps(run(asked["model"], asked["began"])))
