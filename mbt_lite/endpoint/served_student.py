"""The student behind an endpoint (vLLM, Ollama, llama.cpp): its drafts in gen, its answers in eval.

How it is asked (concurrency, retries, budget) is the teacher's affair; how it samples is its own. Tokens are counted by
the student's tokenizer, as for completions made here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.recipe.schema import Teacher
from mbt_lite.records import Completion, FinishReason, Message

ENDINGS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}

Key = tuple[str, int]


def served_student(
    teacher: Teacher,
    *,
    base_url: str,
    model: str,
    api_key_env: str | None,
    temperature: float,
    top_p: float,
    max_completion_tokens: int,
) -> Teacher:
    """Describe an endpoint that serves the student."""
    return teacher.model_copy(
        update={
            "base_url": base_url,
            "model": model,
            "api_key_env": api_key_env,
            "temperature": temperature,
            "top_p": top_p,
            "max_completion_tokens": max_completion_tokens,
        }
    )


def completion_requests(
    kind: str, asked: Mapping[str, Sequence[Message]], samples: int, seed: int
) -> dict[Key, TeacherRequest]:
    """Give the requests for `samples` completions of each question (id -> messages), by (id, rollout index)."""
    return {
        (question_id, index): TeacherRequest(kind, f"{question_id}:{index}", tuple(messages), seed + index)
        for question_id, messages in asked.items()
        for index in range(samples)
    }


def read_completions(
    requests: Mapping[Key, TeacherRequest],
    replies: Mapping[str, Reply],
    count_prompt: Callable[[Sequence[Message]], int],
    count_text: Callable[[str], int],
) -> tuple[dict[Key, Completion], dict[Key, str]]:
    """Give the completions by key, and how those replies ended that are none (refused, filtered, ...)."""
    completions: dict[Key, Completion] = {}
    unended: dict[Key, str] = {}
    for key, request in sorted(requests.items()):
        reply = replies[request.label]
        if reply.finish_reason not in ENDINGS:
            unended[key] = reply.finish_reason
            continue
        completions[key] = Completion(
            question_id=key[0],
            rollout_index=key[1],
            text=reply.text,
            finish_reason=ENDINGS[reply.finish_reason],
            prompt_tokens=count_prompt(request.messages),
            # the end of the turn is a token too, as in completions made here
            completion_tokens=count_text(reply.text) + (reply.finish_reason == "stop"),
        )
    return completions, unended
