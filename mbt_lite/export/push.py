"""Command `push`: what a run made as a repository of the Hugging Face hub, with its card.

Gather the files -> write the card -> refuse what must not leave -> create the repository -> upload. An export becomes a
model, traces a dataset, the report a static space, which shows the page. The login is the hub's own (`hf auth login` or
HF_TOKEN); private unless it is said otherwise. The hub validates the card before it takes any file.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mbt_lite.errors import RunError
from mbt_lite.export import What
from mbt_lite.export.hub_cards import hub_client, licences_of, model_card_on_hub, report_card, traces_card
from mbt_lite.recipe import load_recipe, resolved
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import RECIPE_FILE, RunDir, flatten

Kind = Literal["model", "dataset", "space"]
# Not text: no key is looked for in them.
_BINARY = (".safetensors", ".png")
_REPORT = "report.html"


@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """What is sent: the kind of repository, its files by their path there, and its card, a RepoCard."""

    kind: Kind
    files: Mapping[str, Path]
    card: Any


def push(
    run: Path, what: What, to: str, *, folder: Path | None, licence: str | None, public: bool, dry_run: bool
) -> Iterator[str]:
    """Send what a run made to the hub, or with `dry_run` only tell it; give lines to say.

    `folder` is the export where it lies outside the run. Raises RunError where something is missing, must not leave, or
    is refused by the hub.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise RunError("push: huggingface_hub is not installed; `pip install 'mbt-lite[train]'`")
    _check_name(to)
    if not (run / RECIPE_FILE).is_file():
        raise RunError(f"{run}: not a run folder (no {RECIPE_FILE}); name the folder that `mbt-lite run` wrote")
    recipe, run_dir = load_recipe(run / RECIPE_FILE, []), RunDir(run)
    run_dir.refuse_links_out(run)
    parcel = _parcel(run_dir, recipe, what, to, folder, licence)
    _refuse_keys(parcel, recipe)
    yield f"push: {to}, a {'public' if public else 'private'} {parcel.kind}"
    for name, path in sorted(parcel.files.items()):
        yield f"{path.stat().st_size:>15,} bytes  {name}"
    if dry_run:
        yield from str(parcel.card).splitlines()
        yield "push: nothing was sent (--dry-run)"
    else:
        yield f"push: {_send(parcel, to, public)}"


def _check_name(to: str) -> None:
    hub, errors = hub_client()
    try:
        hub.utils.validate_repo_id(to)
    except errors.HFValidationError as error:
        said = " ".join(str(error).split())
        raise RunError(f"push: --to is no name of a repository ({said}); write owner/name") from error


def _parcel(run_dir: RunDir, recipe: Recipe, what: What, to: str, folder: Path | None, licence: str | None) -> Parcel:
    if what == "traces":
        file = _made(run_dir.stage_dir("gen") / "traces.jsonl", "gen", run_dir)
        licences = licences_of(recipe.data.train, recipe.data.seed, licence)
        return Parcel("dataset", {file.name: file}, traces_card(run_dir, recipe, file, licences))
    if what == "report":
        page = _made(run_dir.stage_dir("eval") / _REPORT, "eval", run_dir)
        plots = page.with_name(f"{page.stem}-plots")
        files = {f"{plots.name}/{path.name}": path for path in plots.glob("*")}
        licences = licences_of(recipe.data.dev, recipe.data.seed, licence)
        return Parcel("space", {"index.html": page} | files, report_card(run_dir, recipe, licences))
    folder = _exported(run_dir, what) if folder is None else folder
    RunDir(folder).refuse_links_out(folder)
    licences = licences_of(recipe.data.train, recipe.data.seed, licence)
    card = model_card_on_hub(folder, recipe, to, licences)
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return Parcel("model", {name: path for name, path in files.items() if name != "README.md"}, card)


def _made(file: Path, stage: str, run_dir: RunDir) -> Path:
    if not file.is_file():
        raise RunError(f"{file}: is not there; run `mbt-lite {stage}` for {run_dir.path} first")
    return file


def _exported(run_dir: RunDir, what: What) -> Path:
    """Find the newest stage's export in the run."""
    for name in (f"{stage}-{what}{base}" for stage in ("grpo", "sft") for base in ("", "-original")):
        if (run_dir.path / "export" / name / "README.md").is_file():
            return run_dir.path / "export" / name
    cure = f"run `mbt-lite export {run_dir.path} --format {what}` first, or name its folder with --folder"
    raise RunError(f"{run_dir.path}: nothing is exported as {what}; {cure}")


def _refuse_keys(parcel: Parcel, recipe: Recipe) -> None:
    """Raise RunError where a text that would be sent holds a key that this machine knows."""
    named = {str(value) for key, value in flatten(resolved(recipe)).items() if key.endswith("api_key_env") and value}
    keys = {name: os.environ[name] for name in named if os.environ.get(name)}
    keys["the hub's token"] = hub_client()[0].get_token() or ""
    texts = {name: path.read_bytes() for name, path in parcel.files.items() if path.suffix not in _BINARY}
    for where, text in {**texts, "README.md": str(parcel.card).encode()}.items():
        for name, key in keys.items():
            if key and key.encode() in text:
                raise RunError(f"push: {where} holds the key of {name}; take it out, nothing was sent")


def _send(parcel: Parcel, to: str, public: bool) -> str:
    """Create the repository where there is none, and upload; give its address."""
    hub, errors = hub_client()
    if hub.get_token() is None:
        raise RunError("push: nobody is logged in to the hub; run `hf auth login`, or set HF_TOKEN")
    api, kind = hub.HfApi(), parcel.kind
    try:
        sdk = {"space_sdk": "static"} if kind == "space" else {}
        made = api.create_repo(to, repo_type=kind, private=not public, exist_ok=True, **sdk)
        if not public and not api.repo_info(made.repo_id, repo_type=kind).private:
            raise RunError(f"push: {made.repo_id} is there already and public; add --public, or name another")
        with tempfile.TemporaryDirectory() as staged:
            for name, path in parcel.files.items():
                (Path(staged) / name).parent.mkdir(parents=True, exist_ok=True)
                (Path(staged) / name).symlink_to(path.resolve())
            parcel.card.save(Path(staged) / "README.md")
            message = f"mbt-lite push: {kind}"
            api.upload_folder(repo_id=made.repo_id, repo_type=kind, folder_path=staged, commit_message=message)
    except errors.HfHubHTTPError as error:
        raise RunError(f"push: {to}: {_refusal(error)}") from error
    except (ConnectionError, errors.HTTPError) as error:
        cure = "see to the network, HF_ENDPOINT and HF_HUB_OFFLINE, then push again"
        raise RunError(f"push: the hub at {api.endpoint} cannot be reached ({error}); {cure}") from error
    except ValueError as error:
        if not str(error).startswith("Invalid metadata"):
            raise
        raise RunError(f"push: the hub refuses the card ({' '.join(str(error).split())}); see --license") from error
    return str(made)


def _refusal(error: Any) -> str:
    """Say why the hub refused, and what to do."""
    status = error.response.status_code
    cures = {401: "run `hf auth login` anew", 403: "name one of your own, or take a token that may write"}
    said = " ".join((error.server_message or "no reason given").split())
    return f"the hub refuses it ({status}: {said}); {cures.get(status, 'see to that, then push again')}"
