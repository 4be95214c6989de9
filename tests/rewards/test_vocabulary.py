"""The table of bytes against the tokenizers' own decoding, which is the independent route."""

import random
from typing import Any

import pytest
from agreement import TOKENIZERS

from mbt_lite.rewards.vocabulary import Vocabulary, byte_characters, decode_without_specials, read_vocabulary


def test_byte_characters_are_those_of_the_tokenizers_library() -> None:
    pre_tokenizers = pytest.importorskip("tokenizers", reason="needs 'mbt-lite[train]'").pre_tokenizers
    assert sorted(byte_characters()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    written = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str("aé\n 京\x00")
    assert "".join(byte_characters()[byte] for byte in "aé\n 京\x00".encode()) == written[0][0]


@pytest.mark.parametrize("any_tokenizer", TOKENIZERS, indirect=True)
def test_decode_gives_the_tokenizers_text_for_any_ids(any_tokenizer: Any) -> None:
    vocabulary = read_vocabulary(any_tokenizer)
    assert vocabulary is not None
    dice = random.Random(0)
    for _ in range(300):
        # ids beyond the last token are padding of a model's matrix; special ones are left out
        ids = [dice.randrange(len(any_tokenizer) + 50) for _ in range(dice.randrange(30))]
        assert vocabulary.decode(ids) == decode_without_specials(any_tokenizer, ids)


@pytest.mark.parametrize("any_tokenizer", TOKENIZERS, indirect=True)
def test_decode_gives_a_text_back_and_no_special_token(any_tokenizer: Any) -> None:
    vocabulary = read_vocabulary(any_tokenizer)
    assert vocabulary is not None
    text = "<think>\nÉmile – “the” 北京 🤔\n</think>\n\n<answer>New York</answer>"
    ids = any_tokenizer.encode(text, add_special_tokens=False)
    assert vocabulary.decode([*ids, any_tokenizer.eos_token_id, any_tokenizer.pad_token_id]) == text


def test_decode_shows_broken_characters_as_the_tokenizer_does(toy: Any, toy_vocabulary: Vocabulary) -> None:
    whole = toy.encode("北京", add_special_tokens=False)
    assert len(whole) == 6
    for ids in (whole[:-1], whole[1:], whole[2:5], whole[:1] + whole[3:]):
        text = toy_vocabulary.decode(ids)
        assert "\ufffd" in text
        assert text == decode_without_specials(toy, ids)


def test_read_vocabulary_refuses_what_is_not_byte_level() -> None:
    tokenizers = pytest.importorskip("tokenizers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    from transformers import PreTrainedTokenizerFast

    raw = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0, "New": 1, "York": 2}, unk_token="[UNK]"))
    raw.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    assert read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=raw)) is None
    metaspace = tokenizers.Tokenizer(tokenizers.models.BPE({"▁": 0, "N": 1, "é": 2}, []))
    metaspace.decoder = tokenizers.decoders.Metaspace()
    assert read_vocabulary(PreTrainedTokenizerFast(tokenizer_object=metaspace)) is None


def test_read_vocabulary_refuses_a_tokenizer_written_in_python() -> None:
    assert read_vocabulary(object()) is None
