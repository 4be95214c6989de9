"""Plain markdown that a teacher writes in spite of the prompt, taken off where no word is lost.

Bold and italic type, headings, list marks, marks of a quotation, inline code, rules, a fence around the whole reply.
Tables, code blocks and formulas stay, for the gate to reject: what they mean is in their form.
"""

from __future__ import annotations

import re

_FENCE = re.compile(r"\A\s*```[\w ]*\n(?P<inside>(?:(?!```).)*?)\n\s*```\s*\Z", re.DOTALL)
# kind -> what is found; its group `words` stays. A number opens a list only if it is short: `1950.` is a year.
_MARKS = {
    kind: re.compile(pattern, re.MULTILINE)
    for kind, pattern in {
        "rule": r"^[ \t]*([-*_])(?:[ \t]*\1){2,}[ \t]*$(?P<words>)",
        "heading": r"^[ \t]*#{1,6}[ \t]+(?P<words>.*?)[ \t]*#*[ \t]*$",
        "quotation": r"^[ \t]*>[ \t]*(?P<words>)(?=\S)",
        "list": r"^[ \t]*(?:[-*+•]|\d{1,2}[.)])[ \t]+(?P<words>)(?=\S)",
        "bold": r"\*\*(?=[^\s*])(?P<words>[^\n]*?[^\s*])\*\*",
        "bold_": r"(?<!\w)__(?=\S)(?P<words>[^\n]*?\S)__(?!\w)",
        "italic": r"(?<![\w*])\*(?=[^\s*])(?P<words>[^*\n]*?[^\s*])\*(?![\w*])",
        "italic_": r"(?<!\w)_(?=[^\s_])(?P<words>[^_\n]*?[^\s_])_(?!\w)",
        "code": r"(?<!`)`(?!`)(?P<words>[^`\n]+)`(?!`)",
    }.items()
}


def strip_markdown(text: str) -> tuple[str, dict[str, int]]:
    r"""Take plain markdown off a text; give what is left, and how often each kind stood there.

    >>> strip_markdown("## Plan\n- **Who** runs it?")
    ('Plan\nWho runs it?', {'heading': 1, 'list': 1, 'bold': 1})
    """
    found: dict[str, int] = {}
    for kind, pattern in _MARKS.items():
        text, count = pattern.subn(lambda match: match["words"], text)
        if count:
            name = kind.rstrip("_")
            found[name] = found.get(name, 0) + count
    return text, found


def strip_fence(text: str) -> tuple[str, dict[str, int]]:
    """Take off a fence that stands around the whole text."""
    fence = _FENCE.match(text)
    return (text, {}) if fence is None else (fence["inside"], {"fence": 1})
