"""Command `export`: a run's adapter as a folder that other tools load.

Choose the adapter -> check disk and tools before any work -> write beside the place -> compare logits -> rename there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from mbt_lite.errors import RunError
from mbt_lite.export import Form, Stage
from mbt_lite.export.card import Base, licence_of, model_card
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.run_dir import RECIPE_FILE, RunDir, read_json, read_jsonl, write_json, write_text

GIB = 1 << 30
# Rows that logits are compared on, and the most tokens of each.
ROWS, ROW_TOKENS = 3, 512


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What is exported: the adapter of a stage of a run."""

    run_dir: RunDir
    recipe: Recipe
    stage: Stage

    @property
    def adapter(self) -> Path:
        """The adapter's folder."""
        return self.run_dir.stage_dir(self.stage) / "adapter"


def export(
    run: Path, form: Form, stage: Stage | None, out: Path | None, converter: Path | None, console: Console
) -> Path:
    """Write an export and give its folder.

    Raises RunError without an adapter, a free place or enough disk; ModelError for a model that cannot be merged.
    """
    from mbt_lite.model.libraries import prepare, quieten_loading

    source = choose_source(run, stage)
    folder = out if out is not None else run / "export" / f"{source.stage}-{form}"
    if folder.exists():
        raise RunError(f"{folder}: is there already; remove it, or choose another place with --out")
    prepare()
    quieten_loading()
    with _written_beside(folder) as partial:
        if form == "adapter":
            export_adapter(source, partial)
        elif form == "merged":
            export_merged(source, partial, console)
        else:
            export_gguf(source, partial, converter, console)
    return folder


def choose_source(run: Path, stage: Stage | None) -> Source:
    """Find the adapter of a stage, or the run's newest; RunError if there is none."""
    if not (run / RECIPE_FILE).is_file():
        raise RunError(f"{run}: not a run folder (no {RECIPE_FILE}); name the folder that `mbt-lite run` wrote")
    recipe, run_dir = load_recipe(run / RECIPE_FILE, []), RunDir(run)
    wanted: tuple[Stage, ...] = ("grpo", "sft") if stage is None else (stage,)
    for name in wanted:
        source = Source(run_dir, recipe, name)
        if (source.adapter / "adapter_config.json").is_file():
            return source
    raise RunError(f"{run}: no adapter of {' or '.join(wanted)}; finish that stage first")


def export_adapter(source: Source, folder: Path) -> None:
    """Write a plain peft folder: adapter, tokenizer, chat template, card."""
    from mbt_lite.export.merge import WEIGHTS, copy_tokenizer

    base = base_of(source.recipe.model.name)
    config = read_json(source.adapter / "adapter_config.json")
    write_json(folder / "adapter_config.json", config | {"base_model_name_or_path": base.name})
    shutil.copyfile(source.adapter / WEIGHTS, folder / WEIGHTS)
    copy_tokenizer(source.adapter, folder)
    _write_card(source, folder, "adapter", base, [])


def export_merged(source: Source, folder: Path, console: Console) -> list[str]:
    """Write the model merged in 16 bits with its card; give the sentences on how its logits compare."""
    from mbt_lite.export.compare import compare
    from mbt_lite.export.merge import merge_shards, merged_bytes, shards, write_settings
    from mbt_lite.report.progress import counting

    base = base_folder(source.recipe.model.name)
    size = merged_bytes(base)
    check_disk(folder.parent, size)
    tokenizer = read_tokenizer(source)
    with counting(console, "export: shards", len(shards(base))) as advance:
        merge_shards(base, source.adapter, folder, advance)
    write_settings(base, source.adapter, folder, stop_ids(base, tokenizer))
    console.print("export: comparing logits", highlight=False, soft_wrap=True)
    rows = sample_rows(source, tokenizer)
    merge, quantized = compare(source.recipe.model, base, source.adapter, folder, rows, size)
    checks = [f"Merged model against the adapter on its 16-bit base: {merge}."]
    if quantized is not None:
        checks.append(f"Merged model against the 4-bit student with the adapter, which was trained: {quantized}.")
    for check in checks:
        console.print(f"export: {check}", highlight=False, soft_wrap=True)
    _write_card(source, folder, "merged", base_of(source.recipe.model.name), checks)
    return checks


