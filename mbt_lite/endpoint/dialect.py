"""How one server speaks the chat-completions schema: what it will not take is learnt from its refusals.

Servers differ in the name of the completion limit, in whether they take `seed` or `top_p`, and in whether they reply at
once or only as a stream. The first refusal that names such a parameter changes the dialect for as long as the endpoint
is open; the request's key stays the same. Whether a server keeps to a JSON schema no refusal tells, for some take one
and ignore it: `PROBE` has a schema that no one would hit upon who does not keep to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, Literal

from mbt_lite.endpoint.replies import TeacherRequest

# The only parameters that a request can do without, and still be the request that was meant.
_OPTIONAL = ("stream_options", "seed", "top_p", "temperature")
_NOT_TAKEN = re.compile(
    r"unsupported|not support|unknown|unrecogni[sz]ed|unexpected|not permitted|not allowed|extra input|forbidden"
    # two parameters that are taken one at a time
    r"|cannot both|not both|only one of|use only one|mutually exclusive"
)
_SCHEMA = re.compile(r"response_format|json_schema|json schema|\bschema\b|grammar|structured output|guided")
# What is said of a request that is too long may name the limit's parameter too.
_TOO_LONG = re.compile(r"too (long|large|many)|context (length|window)|exceed|maximum|at most")
_STREAM_ONLY = re.compile(r"\bstream(ing)?\b.*\b(must|only|required?)\b|\b(must|only|requires?)\b.*\bstream(ing)?\b")

_PROBE_SCHEMA = {
    "type": "object",
    "properties": {"agreed": {"type": "boolean"}},
    "required": ["agreed"],
    "additionalProperties": False,
}
PROBE = TeacherRequest(
    kind="probe",
    label="json schema",
    messages=({"role": "user", "content": "Reply with the one word hello, and with nothing else."},),
    seed=0,
    schema=_PROBE_SCHEMA,
)

Limit = Literal["max_tokens", "max_completion_tokens"]


class Dialect:
    """What one server takes, as far as it has said."""

    def __init__(self) -> None:
        self.limit: Limit = "max_tokens"
        self.dropped: set[str] = set()
        self.streams = False
        # None until it was probed
        self.keeps_schema: bool | None = None
        self.told: set[str] = set()
        # one that never has was never there; one that has may come back
        self.has_answered = False

    def spell(self, body: dict[str, Any], schema: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Give a canonical request body in this server's words, with the schema of the reply if it keeps to one."""
        spelled = {name: value for name, value in body.items() if name not in self.dropped}
        spelled[self.limit] = spelled.pop("max_tokens")
        if schema is not None and self.keeps_schema is not False:
            named = {"name": "reply", "strict": True, "schema": dict(schema)}
            spelled["response_format"] = {"type": "json_schema", "json_schema": named}
        if self.streams:
            spelled["stream"] = True
            if "stream_options" not in self.dropped:
                spelled["stream_options"] = {"include_usage": True}
        return spelled

    def learn(self, sent: dict[str, Any], said: str, named: str | None) -> str | None:
        """Read a refusal (`named` is the parameter it blames); give what changed, None if nothing did."""
        text = said.lower()
        if "response_format" in sent and self.keeps_schema and (named == "response_format" or _SCHEMA.search(text)):
            self.keeps_schema = False
            return "it does not take the JSON schema of a verdict: asked by the prompt alone from now on"
        if not sent.get("stream") and not self.streams and _STREAM_ONLY.search(text):
            self.streams = True
            return "it replies only as a stream: streaming from now on"
        if "max_tokens" in sent and self.limit == "max_tokens" and "max_completion_tokens" in text:
            if _TOO_LONG.search(text):
                return None
            self.limit = "max_completion_tokens"
            return "it takes max_completion_tokens in place of max_tokens"
        for name in _OPTIONAL:
            blamed = name == named or re.search(rf"\b{name}\b", text)
            if name in sent and name not in self.dropped and blamed and _NOT_TAKEN.search(text):
                self.dropped.add(name)
                return f"it does not take {name}: sent without it from now on"
        return None

    def is_news(self, name: str) -> bool:
        """Tell whether something is to be told of this server for the first time."""
        is_new = name not in self.told
        self.told.add(name)
        return is_new


def keeps_to_probe(text: str) -> bool:
    """Tell whether a reply to `PROBE` has the form of its schema and no other.

    >>> [keeps_to_probe(text) for text in ('{"agreed": true}', "hello", '{"hello": true}')]
    [True, False, False]
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and value.keys() == {"agreed"} and isinstance(value["agreed"], bool)
