"""Command `export`: a run's adapter as a folder that other tools load.

Choose the adapter -> check disk and tools before any work -> write beside the place -> compare logits and answers ->
rename there.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import snapshot_download, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from transformers import AutoTokenizer

from mbt_lite.console import Screen
from mbt_lite.data.questions import read_questions
from mbt_lite.errors import ModelError, RunError
from mbt_lite.export import Base, Form, Order, Stage, llama_cpp
from mbt_lite.export.answers import Answered, Comparison, Trial, answers_of_gguf, answers_of_student, read_trial
from mbt_lite.export.card import Origin, licence_of, model_card
from mbt_lite.export.compare import compare
from mbt_lite.export.convert import convert, find_converter
from mbt_lite.export.merge import WEIGHTS, Kept, copy_tokenizer, merge_shards, merged_bytes, shards, write_settings
from mbt_lite.export.ollama import modelfile
from mbt_lite.export.rounding import rounding_of
from mbt_lite.files import read_json, read_jsonl, whole_folder, write_json, write_text
from mbt_lite.progress import counting
from mbt_lite.prompts import student_messages
from mbt_lite.recipe import load_recipe
from mbt_lite.recipe.schema import Recipe
from mbt_lite.records import Trace, from_row
from mbt_lite.run_dir import RECIPE_FILE, RunDir
from mbt_lite.student import embedded
from mbt_lite.student.chat_template import prompt_ids
from mbt_lite.student.libraries import quieten_loading
from mbt_lite.student.loading import folder_or_id, loading
from mbt_lite.training.rows import encode

GIB = 1 << 30
# Rows that logits are compared on, and the most tokens of each.
ROWS, ROW_TOKENS = 3, 512


@dataclasses.dataclass(frozen=True, slots=True)
class Source:
    """What is exported: the adapter of a stage of a run, added to which base."""

    run_dir: RunDir
    recipe: Recipe
    stage: Stage
    base: Base
    origin: Origin
    console: Screen

    @property
    def adapter(self) -> Path:
        """The adapter's folder."""
        return self.run_dir.stage_dir(self.stage) / "adapter"

    def tell(self, sentence: str) -> None:
        """Say something on the console."""
        self.console.print(f"export: {sentence}", soft_wrap=True)


def export(run: Path, order: Order, console: Screen) -> Path:
    """Write an export and give its folder.

    Raises RunError without an adapter, a free place or enough disk; ModelError for a model that cannot be merged, a
    tool that is missing, and an export that answers otherwise than what was trained.
    """
    source = _choose_source(run, order, console)
    folder = order.out if order.out is not None else run / "export" / _folder_name(source, order)
    if folder.exists():
        raise RunError(f"{folder}: is there already; remove it, or choose another place with --out")
    source.run_dir.refuse_links_out(source.adapter)
    if order.out is None:
        source.run_dir.refuse_links_out(folder.parent)
    quieten_loading()
    with whole_folder(folder) as partial:
        if order.form == "adapter":
            _export_adapter(source, partial, order)
        elif order.form == "merged":
            _export_merged(source, partial, order)
        else:
            _export_gguf(source, partial, order)
    return folder


def _folder_name(source: Source, order: Order) -> str:
    """Name an export so that no two that differ share a place."""
    base = "-original" if source.base == "original" and source.recipe.model.quantization != "none" else ""
    return f"{source.stage}-{order.form}" + (f"-{order.gguf_type}" if order.form == "gguf" else "") + base


def _choose_source(run: Path, order: Order, console: Screen) -> Source:
    """Find the adapter of a stage, or the run's newest; RunError if there is none."""
    if not (run / RECIPE_FILE).is_file():
        raise RunError(f"{run}: not a run folder (no {RECIPE_FILE}); name the folder that `mbt-lite run` wrote")
    recipe, run_dir = load_recipe(run / RECIPE_FILE, []), RunDir(run)
    wanted: tuple[Stage, ...] = ("grpo", "sft") if order.stage is None else (order.stage,)
    for name in wanted:
        source = Source(run_dir, recipe, name, order.base or "trained", _origin_of(recipe.model.name), console)
        if (source.adapter / "adapter_config.json").is_file():
            return source
    raise RunError(f"{run}: no adapter of {' or '.join(wanted)}; finish that stage first")


