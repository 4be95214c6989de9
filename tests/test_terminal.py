import io
import subprocess
import sys

import pytest
from rich.live import Live
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from mbt_lite.console import Screen
from mbt_lite.screen import say, visible

HOSTILE = "a\x1b[2J\x1b]0;owned\x07b\r\x9bc\u202ed [bold]e[/bold] [/tmp] :smile: \ud83d"


def shown(renderable: object, **settings: object) -> str:
    file = io.StringIO()
    Screen(file=file, width=200, **settings).print(renderable)
    return file.getvalue()


def cells(text: str) -> Table:
    table = Table(text)
    table.add_row(text)
    return table


@pytest.mark.parametrize("make", [str, Text, cells], ids=["string", "text", "table"])
@pytest.mark.parametrize("terminal", [False, True])
def test_no_control_character_of_foreign_text_reaches_the_terminal(make, terminal: bool) -> None:
    found = shown(make(HOSTILE), force_terminal=terminal, color_system="truecolor" if terminal else None)
    # rich's own codes are colours and attributes: they end in m
    own = found.replace("\x1b[", "").count("\x1b")
    assert own == 0
    assert "\\u001b[2J\\u001b]0;owned" in found
    assert "[bold]e[/bold] [/tmp] :smile:" in found
    assert not {"\x07", "\r", "\x9b", "\u202e", "\ud83d"} & set(found)


def test_bars_and_live_screens_still_work() -> None:
    file = io.StringIO()
    screen = Screen(file=file, force_terminal=True, width=60)
    with Progress(console=screen) as progress:
        progress.advance(progress.add_task("x", total=1))
    with Live(Text("\x1b[5mblink"), console=screen):
        pass
    assert "\\u001b[5mblink" in file.getvalue()
    assert "\x1b[5m" not in file.getvalue()


def test_visible_keeps_what_is_text() -> None:
    text = "Łódź\t北京\n👩‍🚀 \u00a0"
    assert visible(text) == text


def test_say_shows_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1b[31mb")
    say("c", error=True)
    assert capsys.readouterr() == ("a\\u001b[31mb\n", "c\n")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])
def test_an_encoding_that_lacks_a_letter_loses_no_run(encoding: str) -> None:
    code = """if 1:
        from mbt_lite.console import Screen
        from mbt_lite.screen import lose_no_run, say
        lose_no_run()
        say('Łódź ✓ \\ud83d')
        Screen().print('Łódź ✓')
    """
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": encoding, "PATH": ""}
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(b"\n") == 2
