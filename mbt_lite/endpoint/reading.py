"""From what a server sends to a reply: the text is what counts; the rest is read where it can be, and else unknown.

Servers say the same in many words. A complete reply is never given up for a field beside its text: how it ended is read
from the words of other schemas, tokens from other names, content from a list of parts. Where the server says nothing of
the end, the length tells. What is odd is told once. Sources: replies of OpenAI, Anthropic, Gemini, Mistral, vLLM,
SGLang, TGI, llama.cpp and Ollama, as public bug reports quote them.

Reasoning beside the content is left out, with one exception: a student's completion is a trace and an answer, and a
server that splits them hides the trace. They are put together again; where the trace is kept back, the reply says so.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from mbt_lite.endpoint.budget import estimate_prompt_tokens
from mbt_lite.endpoint.replies import CHARACTERS_PER_TOKEN, Reply, TeacherRequest
from mbt_lite.recipe.endpoint import Speaker
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN

STOPPED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence", "stop_token", "complete", "completed", "finished")
CUT_OFF = ("length", "max_tokens", "max_new_tokens", "max_output_tokens", "max_completion_tokens", "model_length")
_BROKEN_OFF = ("error", "abort", "aborted", "cancelled", "canceled")
# How a student's completion ends that its server cut before the limit it was asked for.
CONTEXT_FULL = "context full"
# Some servers do not count the last token.
_UNCOUNTED_TOKENS = 2
# How a reply ends whose reasoning was made, and is not there.
HIDDEN_REASONING = "hidden reasoning"
_REASONING_FIELDS = ("reasoning_content", "reasoning", "thinking")
# what a part calls its text
_TEXT_FIELDS = ("text", "value", "content")
# A server's count of the prompt below this share of ours, on prompts of so many tokens, means that it was cut.
CUT_SHARE, CUT_FROM_TOKENS = 0.5, 200

# No tokenizer has words of so many characters on average; more was not asked for.
_MOST_CHARACTERS_PER_TOKEN = 32
_CURES = {
    CONTEXT_FULL: "raise the server's context length",
    HIDDEN_REASONING: "serve it so that its reasoning shows",
    "length": "raise {key}.max_completion_tokens, or switch the model's thinking off",
    "stop": "see whether the model thinks where no one reads it, and switch that off",
}

Odd = dict[str, str]


class Useless(NamedTuple):
    """Why a reply is of no use, and what to do about it."""

    cause: str
    cure: str


def why_useless(reply: Reply, speaker: Speaker) -> Useless | None:
    """Say why a reply is of no use, whatever was asked for: without a text, cut by its server, ended in another way."""
    ending = reply.finish_reason
    if ending == "length" and _is_early(reply.completion_tokens, speaker):
        ending = CONTEXT_FULL
    has_ended = ending in ("stop", "length")
    if has_ended and reply.text:
        return None
    cure = _CURES.get(ending, "see why it ends so").format(key=speaker.key)
    return Useless("empty" if has_ended else ending, cure)


class NoReplyError(Exception):
    """A body that is no complete reply; `status` is that of an error which it holds, None where it holds none."""

    def __init__(self, problem: str, status: int | None = None) -> None:
        super().__init__(problem)
        self.status = status


WhyUseless = Callable[[Reply, Speaker], Useless | None]


def of_use(reply: Reply, speaker: Speaker) -> None:
    """Take every reply for useful."""


def read_reply(key: str, request: TeacherRequest, body: str, speaker: Speaker) -> tuple[Reply, Odd]:
    """Read a chat completion, whole or streamed; give it with what is odd about it, a sentence by its name.

    No content (all tokens spent on reasoning) is an empty text, for the caller to reject with a reason. Raises
    NoReplyError for what is no completion, for one that broke off, and for text that is not Unicode.
    """
    completion = _read_completion(body)
    choice, odd = _choice(completion), Odd()
    text, reasoning = _split(choice["message"])
    _refuse_huge(len(text) + len(reasoning), speaker)
    usage = completion.get("usage")
    usage = usage if isinstance(usage, Mapping) else {}
    prompt_tokens, completion_tokens = _count_tokens(usage, text or reasoning)
    ending = _ending(choice.get("finish_reason"), completion_tokens, text or reasoning, speaker, odd)
    if ending == "length":
        ending = _early_end(completion_tokens, request, speaker, odd)
    if request.is_completion:
        text, ending = _with_reasoning(text, reasoning, ending, usage, odd)
    signed = completion.get("model")
    model = signed if isinstance(signed, str) and signed else None
    _note_model(model, speaker, odd)
    _note_cut(prompt_tokens, request, odd)
    _refuse_surrogates(text, ending, model or "")
    counted = prompt_tokens is not None and completion_tokens is not None
    return (
        Reply(
            key=key,
            kind=request.kind,
            label=request.label,
            text=text.strip(),
            finish_reason=ending,
            model=model,
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            estimated_prompt_tokens=None if counted else estimate_prompt_tokens(request.messages),
            endpoint=speaker.key,
        ),
        odd,
    )


def _read_completion(body: str) -> Mapping[str, Any]:
    """Parse a body, whole or a stream of server-sent events; NoReplyError for the error that it holds instead."""
    body = body.lstrip("\ufeff")
    try:
        is_stream = body.lstrip().startswith(("data:", "event:", ":"))
        completion = _assemble(body) if is_stream else json.loads(body)
    except (ValueError, RecursionError, TypeError, AttributeError):
        completion = None
    if not isinstance(completion, Mapping):
        raise NoReplyError(f"reply is not a chat completion (got {body.strip()[:80]!r})")
    if completion.get("error"):
        raise _error(completion["error"])
    return completion


def _error(said: object) -> NoReplyError:
    """Take status and message from the error that a body holds in place of a reply."""
    code = said.get("code") if isinstance(said, Mapping) else None
    message = said.get("message") if isinstance(said, Mapping) else said
    status = code if type(code) is int and 400 <= code < 600 else None
    return NoReplyError(f"an error in place of a reply ({' '.join(str(message).split())[:200]})", status)


def _assemble(stream: str) -> dict[str, Any]:
    """Put a stream together to one completion; NoReplyError if it broke off."""
    whole: dict[str, Any] = {}
    texts: list[str] = []
    thoughts: list[str] = []
    finish_reason, is_done = None, False
    # not splitlines: other separators may stand in a text
    for line in re.split("\r\n|\r|\n", stream):
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        is_done = is_done or data == "[DONE]"
        if data in ("", "[DONE]"):
            continue
        chunk = json.loads(data)
        if chunk.get("error"):
            return {"error": chunk["error"]}
        whole |= {name: chunk[name] for name in ("model", "usage") if chunk.get(name)}
        for choice in chunk.get("choices") or ():
            text, reasoning = _split(choice.get("delta") or {})
            texts.append(text)
            thoughts.append(reasoning)
            finish_reason = choice.get("finish_reason") or finish_reason
    if finish_reason is None and not is_done:
        raise NoReplyError("the stream broke off")
    message = {"content": "".join(texts), "reasoning_content": "".join(thoughts)}
    return {**whole, "choices": [{"message": message, "finish_reason": finish_reason}]}


def _choice(completion: Mapping[str, Any]) -> Mapping[str, Any]:
    choices = completion.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices else None
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(message, Mapping):
        raise NoReplyError(f"reply is not a chat completion (got {json.dumps(completion)[:80]!r})")
    return choice  # type: ignore[return-value]


def _split(message: Mapping[str, Any]) -> tuple[str, str]:
    """Give content and reasoning of a message; content may be text, a list of parts, or nothing.

    >>> _split({"content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Rome"}]})
    ('Rome', 'Hm.')
    """
    content = message.get("content")
    if not isinstance(content, str | list | None):
        raise NoReplyError(f"content is neither text nor parts (got {type(content).__name__})")
    parts = content if isinstance(content, list) else []
    beside = (_text_of(message.get(name), _TEXT_FIELDS) for name in (*_REASONING_FIELDS, "reasoning_details"))
    within = (_text_of(part, _REASONING_FIELDS) for part in parts if isinstance(part, Mapping))
    return _text_of(content, ("text",)), next(filter(None, beside), "") or "".join(within)


def _text_of(held: object, names: tuple[str, ...]) -> str:
    """Give a text, that of a list of parts, or that of a part under the first of these names; "" for anything else."""
    if isinstance(held, list):
        return "".join(_text_of(part, names) for part in held)
    if isinstance(held, Mapping):
        return _text_of(next((held[name] for name in names if name in held), ""), _TEXT_FIELDS)
    return held if isinstance(held, str) else ""


def _count_tokens(usage: Mapping[str, Any], text: str) -> tuple[int | None, int | None]:
    """Give prompt and completion tokens; what is missing, negative, no whole number or an impossible 0 is unknown.

    >>> _count_tokens({"input_tokens": 12.0, "total_tokens": 15}, "Rome")
    (12, 3)
    """
    prompt = _first_count(usage, "prompt_tokens", "input_tokens") or None
    completion = _first_count(usage, "completion_tokens", "output_tokens")
    total = _first_count(usage, "total_tokens")
    if completion is None and prompt is not None and total is not None and total > prompt:
        completion = total - prompt
    return prompt, None if text and completion == 0 else completion


def _first_count(usage: Mapping[str, Any], *names: str) -> int | None:
    for name in names:
        value = usage.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0 and value == value // 1:
            return int(value)
    return None


def _ending(said: object, completion_tokens: int | None, text: str, speaker: Speaker, odd: Odd) -> str:
    """Give "stop" or "length" in our words, or any other end in the server's."""
    word = said.strip().lower() if isinstance(said, str) else ""
    if word in _BROKEN_OFF:
        raise NoReplyError(f"the server broke the reply off (finish_reason {word})")
    if word in STOPPED:
        return "stop"
    if word in CUT_OFF:
        return "length"
    if word:
        return word
    if not text:
        raise NoReplyError("a reply without text and without an end")
    odd["ending"] = "it does not say how replies end: one below max_completion_tokens counts as ended by itself"
    tokens = completion_tokens if completion_tokens is not None else math.ceil(len(text) / CHARACTERS_PER_TOKEN)
    return "length" if tokens >= speaker.max_completion_tokens else "stop"


