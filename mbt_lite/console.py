"""rich's console for text that is shown, never obeyed: see `screen`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from mbt_lite.screen import visible


class Screen(Console):
    """rich's console without markup, emoji codes and guessed colours, and with control characters made visible."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **settings})

    def render_str(self, text: str, **settings: Any) -> Text:
        """Make text of a string, before its width is measured."""
        return super().render_str(visible(text), **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Give the segments of a renderable; rich's own control codes are segments of another kind."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else visible(text), style, control)
