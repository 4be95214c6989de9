"""What a recipe asks of the outside: keys, the teacher's endpoint, the model hub, the embedded student's package."""

from __future__ import annotations

import importlib.util
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

from mbt_lite.architecture.families import EMBEDDED_PREFIX, RANDOM_PREFIX
from mbt_lite.data.hub import PREFIX as HUB
from mbt_lite.doctor.findings import Finding
from mbt_lite.model.embedded import CURE, PACKAGE
from mbt_lite.recipe.schema import Recipe

TIMEOUT_SECONDS = 5.0
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
DEFAULT_HUB = "https://huggingface.co"


def check_services(recipe: Recipe) -> Iterator[Finding]:
    """Check the keys, endpoints, files and hub that a recipe names."""
    endpoints = _endpoints(recipe)
    yield from _check_keys(endpoints)
    for url, key in endpoints:
        yield check_endpoint(url, key)
    yield from _check_files(recipe)
    yield from _check_student(recipe)


def _endpoints(recipe: Recipe) -> list[tuple[str, str | None]]:
    """Give the URLs that will be asked, each with the name of its key's variable."""
    teacher, gen = recipe.teacher, recipe.gen
    urls = (teacher.base_url,) if isinstance(teacher.base_url, str) else teacher.base_url
    found = [(url, teacher.api_key_env) for url in urls if url != "embedded"]
    return found + ([(gen.student_base_url, gen.student_api_key_env)] if gen.student_base_url else [])


def _check_keys(endpoints: Sequence[tuple[str, str | None]]) -> Iterator[Finding]:
    for variable in dict.fromkeys(key for _, key in endpoints if key is not None):
        is_set = bool(os.environ.get(variable))
        yield Finding(f"key {variable}", "set" if is_set else "not set", None if is_set else f"export {variable}=...")


def check_endpoint(url: str, key_variable: str | None) -> Finding:
    """Ask an endpoint for its models, which costs nothing."""
    check, asked = f"endpoint {url}", f"{url.rstrip('/')}/models"
    key = os.environ.get(key_variable, "") if key_variable else ""
    request = urllib.request.Request(asked, headers={"Authorization": f"Bearer {key}"} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS):
            return Finding(check, "answers")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Finding(check, f"refuses the key ({error.code})", f"export a valid {key_variable or 'key'}")
        # some servers have no list of models
        return Finding(check, f"answers ({error.code} to its list of models)")
    except (urllib.error.URLError, OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return Finding(check, f"cannot be reached ({reason})", "start the server, or mend the URL in the recipe")


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