def _early_end(completion_tokens: int | None, request: TeacherRequest, speaker: Speaker, odd: Odd) -> str:
    """Note a reply that the server cut before `max_completion_tokens`; a student is not to blame for that."""
    if not _is_early(completion_tokens, speaker):
        return "length"
    odd["full"] = (
        f"it cut a reply after {completion_tokens} of {speaker.max_completion_tokens} tokens: its context is full, or "
        "a limit of its own; raise it"
    )
    return CONTEXT_FULL if request.is_completion else "length"


def _is_early(completion_tokens: int | None, speaker: Speaker) -> bool:
    return completion_tokens is not None and completion_tokens < speaker.max_completion_tokens - _UNCOUNTED_TOKENS


def _with_reasoning(text: str, reasoning: str, ending: str, usage: Mapping[str, Any], odd: Odd) -> tuple[str, str]:
    """Put a completion together whose trace the server split off; give its text and its ending."""
    has_trace = THINK_OPEN in text or THINK_CLOSE in text
    details = usage.get("completion_tokens_details")
    hidden = _first_count(details, "reasoning_tokens") if isinstance(details, Mapping) else None
    if not reasoning:
        if hidden and not has_trace:
            odd["hidden"] = "it keeps the reasoning to itself: such completions are left out; serve it so that it shows"
            return text, HIDDEN_REASONING
        return text, ending
    # some servers send the trace in both places
    if has_trace and reasoning.strip() in text:
        return text, ending
    odd["reasoning"] = "it sends the reasoning beside the content: they are put together again"
    if THINK_OPEN in reasoning or THINK_CLOSE in reasoning:
        return reasoning + text, ending
    # nothing after the reasoning: it was never closed
    closed = f"\n{THINK_CLOSE}\n\n{text.strip()}" if text.strip() else ""
    return f"{THINK_OPEN}\n{reasoning.strip()}{closed}", ending


