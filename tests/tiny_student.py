"""A tiny student in a model folder: two layers, random weights, everything else as in a real one."""

from pathlib import Path
from typing import Any

from byte_tokenizer import byte_tokenizer

ROOT = Path(__file__).parents[1]


def tiny_config(tokenizer: Any, **changes: Any) -> Any:
    """Describe a Llama of two layers of width 32 with grouped-query attention; needs transformers."""
    from transformers import LlamaConfig

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    return LlamaConfig(
        vocab_size=len(tokenizer),
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        **{**sizes, **changes},
    )


def save_tiny_student(folder: Path, tokenizer: Any = None) -> None:
    """Save a student that ends its turn after about a dozen random tokens; needs transformers.

    Its tokenizer is made from the demo's questions, or given.
    """
    import torch
    from transformers import LlamaForCausalLM

    if tokenizer is None:
        tokenizer = byte_tokenizer((ROOT / "data_samples/demo_train.jsonl").read_text().splitlines(), 1000)
    torch.manual_seed(0)
    config = tiny_config(tokenizer, hidden_size=64, intermediate_size=128, tie_word_embeddings=False)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # one direction that every token shares, and that the end of the turn listens to: p(stop) is about 1/12
        model.get_input_embeddings().weight[:, 0] = 1.0
        model.lm_head.weight[tokenizer.eos_token_id, 0] = 4.5 / 8
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