def _export_adapter(source: Source, folder: Path, order: Order) -> None:
    """Write a plain peft folder: adapter, tokenizer, chat template, card."""
    config = read_json(source.adapter / "adapter_config.json")
    write_json(folder / "adapter_config.json", config | {"base_model_name_or_path": source.origin.name})
    shutil.copyfile(source.adapter / WEIGHTS, folder / WEIGHTS)
    copy_tokenizer(source.adapter, folder)
    checks = _verified(source, order, lambda trial: answers_of_student(source.recipe.model, folder, trial))
    _write_card(source, folder, "adapter", checks)


def _export_merged(source: Source, folder: Path, order: Order) -> None:
    """Write the model merged in 16 bits with its card."""
    _check_disk(folder.parent, merged_bytes(_base_folder(source.recipe.model.name)))
    checks = merge(source, folder, None)
    plain = source.recipe.model.model_copy(update={"name": str(folder), "quantization": "none"})
    checks += _verified(source, order, lambda trial: answers_of_student(plain, None, trial))
    _write_card(source, folder, "merged", checks)


def merge(source: Source, folder: Path, dtype: torch.dtype | None) -> list[str]:
    """Write merged weights and what stands beside them; give the sentences on base and logits."""
    model = source.recipe.model
    base = _base_folder(model.name)
    tokenizer = _read_tokenizer(source)
    kept = Kept(rounding_of(model, base) if source.base == "trained" else None, dtype)
    with counting(source.console, "export: shards", len(shards(base))) as advance:
        merge_shards(base, source.adapter, folder, kept, advance)
    write_settings(base, source.adapter, folder, kept, stop_ids(base, tokenizer))
    source.tell("comparing logits")
    rows = _sample_rows(source, tokenizer)
    original, packed = compare(model, source.base, base, source.adapter, folder, rows, merged_bytes(base))
    checks = [_base_sentence(source), f"Logits, against the adapter on its 16-bit base: {original}."]
    if packed is not None:
        checks.append(f"Logits, against the 4-bit student that was trained: {packed}.")
    for check in checks:
        source.tell(check)
    return checks


def _base_sentence(source: Source) -> str:
    if source.recipe.model.quantization == "none":
        return "The adapter was trained on the 16-bit base, and is added to it."
    if source.base == "trained":
        return "The adapter was trained around a 4-bit base (nf4): it is added to those rounded weights, in 16 bits."
    return "The adapter was trained around a 4-bit base (nf4): it is added to the 16-bit original, as asked."


def _verified(source: Source, order: Order, answer: Callable[[Trial], Answered]) -> list[str]:
    """Hold the export's answers against those of the trained student; give the sentence on both.

    A packed GGUF is another model by wish: its loss is told. Anything else that differs is a ModelError.
    """
    if order.verify == 0:
        return ["Its answers were not compared (`--verify 0`)."]
    trial = read_trial(source.recipe, source.run_dir, order.verify)
    source.tell(f"answering {len(trial.questions)} questions twice")
    student = answers_of_student(source.recipe.model, source.adapter, trial)
    compared = Comparison(student, answer(trial))
    source.tell(f"{compared}.")
    packed = order.form == "gguf" and order.gguf_type != "f16"
    if not packed and not compared.holds:
        cure = "use --base trained" if source.base == "original" else "report this as a bug"
        raise ModelError(f"export: it answers otherwise than what was trained ({compared}); {cure}, or --verify 0")
    return [f"Answers to {compared}."]


