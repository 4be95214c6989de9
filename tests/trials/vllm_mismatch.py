"""How far vLLM's probabilities are from the student's, on its own completions. A trial, run by `vllm_cpu.sh mismatch`.

    python tests/trials/vllm_mismatch.py ask FILE        the kit's environment: prompts and the student's folder
    python tests/trials/vllm_mismatch.py write FILE      vLLM's environment: four completions of each prompt
    python tests/trials/vllm_mismatch.py compare FILE    the kit's again: the same tokens, by the same weights

vLLM's outputs are read by the code that reads rollouts. FILE passes between the environments.
"""

import json
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from mbt_lite.training.grpo_rollouts import group_of

TEMPERATURE, GROUP, LONGEST = 0.9, 4, 96


def ask() -> dict[str, Any]:
    """Give the prompts of the demo's first dev questions."""
    from mbt_lite.data.questions import read_questions
    from mbt_lite.prompts import student_messages
    from mbt_lite.recipe.load import load_recipe
    from mbt_lite.student.chat_template import prompt_ids
    from mbt_lite.student.embedded import embedded_folder
    from mbt_lite.student.loading import load_student

    recipe = load_recipe(Path("recipes/demo.yaml"))
    student = load_student(recipe.model)
    questions = read_questions(recipe.data.dev, recipe.data.seed)[:8]
    return {
        "folder": str(embedded_folder(recipe.model.name)),
        "stop": sorted(student.stop_ids),
        "prompts": [list(prompt_ids(student.tokenizer, student_messages(question))) for question in questions],
    }


def write(told: dict[str, Any]) -> dict[str, Any]:
    """Have vLLM complete the prompts on 16-bit weights; tokens and log-probabilities of each group."""
    from vllm import LLM, SamplingParams

    engine = LLM(
        model=told["folder"], dtype="bfloat16", max_model_len=1024, enforce_eager=True, max_logprobs=0,
        logprobs_mode="processed_logprobs", generation_config="vllm",
    )  # fmt: skip
    settings = [
        SamplingParams(n=GROUP, temperature=TEMPERATURE, max_tokens=LONGEST, stop_token_ids=told["stop"], logprobs=0,
                       seed=place * GROUP)
        for place in range(len(told["prompts"]))
    ]  # fmt: skip
    outputs = engine.generate([{"prompt_token_ids": ids} for ids in told["prompts"]], settings)
    return told | {"groups": [group_of(output, GROUP, frozenset(told["stop"])) for output in outputs]}


def compare(told: dict[str, Any]) -> None:
    """Say the mismatch against plain transformers in 16 and 32 bits, and against the 4-bit student."""
    import torch
    from transformers import AutoModelForCausalLM

    from mbt_lite.recipe.load import load_recipe
    from mbt_lite.student.loading import load_student
    from mbt_lite.training.mismatch import mismatch

    rows = [(prompt, ids) for prompt, group in zip(told["prompts"], told["groups"], strict=True) for ids, _ in group]
    sampled = [torch.tensor(log_probs) for group in told["groups"] for _, log_probs in group]

    def trained(model: Any) -> list[torch.Tensor]:
        with torch.no_grad():
            logits = [
                model(torch.tensor([prompt + ids])).logits[0, len(prompt) - 1 : -1].float() for prompt, ids in rows
            ]
        of_all = [(row / TEMPERATURE).log_softmax(-1) for row in logits]
        return [row.gather(1, torch.tensor(ids)[:, None])[:, 0] for row, (_, ids) in zip(of_all, rows, strict=True)]

    models = {
        str(dtype).removeprefix("torch."): AutoModelForCausalLM.from_pretrained(told["folder"], dtype=dtype)
        for dtype in (torch.bfloat16, torch.float32)
    }
    models["4-bit student"] = load_student(load_recipe(Path("recipes/demo.yaml")).model).model
    for name, model in models.items():
        figures = ", ".join(f"{key} {value:.4f}" for key, value in mismatch(sampled, trained(model)).items())
        print(f"vLLM in bfloat16 against {name}: {figures}; {sum(map(len, sampled))} tokens")


if __name__ == "__main__":
    what, file = sys.argv[1], Path(sys.argv[2])
    if what == "compare":
        compare(json.loads(file.read_text()))
    else:
        file.write_text(json.dumps(ask() if what == "ask" else write(json.loads(file.read_text()))))
