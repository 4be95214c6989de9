"""The tiny student, for the tests of this room."""

import pytest

pytest.importorskip("torch", reason="needs the training stack: pip install 'mbt-lite[train]'")

from toy_student import student as student
from toy_student import tokenizer as tokenizer