def _export_gguf(source: Source, folder: Path, order: Order) -> None:
    """Write one GGUF file by llama.cpp's tools, a Modelfile for Ollama, and the card."""
    command = find_converter(order.converter)
    quantiser = None if order.gguf_type == "f16" else llama_cpp.find_quantiser(order.gguf_type)
    if order.verify:
        llama_cpp.find_server()
    base = _base_folder(source.recipe.model.name)
    # the merged model stays until it is converted, the 16-bit file until it is packed
    _check_disk(folder.parent, 2 * merged_bytes(base))
    tokenizer = _read_tokenizer(source)
    merged, whole, gguf = folder / "merged", folder / "f16.gguf", folder / "model.gguf"
    merged.mkdir()
    # float16 has three bits more than bfloat16 for what the adapter adds, and every llama.cpp computes with it
    checks = merge(source, merged, torch.float16)
    source.tell(f"converting with {command[-1]}")
    convert(command, merged, whole, tokenizer)
    shutil.rmtree(merged)
    if quantiser is None:
        whole.rename(gguf)
    else:
        source.tell(f"packing with {quantiser}")
        llama_cpp.quantise(quantiser, whole, gguf, order.gguf_type)
        whole.unlink()
    stops = stop_ids(base, tokenizer)
    write_text(folder / "Modelfile", modelfile(source.recipe, tokenizer, stops, gguf.name))
    checks += _verified(source, order, lambda trial: answers_of_gguf(gguf, tokenizer, trial))
    _write_card(source, folder, "gguf", checks)


def _check_disk(folder: Path, needed: int) -> None:
    """Refuse to begin what the disk cannot hold; sizes in bytes."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RunError(
            f"{folder}: {needed / GIB:.2f} GiB needed, {free / GIB:.2f} GiB free; "
            "free some, or choose another disk with --out"
        )


def _base_folder(name: str) -> Path:
    """Give the folder of the 16-bit base; a hub id is fetched into the hub's cache, which keeps it."""
    source = folder_or_id(name)
    if Path(source).is_dir():
        return Path(source)
    with loading(name, "put the base where model.name says, or name another in the run's recipe"):
        return Path(snapshot_download(source, allow_patterns=["*.safetensors", "*.json", "README.md"]))


def _origin_of(name: str) -> Origin:
    """Say what the card and peft call the base."""
    if name.startswith(embedded.PREFIX):
        return Origin(embedded.ORIGINAL, embedded.LICENCE, "It was read from a 4-bit GGUF (Q4_1) of it.")
    if Path(name).is_dir():
        return Origin(name, licence_of(Path(name) / "README.md"), "")
    try:
        cached = try_to_load_from_cache(name, "README.md")
    except HFValidationError:
        # a folder that is not there any more; an adapter leaves without it
        cached = None
    return Origin(name, licence_of(Path(cached)) if isinstance(cached, str) else None, "")


def _read_tokenizer(source: Source) -> Any:
    """Load the tokenizer that the stage trained with."""
    return AutoTokenizer.from_pretrained(str(source.adapter))


def stop_ids(base: Path, tokenizer: Any) -> list[int]:
    """Give every token that ends a turn: the tokenizer's and those of the base's generation settings."""
    settings = base / "generation_config.json"
    listed = read_json(settings).get("eos_token_id") if settings.is_file() else None
    listed = [] if listed is None else [listed] if isinstance(listed, int) else listed
    return sorted({int(tokenizer.eos_token_id), *listed})


def _sample_rows(source: Source, tokenizer: Any) -> list[list[int]]:
    """Give the token ids of a few traces of the run; without traces, of a few of its prompts."""
    path = source.run_dir.stage_dir("gen") / "traces.jsonl"
    traces = [from_row(Trace, row, f"{path}:{number}") for number, row in enumerate(read_jsonl(path)[:ROWS], 1)]
    rows = [list(encode(trace, tokenizer).input_ids) for trace in traces]
    if not rows:
        questions = read_questions(source.recipe.data.train, source.recipe.data.seed)[:ROWS]
        rows = [prompt_ids(tokenizer, student_messages(question)) for question in questions]
    return [row[-ROW_TOKENS:] for row in rows]


def _write_card(source: Source, folder: Path, form: Form, checks: list[str]) -> None:
    chat = _read_tokenizer(source).get_chat_template()
    card = model_card(source.run_dir, source.recipe, source.stage, form, source.origin, checks, chat)
    write_text(folder / "README.md", card)
