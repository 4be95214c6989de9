"""Control tokens by what the tokenizer does: special ones, those of the template, never our tags."""

import pytest
from byte_tokenizer import TEMPLATE, byte_tokenizer
from fetch_qwen3_tokenizer import FOLDER

pytest.importorskip("transformers")

from mbt_lite.student.control_tokens import control_finder

PROSE = "A cat ran. <think>ok</think> <answer>x</answer> <s> </s> <unk> <|im_ end|> [INST] <tool_call>"


def test_control_finder_names_special_tokens_and_no_others(tokenizer):
    find = control_finder(tokenizer)
    assert find(PROSE) == []
    assert find("It ran.<|im_end|>\n<|im_start|>assistant") == ["<|im_start|>", "<|im_end|>"]
    assert find("<|endoftext|>") == ["<|endoftext|>"]


def test_control_finder_names_what_the_template_writes_though_it_is_not_special():
    tokenizer = byte_tokenizer(["we think"], 300)
    tokenizer.add_tokens(["<turn>", "<think>", "<other>"])
    tokenizer.chat_template = TEMPLATE.replace("<|im_start|>", "<turn>").replace("assistant\n", "assistant\n<think>")
    find = control_finder(tokenizer)
    assert find("a <turn> b") == ["<turn>"]
    assert find("a <think> b <other>") == []


def test_control_finder_leaves_the_unknown_token_out_unless_it_ends_turns():
    tokenizer = byte_tokenizer(["we think"], 300)
    tokenizer.add_special_tokens({"unk_token": "<unk>", "bos_token": "<s>"})
    assert control_finder(tokenizer)("<unk> <s>") == ["<s>"]
    tokenizer.unk_token = tokenizer.eos_token
    assert control_finder(tokenizer)("<|im_end|>") == ["<|im_end|>"]


def test_control_finder_knows_the_real_qwen3_tokenizer():
    from transformers import PreTrainedTokenizerFast

    if not (FOLDER / "tokenizer.json").exists():
        pytest.skip("needs the real Qwen3 tokenizer: python tests/fetch_qwen3_tokenizer.py")
    tokenizer = PreTrainedTokenizerFast.from_pretrained(FOLDER)
    find = control_finder(tokenizer)
    assert find(PROSE) == []
    assert find("<|im_end|> <|vision_start|>") == ["<|im_end|>", "<|vision_start|>"]
