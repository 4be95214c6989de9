"""The student in this process: how it counts tokens, and who completes prompts. `gen` and `eval` hand over to this."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from mbt_lite.generation.answer_probability import answer_probability
from mbt_lite.generation.decoding import Rollout
from mbt_lite.generation.generate import generate
from mbt_lite.generation.local_rounds import Generate, Note
from mbt_lite.generation.vllm_engine import VllmEngine
from mbt_lite.recipe import schema
from mbt_lite.records import AnswerProbability, Question, StepConfidences
from mbt_lite.rewards.spans import score_spans, token_confidence
from mbt_lite.rewards.vocabulary import decode_without_specials
from mbt_lite.strategies.rounds import Key
from mbt_lite.student.chat_template import count_prompt_tokens, prefills_think, template_hash
from mbt_lite.student.control_tokens import control_finder
from mbt_lite.student.loading import load_student, load_tokenizer
from mbt_lite.student.token_counts import TokenCounts


def read_counts(model: schema.Model) -> TokenCounts:
    """Load the student's tokenizer."""
    tokenizer = load_tokenizer(model)
    return TokenCounts(
        prompt=functools.partial(count_prompt_tokens, tokenizer),
        text=lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]),
        prefills_think=prefills_think(tokenizer),
        chat_template=template_hash(tokenizer),
        controls=control_finder(tokenizer),
    )


def notes(model: schema.Model, questions: Iterable[Question], *, prefills_think: bool) -> dict[str, Note]:
    """Give, by reading of `eval.confidence`, what tells from a rollout how sure the student was."""
    tokenizer, asked = load_tokenizer(model), {one.question_id: one for one in questions}
    decode = functools.partial(decode_without_specials, tokenizer)

    def probability(key: Key, rollout: Rollout) -> AnswerProbability:
        return AnswerProbability(*key, answer_probability(rollout, tokenizer, prefilled_think=prefills_think))

    def steps(key: Key, rollout: Rollout) -> StepConfidences:
        ids, log_probs = rollout.token_ids, rollout.log_probs
        assert log_probs is not None, "log-probabilities were not asked for"
        scored = score_spans(
            rollout.text,
            asked[key[0]],
            lambda span: token_confidence(span, ids, log_probs, decode),
            prefilled_think=prefills_think,
        )
        return StepConfidences(*key, tuple(sure for sure, _ in scored), tuple(right for _, right in scored))

    return {"answer_probability": probability, "steps": steps}


def open_student(
    model: schema.Model,
    adapter: Path | None = None,
    engine: Literal["local", "vllm"] = "local",
    max_sequence_tokens: int = 0,
) -> Generate:
    """Load the student; vLLM is told how long prompt and completion may be together.

    Raises ModelError where it cannot be loaded, or the adapter is another student's.
    """
    if engine == "vllm":
        return VllmEngine(model, adapter, max_sequence_tokens).generate
    return functools.partial(generate, load_student(model, adapter))
