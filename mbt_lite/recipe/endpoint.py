"""What a recipe may say of the endpoints it asks: the teacher, the judge, the student where a server serves it.

An endpoint is where to ask, how patiently, and what it may cost. Its class knows the path of its keys, so that every
error names the right one. Where and how it is asked changes no reply, so those keys are `Free`; the model does.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, PlainSerializer, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from mbt_lite.recipe.section import Free, NonNegativeFloat, PositiveFloat, PositiveInt, Section, Size, Temperature

NONE, EMBEDDED = "none", "embedded"


# How the keys of common hosts begin.
_KEY = re.compile(r"(?:sk[-_]|gsk_|hf_|r8_|fw_|xai-|nvapi-|tgp_v1_|AIza)[A-Za-z0-9_-]{16,}")


def holds_secret(url: str) -> bool:
    """Tell whether a URL has room for a key, or one in it; such a URL is never repeated or kept.

    >>> [holds_secret(url) for url in ("https://me:key@x/v1", "https://x/v1?sig=1", "http://gpu-1.x.org:8000/v1")]
    [True, True, False]
    """
    return re.search(r"[@?#]", url) is not None or _KEY.search(url) is not None


def without_keys(text: str) -> str:
    """Blot out what looks like a key.

    >>> without_keys("got sk-proj-0a1B2c3D4e5F6a7B; write a number")
    'got ***; write a number'
    """
    return _KEY.sub("***", text)


def fits_header(key: str) -> bool:
    """Tell whether a key can be sent.

    >>> [fits_header(key) for key in ("sk-1", "sk-1\\n", "schl\u00fcssel")]
    [True, False, False]
    """
    return key.isascii() and key.isprintable() and key == key.strip()


def is_variable(name: str) -> bool:
    """Tell whether a text is the name of an environment variable, and no key that happens to look like one.

    >>> [is_variable(name) for name in ("OPENAI_API_KEY", "my_key_2", "gsk_0a1B2c3D4e5F6a7B8c9D", "sk-1")]
    [True, True, False, False]
    """
    is_name = re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) is not None
    is_random = any(re.search("[a-z]", run) and re.search("[0-9]", run) for run in re.findall("[A-Za-z0-9]{16,}", name))
    return is_name and not is_random and _KEY.search(name) is None


def _read_urls(value: object) -> str | tuple[str, ...]:
    """Take a URL or a list of them; a plain union would put its branches into the places of its errors."""
    if isinstance(value, list | tuple) and value and all(isinstance(url, str) for url in value):
        return tuple(value)
    if isinstance(value, str):
        return value
    raise PydanticCustomError("string_type", "neither a URL nor a list of URLs")


_URLS_SCHEMA = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
# Without a serializer of its own, a plain validator's union warns of every list that it writes as JSON.
_WRITE_URLS = PlainSerializer(lambda urls: urls if isinstance(urls, str) else list(urls), when_used="json")
Urls = Annotated[str | tuple[str, ...], PlainValidator(_read_urls), _WRITE_URLS, WithJsonSchema(_URLS_SCHEMA)]


class Endpoint(Section):
    """Any server with the OpenAI chat schema, or several that share the work: where, how patiently, at what cost."""

    path: ClassVar[str]
    words: ClassVar[tuple[str, ...]] = (NONE,)

    base_url: Annotated[Urls, Free] = NONE
    """`none`, or a URL (`http://localhost:8000/v1`), or a list of them."""
    api_key_env: Annotated[str | None, Free] = None
    """Name of the environment variable that holds the key; none for servers without keys."""
    concurrency: Annotated[Annotated[int, Field(gt=0, le=4096)], Free] = 16
    """Requests under way at once."""
    timeout_seconds: Annotated[Annotated[float, Field(gt=0, le=86_400)], Free] = 600.0
    """Longest wait for one reply."""
    attempts: Annotated[Size, Free] = 5
    """Tries of one request before it is given up."""
    budget_tokens: Annotated[PositiveInt | None, Free] = None
    """Most prompt and completion tokens of all its replies in a run; asking stops before it would be exceeded."""

    @property
    def key(self) -> str:
        """The path of its section: `teacher`, `gen.student`."""
        return self.path

    @property
    def urls(self) -> tuple[str, ...]:
        """The servers that are asked; none for `none` and `embedded`."""
        urls = (self.base_url,) if isinstance(self.base_url, str) else self.base_url
        return () if self.base_url in self.words else urls

    @property
    def is_asked(self) -> bool:
        """Whether there is anything to ask."""
        return self.base_url != NONE


class Speaker(Endpoint):
    """An endpoint with what shapes its replies: the model there, how it samples, and what they cost."""

    budget_usd: Annotated[PositiveFloat | None, Free] = None
    """Most that all its replies in a run may cost; asking stops before it would be exceeded. Needs both prices."""
    price_per_million_prompt_tokens: Annotated[NonNegativeFloat | None, Free] = None
    """US dollars for a million tokens of prompts."""
    price_per_million_completion_tokens: Annotated[NonNegativeFloat | None, Free] = None
    """US dollars for a million tokens of completions."""
    model: str = "scripted"
    """The model's name at that endpoint."""
    temperature: Temperature = 0.6
    """Sampling temperature."""
    top_p: Annotated[float, Field(gt=0, le=1)] | None = 0.95
    """Nucleus; none leaves it to the server, for one that takes no nucleus beside a temperature."""
    max_completion_tokens: PositiveInt = 8192
    """Longest reply."""

    @property
    def model_key(self) -> str:
        """The path of the key that names the model."""
        return f"{self.key}.model"