def is_other_model(signed: str | None, speaker: Speaker) -> bool:
    """Tell whether a signature is not the name asked for, dates and folders aside."""
    asked, given = (name.lower().rpartition("/")[2] for name in (speaker.model, signed or speaker.model))
    return asked not in given and given not in asked


def is_cut_prompt(prompt_tokens: int | None, request: TeacherRequest) -> bool:
    """Tell whether a server counted so few tokens in a prompt that it may have cut it."""
    ours = estimate_prompt_tokens(request.messages)
    return prompt_tokens is not None and ours >= CUT_FROM_TOKENS and prompt_tokens < CUT_SHARE * ours


def _note_model(signed: str | None, speaker: Speaker, odd: Odd) -> None:
    if is_other_model(signed, speaker):
        odd["model"] = f"it answers as {signed!r}, not as {speaker.model!r} that {speaker.key} asks for"


def _note_cut(prompt_tokens: int | None, request: TeacherRequest, odd: Odd) -> None:
    if is_cut_prompt(prompt_tokens, request):
        ours = estimate_prompt_tokens(request.messages)
        odd["cut"] = (
            f"it counted {prompt_tokens} tokens in a prompt of about {ours}: if it cut it, raise its context length"
        )


def _refuse_huge(n_characters: int, speaker: Speaker) -> None:
    most = _MOST_CHARACTERS_PER_TOKEN * speaker.max_completion_tokens
    if n_characters > most:
        raise NoReplyError(
            f"reply is longer than {speaker.max_completion_tokens} tokens can be (got {n_characters} characters)"
        )


def _refuse_surrogates(*texts: str) -> None:
    try:
        "".join(texts).encode()
    except UnicodeEncodeError as error:
        raise NoReplyError("reply is not Unicode text (half a character)") from error
