"""Tokenizers by which the kernel is tried against the law; one that is not to be had is skipped with its cure."""

from typing import Any

import agreement
import pytest

from mbt_lite.rewards.vocabulary import Vocabulary, read_vocabulary


@pytest.fixture(scope="session")
def any_tokenizer(request: pytest.FixtureRequest) -> Any:
    """One of agreement.TOKENIZERS, chosen by an indirect parameter."""
    pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    try:
        return agreement.load(request.param)
    except agreement.MissingTokenizerError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def toy() -> Any:
    pytest.importorskip("transformers", reason="needs the training stack: pip install 'mbt-lite[train]'")
    return agreement.load("toy")


@pytest.fixture(scope="session")
def toy_vocabulary(toy: Any) -> Vocabulary:
    vocabulary = read_vocabulary(toy)
    assert vocabulary is not None
    return vocabulary


@pytest.fixture
def cuda() -> Any:
    """The CUDA device; the tests that need one are marked `gpu` and skip without."""
    torch = pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    return torch.device("cuda")
