"""The error tree: every mistake a user can make has a class here, and nothing else is caught by the command line.

::

    MbtError                 one clear line, exit code 2
    ├── RecipeError          a recipe that cannot be used; carries all problems, one a line
    ├── DataError            a question file, trace file or run folder with wrong content
    ├── TeacherError         the teacher cannot be reached, refuses, or answers what cannot be used
    ├── ModelError           a model, tokenizer, adapter or library that does not fit the recipe
    └── RunError             a run folder that is in use, or belongs to another recipe

A message reads `<where>: <what is wrong> (got <value>); <what to do>`, lower case. Anything else that is raised is a
bug of ours: it keeps its traceback and ends with exit code 1.
"""

from __future__ import annotations

from collections.abc import Iterable


class MbtError(Exception):
    """A mistake that the user can mend; `str()` is the whole message."""


class RecipeError(MbtError):
    """A recipe that cannot be used; `problems` holds every one of them, `file:line: ...` each."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        assert self.problems, "a RecipeError needs at least one problem"
        super().__init__("\n".join(self.problems))


class DataError(MbtError):
    """A file whose content is wrong: the message names file, line, value and cure."""


class TeacherError(MbtError):
    """A teacher that cannot be used: the message names the URL, the status and the cure."""


class ModelError(MbtError):
    """A model, tokenizer, adapter or library that does not fit: the message names it and the cure."""


class RunError(MbtError):
    """A run folder that is in use, incomplete for this stage, or made from another recipe."""