class Teacher(Speaker):
    """Who writes the traces: any endpoint with the OpenAI chat schema."""

    path: ClassVar[str] = "teacher"
    words: ClassVar[tuple[str, ...]] = (EMBEDDED,)

    base_url: Annotated[Urls, Free] = EMBEDDED
    """`embedded`: the scripted teacher on a loopback server; else a URL (`http://localhost:8000/v1`) or a list."""


JudgeMeasure = Literal["accuracy", "hit", "thinking", "metacognition", "reach", "quality"]


class Judge(Speaker):
    """Who judges the traces in `eval`, beside the rules; any endpoint with the OpenAI chat schema.

    Verdicts are kept by what was asked, and the metrics are made anew on every run: all keys may change.
    """

    path: ClassVar[str] = "judge"
    words: ClassVar[tuple[str, ...]] = (NONE, EMBEDDED)

    base_url: Annotated[Urls, Free] = NONE
    """`none`: no judge; `embedded`: the scripted one on a loopback server; else a URL or a list of them."""
    model: Annotated[str, Free] = "scripted"
    """The model's name at that endpoint."""
    temperature: Annotated[Temperature, Free] = 0.6
    """Sampling temperature of the judge; above 0, so that asking again can give another reply."""
    top_p: Annotated[Annotated[float, Field(gt=0, le=1)] | None, Free] = 0.95
    """Nucleus of the judge; none leaves it to the server."""
    max_completion_tokens: Annotated[PositiveInt, Free] = 4096
    """Longest reply of the judge; a prefix it quotes must fit."""
    measures: Annotated[tuple[JudgeMeasure, ...], Free] = get_args(JudgeMeasure)
    """What is asked of each completion, one request each: `accuracy` of the answer, answer `hit` of the trace, over- or
    underthinking (`thinking`, needs accuracy), `metacognition` 0-5, `reach` and redundancy, `quality` by tier."""
    json_schema: Annotated[Literal["auto", "off"], Free] = "auto"
    """`auto`: where a probe finds that the server keeps to a JSON schema, a verdict is asked for with its own; `off`:
    the prompt alone says what a verdict is, and a model may think before it. Both are read as strictly."""
    verdict_attempts: Annotated[int, Field(gt=0, le=100), Free] = 3
    """Tries of one verdict, each with another seed; a reply that is none after the last leaves it unscored."""
    repeats: Annotated[Size, Free] = 1
    """Verdicts on the same thing; from 2 on the judge's agreement with itself is measured. The first one counts."""


class GenStudent(Endpoint):
    """The student behind an endpoint, for its drafts."""

    path: ClassVar[str] = "gen.student"

    base_url: Annotated[Urls, Free] = NONE
    """`none`: the student drafts in this process; else a URL, or a list of them, that serves it (vLLM, Ollama,
    llama.cpp). Drafts are sampled as `gen.sampling` says, but for `top_k`: the schema has none."""
    model: str | None = None
    """The student's name at that endpoint."""


class StudentModels(Section):
    """The names under which an endpoint serves the student, untrained and with each adapter."""

    base: str | None = None
    """The untrained student; the variant `metacognitive` uses it too."""
    sft: str | None = None
    """The student with the adapter of `sft`."""
    grpo: str | None = None
    """The student with the adapter of `grpo`."""


class EvalStudent(Endpoint):
    """The student behind an endpoint, for the answers that are scored."""

    path: ClassVar[str] = "eval.student"

    base_url: Annotated[Urls, Free] = NONE
    """`none`: the student answers in this process; else a URL, or a list of them, that serves it (vLLM, Ollama,
    llama.cpp). Answers are sampled as `eval` says, but for `top_k`: the schema has none."""
    models: StudentModels = StudentModels()
    """The student's names at that endpoint, one per adapter."""
