"""What the keys of one endpoint cannot know about each other: its addresses, its key, its prices and budgets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mbt_lite.recipe.endpoint import EMBEDDED, Endpoint, Speaker, holds_secret, is_variable, without_keys


class Conflict(NamedTuple):
    """Keys that do not go together, and what to do about it."""

    keys: tuple[str, ...]
    message: str


def endpoint_conflicts(endpoint: Endpoint) -> Iterator[Conflict]:
    """Check what all endpoints have in common."""
    key = endpoint.key
    for url in endpoint.urls:
        yield from _url(endpoint, url)
    if len({url.rstrip("/") for url in endpoint.urls}) < len(endpoint.urls) and not any(
        map(holds_secret, endpoint.urls)
    ):
        said = ", ".join(endpoint.urls)
        yield Conflict((f"{key}.base_url",), f"`{key}.base_url` names a URL twice (got {said}); keep one")
    # The value is not repeated: it may be the key itself.
    if endpoint.api_key_env is not None and not is_variable(endpoint.api_key_env):
        yield Conflict(
            (f"{key}.api_key_env",),
            f"`{key}.api_key_env` is no variable name; "
            "write the name of the environment variable that holds the key, never the key itself",
        )


def _url(endpoint: Endpoint, url: str) -> Iterator[Conflict]:
    key = f"{endpoint.key}.base_url"
    # What stands there may be a key: it is not repeated.
    if holds_secret(url) or re.search(r"[@?#]", url):
        yield Conflict(
            (key,),
            f"`{key}` holds more than an address (one of @ ? #, or a key); leave user, key and query out, "
            f"and name the key's variable in `{endpoint.key}.api_key_env`",
        )
    elif not re.match(r"https?://[^\s/]", url):
        words = "".join(f"{word}, " for word in endpoint.words)
        yield Conflict((key,), f"`{key}` is no endpoint (got {url}); write {words}or a URL with http:// or https://")


def _is_here(url: str) -> bool:
    """Tell whether a URL leads to this machine.

    >>> [_is_here(url) for url in ("http://localhost:8000/v1", "http://[::1]/v1", "https://api.example.com/v1")]
    [True, True, False]
    """
    return re.match(r"https?://(localhost|127\.|\[::1\]|0\.0\.0\.0)", url) is not None


def speaker_conflicts(speaker: Speaker) -> Iterator[Conflict]:
    """Check an endpoint whose replies are bought."""
    yield from endpoint_conflicts(speaker)
    key = speaker.key
    prices = (f"{key}.price_per_million_prompt_tokens", f"{key}.price_per_million_completion_tokens")
    if speaker.budget_usd is not None and None in (
        speaker.price_per_million_prompt_tokens,
        speaker.price_per_million_completion_tokens,
    ):
        yield Conflict(
            (f"{key}.budget_usd", *prices),
            f"`{key}.budget_usd` needs prices (got {speaker.budget_usd:g}); set `{prices[0]}` and `{prices[1]}`",
        )
    if without_keys(speaker.model) != speaker.model:
        yield Conflict((f"{key}.model",), f"`{key}.model` looks like a key; name its variable in `{key}.api_key_env`")
    if speaker.model == "scripted" and not all(map(_is_here, speaker.urls)):
        yield Conflict(
            (f"{key}.model", f"{key}.base_url"),
            f"`{key}.model` is scripted, which no server elsewhere has; name the model of `{key}.base_url`",
        )
    if speaker.base_url == EMBEDDED and speaker.model != "scripted":
        yield Conflict(
            (f"{key}.model", f"{key}.base_url"),
            f"`{key}.model` is {speaker.model}, but the embedded {key} is scripted; set `{key}.base_url` to its server",
        )
