"""One reply as it is written: what `chat` shows of a served model. Stages ask through `client`, which keeps replies."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import openai

from mbt_lite.endpoint.client import LOOPBACK
from mbt_lite.errors import TeacherError
from mbt_lite.recipe.endpoint import fits_header, holds_secret
from mbt_lite.records import Message
from mbt_lite.text.completion import THINK_CLOSE, THINK_OPEN


class StreamingEndpoint:
    """A served model; `model` is the first that the server lists, if none is named."""

    def __init__(self, base_url: str, model: str | None = None, key: str | None = None) -> None:
        url = urlsplit(base_url)
        if holds_secret(base_url):
            raise TeacherError("--base-url: holds more than an address (one of @ ? #, or a key); leave it out")
        if url.scheme not in ("http", "https") or url.hostname is None:
            raise TeacherError(f"--base-url: not a URL (got {base_url}); give one such as http://localhost:8080/v1")
        if key is not None and not fits_header(key):
            raise TeacherError(
                f"{base_url}: the key cannot stand in a header; set it without line breaks, outer spaces and accents"
            )
        http = openai.DefaultHttpxClient(trust_env=url.hostname not in LOOPBACK)
        self._client = openai.OpenAI(base_url=base_url, api_key=key or "none", max_retries=0, http_client=http)
        self.url = base_url
        self.model = model or self._first_model()

    def _first_model(self) -> str:
        try:
            listed = [model.id for model in self._client.models.list()]
        except openai.OpenAIError as error:
            raise self._refused(error) from error
        if not listed:
            raise TeacherError(f"{self.url}: it serves no model (got an empty list); load one there")
        return listed[0]

    def stream(
        self, messages: Sequence[Message], *, temperature: float, top_p: float, max_completion_tokens: int, seed: int
    ) -> Iterator[str]:
        """Give the pieces of one reply; TeacherError if the server refuses or breaks off."""
        asked: Any = list(messages)
        try:
            with self._client.chat.completions.create(
                model=self.model,
                messages=asked,
                temperature=temperature,
                top_p=top_p,
                max_tokens=max_completion_tokens,
                seed=seed,
                stream=True,
            ) as chunks:
                yield from _pieces(choice.delta for chunk in chunks for choice in chunk.choices)
        except openai.OpenAIError as error:
            raise self._refused(error) from error

    def _refused(self, error: openai.OpenAIError) -> TeacherError:
        said = str(error).strip().splitlines()[0]
        return TeacherError(f"{self.url}: it does not answer (said: {said}); see whether it runs and serves /v1")


def _pieces(deltas: Iterable[Any]) -> Iterator[str]:
    """Give the texts of a stream; reasoning that the server took out of the answer goes back between its tags."""
    thinks = False
    for delta in deltas:
        reasoning = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        if reasoning:
            yield reasoning if thinks else f"{THINK_OPEN}\n{reasoning}"
            thinks = True
        if delta.content:
            yield f"\n{THINK_CLOSE}\n\n{delta.content}" if thinks else delta.content
            thinks = False
