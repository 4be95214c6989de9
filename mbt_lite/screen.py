"""Lines on the terminal: with `console`, the one place that prints text of models, servers and files.

Such text is shown, never obeyed: no control character of it reaches the terminal, and what the terminal's encoding
lacks is written as an escape.
"""

from __future__ import annotations

import io
import sys

# C0 but for tab and newline, DEL and C1; what turns the direction of writing; surrogates, which no encoding has.
_HIDDEN = (
    *(code for code in range(0x20) if chr(code) not in "\t\n"),
    *range(0x7F, 0xA0),
    *(0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)),
    *range(0xD800, 0xE000),
)
_SHOWN = {code: f"\\u{code:04x}" for code in _HIDDEN}


def visible(text: str) -> str:
    r"""Write control characters as escapes; tabs and newlines stay.

    >>> visible("red \x1b[31malert")
    'red \\u001b[31malert'
    """
    return text.translate(_SHOWN)


def say(text: object, *, error: bool = False) -> None:
    """Print a line, on standard error if it is one of an error."""
    print(visible(str(text)), file=sys.stderr if error else sys.stdout, flush=True)


def lose_no_run() -> None:
    """Let the standard streams write what their encoding lacks as escapes: a name with an accent ends no run."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
