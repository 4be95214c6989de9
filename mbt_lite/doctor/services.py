"""What a recipe asks of the outside: keys, endpoints, the model hub, the embedded student's package."""

from __future__ import annotations

import importlib.util
import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from mbt_lite.architecture.families import EMBEDDED_PREFIX, RANDOM_PREFIX
from mbt_lite.data.hub import PREFIX as HUB
from mbt_lite.doctor.findings import Finding
from mbt_lite.endpoint.served_student import answering_student, drafting_student
from mbt_lite.recipe.endpoint import Endpoint, fits_header
from mbt_lite.recipe.schema import Recipe
from mbt_lite.student.embedded import CURE, PACKAGE

TIMEOUT_SECONDS = 5.0
# Hosted endpoints list hundreds of models.
MOST_BYTES = 16 * 2**20
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
DEFAULT_HUB = "https://huggingface.co"


def check_services(recipe: Recipe) -> Iterator[Finding]:
    """Check the keys, endpoints, files and hub that a recipe names."""
    for endpoint, models in _endpoints(recipe):
        yield from _check_key(endpoint)
        for url in endpoint.urls:
            yield check_endpoint(endpoint, url, models)
    yield from _check_files(recipe)
    yield from _check_student(recipe)


def _endpoints(recipe: Recipe) -> Iterator[tuple[Endpoint, list[str]]]:
    """Give the endpoints that will be asked, each with the models that it must have."""
    gen, eval_ = recipe.gen, recipe.eval
    yield recipe.teacher, [recipe.teacher.model]
    yield recipe.judge, [recipe.judge.model]
    if gen.student.is_asked:
        yield gen.student, [drafting_student(gen).model]
    if eval_.student.is_asked:
        yield eval_.student, [answering_student(eval_, variant).model for variant in eval_.full_variants]


def _check_key(endpoint: Endpoint) -> Iterator[Finding]:
    variable = endpoint.api_key_env
    if variable is not None and endpoint.urls:
        key = os.environ.get(variable, "")
        said = "not set" if not key else "set" if fits_header(key) else "set, but cannot stand in a header"
        yield Finding(f"{endpoint.key} key {variable}", said, None if said == "set" else f"export {variable}=...")


def check_endpoint(endpoint: Endpoint, url: str, models: Sequence[str] = ()) -> Finding:
    """Ask a server for its models, which costs nothing, and look for those that will be asked."""
    check, asked, variable = f"{endpoint.key} {url}", f"{url.rstrip('/')}/models", endpoint.api_key_env
    key = os.environ.get(variable, "") if variable else ""
    # an error about a header repeats it
    headers = {"Authorization": f"Bearer {key}"} if key and fits_header(key) else {}
    request = urllib.request.Request(asked, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return _look_for(models, answer.read(MOST_BYTES), check, endpoint)
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Finding(check, f"refuses the key ({error.code})", f"export a valid {variable or 'key'}")
        # some servers have no list of models
        return Finding(check, f"answers ({error.code} to its list of models)")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Finding(check, f"cannot be reached ({reason})", f"start the server, or mend {endpoint.key}.base_url")


def _look_for(models: Sequence[str], listed: bytes, check: str, endpoint: Endpoint) -> Finding:
    """Hold the models that will be asked against a server's list, where it is one."""
    try:
        there = [str(model["id"]) for model in json.loads(listed)["data"]]
    except (ValueError, KeyError, TypeError):
        return Finding(check, "answers (its list of models cannot be read)")
    missing = [name for name in dict.fromkeys(models) if name not in there]
    if missing and there:
        said = f"answers, but does not list {', '.join(missing)} (it has {', '.join(there[:5])})"
        return Finding(check, said, f"name a model that it has in {endpoint.key}")
    return Finding(check, "answers")


def _check_files(recipe: Recipe) -> Iterator[Finding]:
    for name in ("train", "dev"):
        path = getattr(recipe.data, name).path
        if not path.startswith(HUB):
            cure = None if Path(path).is_file() else f"set data.{name}.path; it is relative to the working directory"
            yield Finding(f"data.{name}", f"{path}: {'no such file' if cure else 'there'}", cure)


def _check_student(recipe: Recipe) -> Iterator[Finding]:
    name = recipe.model.name
    if name.startswith((EMBEDDED_PREFIX, RANDOM_PREFIX)):
        there = importlib.util.find_spec(PACKAGE) is not None
        yield Finding("embedded student", "installed" if there else "not installed", None if there else CURE)
    wanted = _wanted_of_hub(recipe)
    if wanted:
        yield check_hub(wanted)


def _wanted_of_hub(recipe: Recipe) -> list[str]:
    """Give what must come from the hub: data always may, a student only if its weights are not cached."""
    wanted = [data.path for data in (recipe.data.train, recipe.data.dev) if data.path.startswith(HUB)]
    name = recipe.model.name
    if not name.startswith((EMBEDDED_PREFIX, RANDOM_PREFIX)) and not Path(name).is_dir():
        from huggingface_hub import try_to_load_from_cache

        if not isinstance(try_to_load_from_cache(name, "config.json"), str):
            wanted.append(name)
    return list(dict.fromkeys(wanted))


def check_hub(wanted: Sequence[str]) -> Finding:
    """Tell whether the hub can give what is wanted."""
    said = f"wanted: {', '.join(wanted)}"
    for switch in OFFLINE:
        if os.environ.get(switch, "").upper() in ("1", "TRUE", "YES", "ON"):
            return Finding("hub", f"{switch} is set; {said}", f"unset {switch}, or name local files in the recipe")
    hub = os.environ.get("HF_ENDPOINT") or DEFAULT_HUB
    try:
        with urllib.request.urlopen(urllib.request.Request(hub, method="HEAD"), timeout=TIMEOUT_SECONDS):
            return Finding("hub", f"{hub} answers; {said}")
    except urllib.error.HTTPError as error:
        return Finding("hub", f"{hub} answers ({error.code}); {said}")
    except (urllib.error.URLError, OSError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Finding("hub", f"{hub} cannot be reached ({reason}); {said}", "connect, or name local files")
