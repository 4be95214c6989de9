"""What the tests of export are made of: a tiny base in several shards, an adapter that does something, traces."""

from pathlib import Path

import pytest

pytest.importorskip("peft", reason="needs the training stack: pip install 'mbt-lite[train]'")

import torch
from byte_tokenizer import byte_tokenizer
from tiny_student import ROOT, tiny_config

from mbt_lite.files import write_jsonl
from mbt_lite.prompts import completion_text
from mbt_lite.recipe import resolved, schema
from mbt_lite.records import Trace, to_row
from mbt_lite.run_dir import RunDir

TEXTS = ["we think about the answer", "<think></think><answer></answer>"]


def save_base(folder: Path, *, dtype: torch.dtype = torch.float32, tied: bool = True, shard: str = "24KB") -> Path:
    """Save a two-layer Llama with tokenizer and licence; by default its weights take several files."""
    from transformers import LlamaForCausalLM

    tokenizer = byte_tokenizer(TEXTS, 320)
    torch.manual_seed(0)
    config = tiny_config(tokenizer, initializer_range=0.3, tie_word_embeddings=tied)
    LlamaForCausalLM(config).to(dtype).save_pretrained(folder, max_shard_size=shard)
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# A tiny model\n")
    return folder


def save_wordy_base(folder: Path) -> Path:
    """Save a two-layer Llama with the embedded student's tokenizer, which llama.cpp knows; it writes ASCII only."""
    from transformers import AutoTokenizer, LlamaForCausalLM

    from mbt_lite.student.embedded import NAME, PREFIX, embedded_folder

    tokenizer = AutoTokenizer.from_pretrained(embedded_folder(PREFIX + NAME))
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 128, "initializer_range": 0.3, "tie_word_embeddings": False}
    model = LlamaForCausalLM(tiny_config(tokenizer, **sizes))
    words = tokenizer.convert_ids_to_tokens(range(len(tokenizer)))
    others = [number for number, word in enumerate(words) if not word.removeprefix("\u0120").isascii()]
    with torch.no_grad():
        # one direction that every token shares, and that no other token listens to: bytes of half a letter are no text
        model.get_input_embeddings().weight[:, 0] = 6.0
        model.lm_head.weight[[*others, *tokenizer.all_special_ids], 0] = -5.0
    model.to(torch.bfloat16).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_run(folder: Path, model: schema.Model, variant: str) -> Path:
    """Make a run that has trained sft on a tiny base."""
    lora = schema.Lora(rank=4, alpha=8, variant=variant)  # type: ignore[arg-type]
    train, dev = (
        schema.Questions(path=str(ROOT / f"data_samples/demo_{name}.jsonl"), limit=3) for name in ("train", "dev")
    )
    recipe = schema.Recipe(
        model=model,
        data=schema.Data(train=train, dev=dev),
        lora=lora,
        eval=schema.Eval(temperature=0.6, top_p=0.95, top_k=20, max_completion_tokens=12),
    )
    run_dir = RunDir.open(folder, resolved(recipe), frozenset())
    with run_dir.locked("sft", {}):
        pass
    write_jsonl(run_dir.stage_dir("gen") / "traces.jsonl", [to_row(make_trace(number)) for number in (1, 2)])
    save_moved_adapter(Path(model.name), run_dir.stage_dir("sft") / "adapter", lora, model.quantization)
    return run_dir.path


def save_moved_adapter(base: Path, folder: Path, lora: schema.Lora, quantization: str = "none") -> Path:
    """Save an adapter whose every part is away from where it began."""
    from mbt_lite.student.adapters import load_with_adapter, save_adapter

    model = schema.Model(name=str(base), dtype="float32", quantization=quantization)  # type: ignore[arg-type]
    student = load_with_adapter(model, lora, 0, gradient_checkpointing=False)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, weight in student.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.2, generator=generator)
            elif "magnitude" in name:
                weight.mul_(1 + 0.2 * torch.rand(weight.shape, generator=generator))
    save_adapter(student, folder)
    return folder


def make_trace(number: int) -> Trace:
    text, answer = "we think about the answer", "the answer"
    return Trace(
        trace_id=f"q{number}:0", question_id=f"q{number}", kind="mbt_s", rollout_index=None, trace_index=0,
        teacher="scripted", scripted=True, prompt_version="0", text=text, answer=answer,
        prompt=({"role": "user", "content": f"about {number}"},),
        completion=({"role": "assistant", "content": completion_text(text, answer)},),
    )  # fmt: skip
