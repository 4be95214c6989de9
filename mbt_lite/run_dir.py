"""The run folder: where stages meet, what survives `kill -9`, and when a stage may be resumed.

::

    runs/<name>/ recipe.resolved.json  environment.json
      gen/ sft/ grpo/ eval/   one folder a stage; inputs.json in it is written first, done.json last

Rules. A journal line is on disk before the work it stands for counts as done; a line that a kill tore is cut off when
the journal is next opened. Whole files are written beside and renamed. One process at a time writes a stage, and
nothing is written before its lock is held. A stage that has begun goes on only with the recipe it began with (keys
marked resumable may change) and with the inputs it began with, and counts as done only while they are the same. What it
made is used by others only as it was made.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from mbt_lite.errors import RunError
from mbt_lite.files import read_json, write_json
from mbt_lite.records import to_row

STAGES = ("gen", "sft", "grpo", "eval")
RECIPE_FILE = "recipe.resolved.json"
INPUTS_FILE = "inputs.json"
ENVIRONMENT_FILE = "environment.json"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
# what a start leaves behind before it has done anything
STARTED = (".lock", INPUTS_FILE, "template.json", "usage.json", "servers.json")

# Which recipe sections each stage's result depends on: its own, and what it reads.
SECTIONS = {
    "gen": ("model", "data", "teacher", "gen"),
    "sft": ("model", "data", "teacher", "gen", "lora", "sft", "tracking"),
    "grpo": ("model", "data", "teacher", "gen", "lora", "sft", "grpo", "tracking"),
    "eval": ("model", "data", "teacher", "gen", "lora", "sft", "grpo", "judge", "eval", "tracking"),
}

# Keys that are gone, with the value at which they did nothing: a run that had them so goes on.
GONE = {"grpo.reward.weights.phases": 0.0, "sft.weight_decay": 0.0}
# Keys that came later, with the value that runs from before are taken to have had.
ADDED = {
    "data.train.answer_rule": "auto", "data.dev.answer_rule": "auto",
    "data.train.ask_for": "answer", "data.dev.ask_for": "answer",
    "gen.executed_share": 0.25, "gen.plan_rows": True, "gen.confidence_from": "agreement",
    "gen.trace_words": [120, 300], "grpo.keep_best_by": "reward",
    "grpo.method": "law", "eval.foresight": False, "eval.confidence": [], "eval.without_evidence": False,
    "grpo.masa.weight": 1.0, "grpo.masa.rate_law": "masa", "grpo.masa.length_tolerance": 0.1,
    "grpo.masa.gate_sd": 0.1, "grpo.masa.cutoff_factor": 2.0, "grpo.masa.cutoff_floor_tokens": 64,
    "grpo.masa.audit_share": 0.1,
    "grpo.ccrl.weight": 0.0, "grpo.ccrl.confidence": "token", "grpo.ccrl.law": "proper", "grpo.confidence.weight": 0.0,
}  # fmt: skip

# Fields of questions that came later stand at the end of their line. Layouts derive them from what is fingerprinted, so
# they are left out of it: folders from before go on.
_LATER = ("bridges", "bridges_are_titles")
_LATER_TEXT = re.compile(
    rb', "bridges": \[(?:"(?:[^"\\]|\\.)*"(?:, )?)*\], "bridges_are_titles": (?:true|false)(?=\}$)', re.MULTILINE
)

ENVIRONMENT_PACKAGES = (
    "mbt-lite", "torch", "transformers", "trl", "peft", "bitsandbytes", "datasets", "accelerate", "unsloth", "openai",
)  # fmt: skip


class RunDir:
    """One run folder.

    `open` holds a recipe against what has begun; `locked` keeps a stage for this process and only then writes. Of
    several processes of one launch one `leads`; for the others `locked` and `mark_done` do nothing.
    """

    def __init__(self, path: Path, *, leads: bool = True) -> None:
        self.path = path
        self.leads = leads
        self._recipe: tuple[Mapping[str, Any], frozenset[str], Mapping[str, str]] | None = None

    @classmethod
    def open(
        cls,
        path: Path,
        resolved: Mapping[str, Any],
        resumable: frozenset[str],
        renamed: Mapping[str, str] = MappingProxyType({}),
    ) -> RunDir:
        """Give the folder for a resolved recipe, which the first stage that begins or goes on writes into it.

        `resumable` holds the dotted keys that may differ from the run's first recipe, `renamed` the names that keys of
        older folders have now. Raises RunError naming each other key that differs, and the begun stage that needs it.
        """
        cls.check(path, resolved, resumable, renamed)
        opened = cls(path)
        opened._recipe = (resolved, resumable, renamed)
        return opened

    @classmethod
    def check(
        cls,
        path: Path,
        resolved: Mapping[str, Any],
        resumable: frozenset[str],
        renamed: Mapping[str, str] = MappingProxyType({}),
        redo: str | None = None,
    ) -> None:
        """Raise RunError where `open` would, writing nothing.

        With `redo`, that stage and those after it count as not begun: they are about to be set aside.
        """
        kept = STAGES if redo is None else STAGES[: STAGES.index(redo)]
        if not (path / RECIPE_FILE).exists():
            noted = [stage for stage in kept if (path / stage / INPUTS_FILE).exists() and cls(path).has_begun(stage)]
            # stages of another run, copied here to go on from, have neither of the two
            if not noted or not (path / ENVIRONMENT_FILE).exists():
                return
            raise RunError(
                f"{path / RECIPE_FILE}: is gone, so nobody knows by which recipe {noted[0]} began; "
                f"bring it back, use --out for a new run, or `mbt-lite {noted[0]} --overwrite` to redo it"
            )
        begun = [stage for stage in kept if cls(path).has_begun(stage)]
        old = {_name_now(key, renamed): value for key, value in flatten(read_json(path / RECIPE_FILE)).items()}
        new = flatten(resolved)
        problems = []
        for key in sorted(old.keys() | new.keys()):
            if old.get(key, ADDED.get(key)) == new.get(key, GONE.get(key)) or key in resumable:
                continue
            stage = next((stage for stage in begun if key.split(".")[0] in SECTIONS[stage]), None)
            if stage is not None:
                problems.append(
                    f"{path}: `{key}` changed since {stage} began ({old.get(key)!r} -> {new.get(key)!r}); "
                    f"use --out for a new run, or `mbt-lite {stage} --overwrite` to redo it"
                )
        if problems:
            raise RunError("\n".join(problems))

    def stage_dir(self, stage: str) -> Path:
        """Give the folder of a stage."""
        assert stage in STAGES, stage
        return self.path / stage

    def has_begun(self, stage: str) -> bool:
        """Tell whether a stage has written anything that is its own: a start that failed at once has not."""
        folder = self.stage_dir(stage)
        if not folder.is_dir():
            return False
        own = (entry for entry in folder.iterdir() if entry.name not in STARTED)
        return any(any(entry.iterdir()) if entry.is_dir() else entry.stat().st_size for entry in own)

    def is_done(self, stage: str, inputs: Mapping[str, str]) -> bool:
        """Tell whether a stage has finished with these inputs (see `fingerprint`).

        Raises RunError if it finished with others: its result is stale; or if a file that it made is not what it was.
        """
        mark = self.stage_dir(stage) / "done.json"
        if not mark.exists():
            return False
        found = read_json(mark, inputs=dict)["inputs"]
        changed = sorted(name for name, digest in inputs.items() if found.get(name) != digest)
        if changed:
            raise RunError(
                f"{self.stage_dir(stage)}: {', '.join(changed)} changed since {stage} finished; "
                f"run `mbt-lite {stage}` with --overwrite to redo it"
            )
        self.check_outputs(stage)
        return True

    def fingerprint(self, paths: Iterable[Path]) -> dict[str, str]:
        """Give file name -> SHA-256 of each file: what a stage read.

        Files of the run are named from its folder, so that a folder that was moved or copied stays good.
        """
        return {self._name(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.path) if path.is_relative_to(self.path) else path)

    def fingerprint_source(self, source: str, read: Callable[[], Iterable[Any]]) -> dict[str, str]:
        """Fingerprint where questions come from: the file, or, of what is no file, the records that are read."""
        if (path := Path(source)).is_file():
            return {self._name(path): hashlib.sha256(_LATER_TEXT.sub(b"", path.read_bytes())).hexdigest()}
        digest = hashlib.sha256()
        for record in read():
            row = {name: value for name, value in to_row(record).items() if name not in _LATER}
            digest.update(json.dumps(row, sort_keys=True).encode())
        return {source: digest.hexdigest()}

    def mark_done(
        self, stage: str, inputs: Mapping[str, str], summary: Mapping[str, Any], outputs: Iterable[Path] = ()
    ) -> None:
        """Write `done.json`, the last file of a stage; it knows the files that other stages will read."""
        if not self.leads:
            return
        mark = {
            "stage": stage,
            "finished_at": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "inputs": dict(inputs),
            "outputs": self.fingerprint(outputs),
            "summary": dict(summary),
        }
        write_json(self.stage_dir(stage) / "done.json", mark)

    def check_outputs(self, stage: str) -> None:
        """Raise RunError where a file that a finished stage made is no longer what it was."""
        mark = self.stage_dir(stage) / "done.json"
        # marks written before outputs were noted say nothing
        made = (read_json(mark, outputs=dict | None).get("outputs") or {}) if mark.exists() else {}
        for name, digest in made.items():
            path = self.path / name
            found = self.fingerprint([path])[name] if path.is_file() else None
            if found != digest:
                what = "is gone" if found is None else f"is not the file that {stage} wrote: damaged, or edited"
                raise RunError(
                    f"{path}: {what}; bring it back, run `mbt-lite {stage} --overwrite`, "
                    f"or delete {mark} to use what is there"
                )

    def unmark_done(self, stage: str) -> None:
        """Take `done.json` back, before a stage derives its files anew."""
        (self.stage_dir(stage) / "done.json").unlink(missing_ok=True)

    def set_aside(self, stage: str) -> list[Path]:
        """Move a stage's folder and those of the stages after it under `replaced/`; give the new places."""
        moved = []
        stamp = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d-%H%M%S-%f")
        for later in STAGES[STAGES.index(stage) :]:
            if self.has_begun(later):
                target = self.path / "replaced" / f"{later}-{stamp}"
                self.refuse_links_out(target.parent)
                target.parent.mkdir(exist_ok=True)
                shutil.move(self.stage_dir(later), target)
                moved.append(target)
        return moved

    @contextlib.contextmanager
    def locked(self, stage: str, inputs: Mapping[str, str] | None = None) -> Iterator[Path]:
        """Hold a stage's lock while the block runs; the kernel frees it when the process dies.

        Raises RunError if another process holds it, or if the stage began with other inputs (see `fingerprint`).
        """
        folder = self.stage_dir(stage)
        if not self.leads:
            yield folder
            return
        self.refuse_links_out(folder)
        with contextlib.ExitStack() as held:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                file = held.enter_context((folder / ".lock").open("w"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise RunError(f"{folder}: another process is running this stage; wait for it or use --out") from error
            except OSError as error:
                # flock names no file
                raise OSError(error.errno, error.strerror, str(folder)) from error
            if inputs is not None:
                self._hold_to_inputs(stage, inputs)
            self._write_recipe()
            yield folder

    def refuse_links_out(self, folder: Path) -> None:
        """Raise RunError where a folder of the run, or anything in it, is a link to a place outside the run.

        A run folder may come from strangers: what is written into it stays in it, what leaves it was in it.
        """
        home = self.path.resolve()
        for place in (folder, *folder.rglob("*")):
            if place.is_symlink() and not place.resolve().is_relative_to(home):
                raise RunError(
                    f"{place}: a link that leads out of the run folder (got {place.readlink()}); "
                    "put what it leads to in its place, or move the whole run folder"
                )

    def _hold_to_inputs(self, stage: str, inputs: Mapping[str, str]) -> None:
        """Note the inputs of a stage that begins; RunError if it began with others."""
        noted = self.stage_dir(stage) / INPUTS_FILE
        before = read_json(noted) if noted.exists() and self.has_begun(stage) else inputs
        changed = sorted(name for name in before.keys() | inputs.keys() if before.get(name) != inputs.get(name))
        if changed:
            raise RunError(
                f"{noted.parent}: {', '.join(changed)} changed since {stage} began; "
                f"bring it back, use --out for a new run, or `mbt-lite {stage} --overwrite` to redo it"
            )
        write_json(noted, dict(inputs))

    def _write_recipe(self) -> None:
        if self._recipe is None:
            return
        # another process may have begun since it was first checked
        self.check(self.path, *self._recipe)
        write_json(self.path / RECIPE_FILE, self._recipe[0])
        write_json(self.path / ENVIRONMENT_FILE, _environment())


def adapter_files(folder: Path) -> list[Path]:
    """Give the files that make an adapter."""
    return [folder / name for name in ADAPTER_FILES]


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested mappings into dotted keys.

    >>> flatten({"sft": {"epochs": 1}})
    {'sft.epochs': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _name_now(key: str, renamed: Mapping[str, str]) -> str:
    """Give the name that a key, or a section above it, has now.

    >>> _name_now("eval.models.base", {"eval.models": "eval.student.models"})
    'eval.student.models.base'
    """
    old = next((old for old in renamed if f"{key}.".startswith(f"{old}.")), None)
    return key if old is None else renamed[old] + key.removeprefix(old)


def _environment() -> dict[str, Any]:
    """Say what ran: Python, platform, versions of the packages that matter."""
    versions = {}
    for name in ENVIRONMENT_PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "packages": versions,
    }
