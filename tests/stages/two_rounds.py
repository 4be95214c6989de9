"""A toy strategy, plan and then answer, through the eval stage in a process of its own that may be killed in it.

The student stands in here, or is served at a URL; here it kills its process with SIGKILL instead of making completion
number `kill_at` (0: never).
"""

import os
import signal
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import pytest
from eval_lab import make_lab

from mbt_lite.generation.decoding import Decoding, Rollout
from mbt_lite.recipe.schema import EvalStudent, StudentModels
from mbt_lite.records import Message, Question
from mbt_lite.strategies.strategy import Call, Outcome, Rounds, Settings, Strategy


def plan_then_answer(question: Question, settings: Settings) -> Rounds:
    """Ask for a plan, then for the answer with the plan."""
    plan_request: tuple[Message, ...] = ({"role": "user", "content": f"Plan: {question.question}"},)
    [[plan]] = yield [Call(plan_request, settings.temperature, 16)]
    told: Message = {"role": "user", "content": f"{settings.messages(question)[-1]['content']}\nplan: {plan.text}"}
    [[answer]] = yield [Call((told,), settings.temperature, settings.max_completion_tokens)]
    return Outcome(answer.text, answer.finish_reason)


def reply(content: str) -> str:
    """Write what the student would."""
    if content.startswith("Plan: "):
        return f"look for {content.split()[-1]}"
    return f"<think>We {content.rpartition('plan: ')[2]}</think><answer>Paris</answer>"


def run(folder: Path, samples: int, where: str, kill_at: int) -> None:
    """Print how many completions were made here."""
    patch = pytest.MonkeyPatch()
    lab = make_lab(folder, patch)
    made: list[str] = []

    def generate(
        student: str, asked: Sequence[list[Message]], decoding: Decoding, wanted: Collection[int]
    ) -> Iterator[Rollout]:
        for index in sorted(wanted):
            for sample in range(decoding.samples):
                made.append(asked[index][-1]["content"])
                if len(made) == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)
                text = f"{reply(made[-1])} {sample} {decoding.seed}" if sample else reply(made[-1])
                yield Rollout(index, sample, text, tuple(range(len(text.split()))), "stop", 9)

    patch.setattr("mbt_lite.generation.local.generate", generate)
    patch.setattr("mbt_lite.stages.eval.strategy_named", lambda name: Strategy(plan_then_answer))
    lab.with_eval(variants=("base",), samples_per_question=samples, temperature=0.5, max_completion_tokens=24)
    if where != "here":
        lab.with_eval(student=EvalStudent(base_url=where, models=StudentModels(base="m"), concurrency=2))
    lab.run()
    print(len(made))
