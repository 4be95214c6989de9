"""The error tree: every mistake a user can make has a class here, and nothing else is caught by the command line.

::

    MbtError                 one clear line, exit code 2
    ├── RecipeError          a recipe that cannot be used; carries all problems, one a line
    ├── DataError            a question file, trace file or run folder with wrong content
    ├── TeacherError         the teacher cannot be reached, refuses, or answers what cannot be used
    ├── ModelError           a model, tokenizer, adapter or library that does not fit the recipe
    └── RunError             a run folder that is in use, or belongs to another recipe

A message reads `<where>: <what is wrong> (got <value>); <what to do>`, lower case. What the machine refuses (a full
disk, a folder without rights) is raised as it comes, and becomes such a line in `machine_line`, with exit code 2 too.
Anything else that is raised is a bug of ours: it keeps its traceback and ends with exit code 1.
"""

from __future__ import annotations

import errno
import os
import re
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


_FULL = "make room on that disk, then run the same command: it goes on"
_RIGHTS = "see to the rights, or choose another place: --out for the run, XDG_CACHE_HOME and HF_HOME for the cache"
_LOCKS = "its file system has no locks: choose another disk with --out"
_CURES = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _RIGHTS),
    **dict.fromkeys((errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP), _LOCKS),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), "too many files are open: raise `ulimit -n`"),
    **dict.fromkeys((errno.EEXIST, errno.ENOTDIR, errno.ENAMETOOLONG), "choose another name"),
}
# What libraries raise in place of an OSError when a file cannot be written whole: torch, safetensors.
_UNWRITTEN = ("inline_container", "PytorchStreamWriter", "No space left on device")
# safetensors, tokenizers and what else is written in Rust
_RUST = re.compile(r"\(os error (\d+)\)")


def is_of_the_machine(error: BaseException) -> bool:
    """Tell whether the machine refused (disk, rights, locks, handles), whoever's code was running."""
    return isinstance(error, OSError) and error.errno in _CURES


def machine_line(error: BaseException) -> str | None:
    """Say in one line what the machine refused, with the cure; None for an error of another kind.

    The one place that turns OSErrors into words, but for those whose reader knows more: a recipe, a question file.
    """
    if isinstance(error, OSError):
        files = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        said = error.strerror or str(error) or type(error).__name__
        cure = _CURES.get(error.errno or 0, "see to that, then run the same command: it goes on")
        return f"{files or 'this machine'}: {said[:1].lower()}{said[1:]} ({type(error).__name__}); {cure}"
    said = (str(error).strip() or type(error).__name__).splitlines()[0]
    number = _RUST.search(said)
    if number is not None and int(number[1]) in _CURES:
        return machine_line(OSError(int(number[1]), os.strerror(int(number[1]))))
    if "Connection closed by peer" in said:
        # gloo's words, in each process that waits for one that ended
        return "another process of this launch ended (connection closed by peer); mend what it says, and run them again"
    if any(sign in said for sign in _UNWRITTEN):
        return f"this machine: a file could not be written whole ({said}); {_FULL}"
    return None
