"""The student behind an endpoint (vLLM, Ollama, llama.cpp): its drafts in gen, its answers in eval.

Where it is asked and at what cost its section of the recipe says; how it samples its stage says, as for completions
made here. Tokens are counted by the student's tokenizer in both cases. The tag that opens the trace may be the chat
template's or the student's own, and servers show it or not: it is put where completions made here have it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from mbt_lite.endpoint.replies import Reply, TeacherRequest
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.checks import served_as
from mbt_lite.recipe.endpoint import Endpoint, Speaker
from mbt_lite.recipe.schema import Eval, Gen, Variant
from mbt_lite.records import Completion, FinishReason, Message
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN

ENDINGS: dict[str, FinishReason] = {"stop": "stop", "length": "length"}

# Where a completion belongs: question id and rollout index, and what else keeps completions of one apart.
Key = TypeVar("Key", bound=tuple[Any, ...])


class ServedStudent(Speaker):
    """A student at its endpoint, sampling as its stage says; no section of a recipe, but made of one."""

    section: str
    named_by: str

    @property
    def key(self) -> str:
        """The path of its section."""
        return self.section

    @property
    def model_key(self) -> str:
        """The path of the key that names the model."""
        return f"{self.section}.{self.named_by}"


def drafting_student(gen: Gen) -> ServedStudent:
    """Describe the endpoint that serves the student for its drafts."""
    sampling = (gen.sampling.temperature, gen.sampling.top_p, gen.max_completion_tokens)
    return _served(gen.student, gen.student.model, "model", *sampling)


def answering_student(settings: Eval, variant: Variant) -> ServedStudent:
    """Describe the endpoint that serves a variant of the student."""
    sampling = (settings.temperature, settings.top_p, settings.max_completion_tokens)
    name = served_as(variant)
    return _served(settings.student, getattr(settings.student.models, name), f"models.{name}", *sampling)


def _served(
    student: Endpoint, model: str | None, named_by: str, temperature: float, top_p: float, max_completion_tokens: int
) -> ServedStudent:
    assert model is not None, f"{student.key}.{named_by}: the recipe's checks let no student pass without its name"
    return ServedStudent(
        **{name: getattr(student, name) for name in Endpoint.model_fields},
        section=student.key,
        named_by=named_by,
        model=model,
        temperature=temperature,
        top_p=top_p,
        max_completion_tokens=max_completion_tokens,
    )


def read_completions(
    requests: Mapping[Key, TeacherRequest],
    replies: Mapping[str, Reply],
    count_prompt: Callable[[Sequence[Message]], int],
    count_text: Callable[[str], int],
    *,
    prefilled_think: bool = False,
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
            text=with_think_tag(reply.text, prefilled_think=prefilled_think),
            finish_reason=ENDINGS[reply.finish_reason],
            prompt_tokens=count_prompt(request.messages),
            # the end of the turn is a token too, as in completions made here
            completion_tokens=count_text(reply.text) + (reply.finish_reason == "stop"),
        )
    return completions, unended


def refuse_one_model_for_two(student: Speaker, replies: Iterable[Reply], signed: dict[str, str]) -> None:
    """Raise TeacherError if a server answers as one model to two names; `signed` maps its names to those asked for."""
    for reply in replies:
        before = signed.setdefault(reply.model, student.model) if reply.model is not None else student.model
        if before != student.model:
            raise TeacherError(
                f"{student.key}: {before} and {student.model} are answered by one model (it signs {reply.model!r}); "
                "serve each under its own name, then run `mbt-lite eval` with --overwrite"
            )


def with_think_tag(text: str, *, prefilled_think: bool) -> str:
    """Put the opening tag of the trace where completions made here have it: in the text, or in the prompt before it.

    >>> with_think_tag("2 + 2</think>4", prefilled_think=False)
    '<think>2 + 2</think>4'
    >>> with_think_tag("<think>2 + 2</think>4", prefilled_think=True)
    '2 + 2</think>4'
    """
    if prefilled_think:
        return text.removeprefix(THINK_OPEN)
    return THINK_OPEN + text if THINK_CLOSE in text and THINK_OPEN not in text else text
