"""How one server speaks the chat-completions schema: what it will not take is learnt from its refusals.

Servers differ in the name of the completion limit, in whether they take `seed` or `top_p`, and in whether they reply at
once or only as a stream. The first refusal that names such a parameter changes the dialect for the rest of the session;
the request's key stays the same. Only the message's `content` is read: reasoning beside it never enters.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from mbt_lite.endpoint.replies import Reply, TeacherRequest

# The only parameters that a request can do without, and still be the request that was meant.
OPTIONAL = ("stream_options", "seed", "top_p", "temperature")
_NOT_TAKEN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|extra input|forbidden"
)
# What is said of a request that is too long may name the limit's parameter too.
_TOO_LONG = re.compile(r"too (long|large|many)|context (length|window)|exceed|maximum|at most")
_STREAM_ONLY = re.compile(r"\bstream(ing)?\b.*\b(must|only|required?)\b|\b(must|only|requires?)\b.*\bstream(ing)?\b")

Limit = Literal["max_tokens", "max_completion_tokens"]


class Dialect:
    """What one server takes, as far as it has said."""

    def __init__(self) -> None:
        self.limit: Limit = "max_tokens"
        self.dropped: set[str] = set()
        self.streams = False

    def spell(self, body: dict[str, Any]) -> dict[str, Any]:
        """Give a canonical request body in this server's words."""
        spelled = {name: value for name, value in body.items() if name not in self.dropped}
        spelled[self.limit] = spelled.pop("max_tokens")
        if self.streams:
            spelled["stream"] = True
            if "stream_options" not in self.dropped:
                spelled["stream_options"] = {"include_usage": True}
        return spelled

    def learn(self, sent: dict[str, Any], said: str, named: str | None) -> str | None:
        """Read a refusal (`named` is the parameter it blames); give what changed, None if nothing did."""
        text = said.lower()
        if not sent.get("stream") and not self.streams and _STREAM_ONLY.search(text):
            self.streams = True
            return "it replies only as a stream: streaming from now on"
        if "max_tokens" in sent and self.limit == "max_tokens" and "max_completion_tokens" in text:
            if _TOO_LONG.search(text):
                return None
            self.limit = "max_completion_tokens"
            return "it takes max_completion_tokens in place of max_tokens"
        for name in OPTIONAL:
            blamed = name == named or re.search(rf"\b{name}\b", text)
            if name in sent and name not in self.dropped and blamed and _NOT_TAKEN.search(text):
                self.dropped.add(name)
                return f"it does not take {name}: sent without it from now on"
        return None


def read_reply(key: str, request: TeacherRequest, body: str) -> Reply | None:
    """Read a chat completion, whole or streamed; None if it is none.

    A `content` of null (all tokens spent on reasoning) is an empty text, for the caller to reject with a reason.
    """
    try:
        completion = _assemble(body) if body.lstrip().startswith(("data:", "event:", ":")) else json.loads(body)
        choice = completion["choices"][0]
        text, finish_reason, model = choice["message"]["content"], choice["finish_reason"], completion["model"]
        usage = completion.get("usage")
        prompt_tokens, completion_tokens = (
            (usage["prompt_tokens"], usage["completion_tokens"]) if usage else (None, None)
        )
        well_formed = isinstance(text, str | None) and isinstance(finish_reason, str) and isinstance(model, str)
        well_formed = well_formed and all(isinstance(n, int | None) for n in (prompt_tokens, completion_tokens))
    except (json.JSONDecodeError, KeyError, IndexError, TypeError, AttributeError):
        well_formed = False
    if not well_formed:
        return None
    return Reply(
        key, request.kind, request.label, (text or "").strip(), finish_reason, model, prompt_tokens, completion_tokens
    )


def _assemble(stream: str) -> dict[str, Any]:
    """Put a stream of server-sent events together to one completion; raises KeyError if it broke off or failed."""
    texts: list[str] = []
    whole: dict[str, Any] = {"usage": None}
    for line in stream.split("\n"):
        data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
        if data in ("", "[DONE]"):
            continue
        chunk = json.loads(data)
        whole["model"] = chunk["model"]
        whole["usage"] = chunk.get("usage") or whole["usage"]
        for choice in chunk["choices"]:
            texts.append(choice["delta"].get("content") or "")
            whole["finish_reason"] = choice.get("finish_reason") or whole.get("finish_reason")
    choice = {"message": {"content": "".join(texts)}, "finish_reason": whole["finish_reason"]}
    return {"model": whole["model"], "usage": whole["usage"], "choices": [choice]}
