"""A tiny student in a model folder, for tests that run whole stages in their own process."""

from pathlib import Path
from typing import Any

import pytest
from byte_tokenizer import byte_tokenizer

ROOT = Path(__file__).parents[2]


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A run folder with a stand-in student, for the eval stage."""
    pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from eval_lab import make_lab

    return make_lab(tmp_path, monkeypatch)


@pytest.fixture(scope="session")
def student_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a tiny student that ends its turn after about a dozen random tokens."""
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("student")
    tokenizer = byte_tokenizer((ROOT / "data_samples/demo_train.jsonl").read_text().splitlines(), 1000)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=False,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # one direction that every token shares, and that the end of the turn listens to: p(stop) is about 1/12
        model.get_input_embeddings().weight[:, 0] = 1.0
        model.lm_head.weight[tokenizer.eos_token_id, 0] = 4.5 / 8
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
