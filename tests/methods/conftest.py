"""A byte-level tokenizer and a scorer over it."""

from typing import Any

import pytest
from byte_tokenizer import byte_tokenizer

from mbt_lite.rewards.vocabulary import Vocabulary, read_vocabulary


@pytest.fixture(scope="session")
def toy() -> Any:
    pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    return byte_tokenizer(["we think about the answer", "first we need Rome </think><answer>"], 320)


@pytest.fixture(scope="session")
def toy_vocabulary(toy: Any) -> Vocabulary:
    vocabulary = read_vocabulary(toy)
    assert vocabulary is not None
    return vocabulary