def export_gguf(source: Source, folder: Path, converter: Path | None, console: Console) -> None:
    """Write one GGUF file by llama.cpp's converter, a Modelfile for Ollama, and the card."""
    from mbt_lite.export.merge import merged_bytes
    from mbt_lite.export.ollama import convert, find_converter, modelfile

    command = find_converter(converter)
    base = base_folder(source.recipe.model.name)
    # the merged model stays until it is converted
    check_disk(folder.parent, 2 * merged_bytes(base))
    merged, gguf = folder / "merged", folder / "model.gguf"
    merged.mkdir()
    checks = export_merged(source, merged, console)
    tokenizer = read_tokenizer(source)
    console.print(f"export: converting with {command[-1]}", highlight=False, soft_wrap=True)
    convert(command, merged, gguf, tokenizer)
    shutil.rmtree(merged)
    write_text(folder / "Modelfile", modelfile(source.recipe, tokenizer, stop_ids(base, tokenizer), gguf.name))
    _write_card(source, folder, "gguf", base_of(source.recipe.model.name), checks)


def check_disk(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold; sizes in bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{folder}: {needed / GIB:.2f} GiB needed, {free / GIB:.2f} GiB free; "
            "free some, or choose another disk with --out"
        )


def base_folder(name: str) -> Path:
    """Give the folder of the 16-bit base; a hub id is fetched into the hub's cache, which keeps it."""
    from mbt_lite.model.student import folder_or_id

    source = folder_or_id(name)
    if Path(source).is_dir():
        return Path(source)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(source, allow_patterns=["*.safetensors", "*.json", "README.md"]))


def base_of(name: str) -> Base:
    """Say what the card and peft call the base."""
    from huggingface_hub import try_to_load_from_cache

    from mbt_lite.model import embedded

    if name.startswith(embedded.PREFIX):
        return Base(embedded.ORIGINAL, embedded.LICENCE, "It was read from a 4-bit GGUF (Q4_1) of it.")
    if Path(name).is_dir():
        return Base(name, licence_of(Path(name) / "README.md"), "")
    cached = try_to_load_from_cache(name, "README.md")
    return Base(name, licence_of(Path(cached)) if isinstance(cached, str) else None, "")


def read_tokenizer(source: Source) -> Any:
    """Load the tokenizer that the stage trained with."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(source.adapter))


def stop_ids(base: Path, tokenizer: Any) -> list[int]:
    """Give every token that ends a turn: the tokenizer's and those of the base's generation settings."""
    settings = base / "generation_config.json"
    listed = read_json(settings).get("eos_token_id") if settings.is_file() else None
    listed = [] if listed is None else [listed] if isinstance(listed, int) else listed
    return sorted({int(tokenizer.eos_token_id), *listed})


def sample_rows(source: Source, tokenizer: Any) -> list[list[int]]:
    """Give the token ids of a few traces of the run; without traces, of a few of its prompts."""
    from mbt_lite.data.questions import read_questions
    from mbt_lite.model.chat import prompt_ids
    from mbt_lite.model.rows import encode
    from mbt_lite.prompts import student_messages
    from mbt_lite.records import Trace, from_row

    path = source.run_dir.stage_dir("gen") / "traces.jsonl"
    traces = [from_row(Trace, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path)[:ROWS], 1)]
    rows = [list(encode(trace, tokenizer).input_ids) for trace in traces]
    if not rows:
        questions = read_questions(source.recipe.data.train, source.recipe.data.seed)[:ROWS]
        rows = [prompt_ids(tokenizer, student_messages(question)) for question in questions]
    return [row[-ROW_TOKENS:] for row in rows]


def _write_card(source: Source, folder: Path, form: Form, base: Base, checks: list[str]) -> None:
    chat = read_tokenizer(source).chat_template
    card = model_card(source.run_dir, source.recipe, source.stage, form, base, checks, chat)
    write_text(folder / "README.md", card)


@contextlib.contextmanager
def _written_beside(folder: Path) -> Iterator[Path]:
    """Lend a folder beside `folder` and rename it there at the end; after an error nothing is left."""
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise RunError(f"{folder}: cannot be written ({error.strerror}); choose another place with --out") from error
    try:
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
