import webbrowser
from collections.abc import Callable
from pathlib import Path

import pytest
from made_up_run import write_run
from typer.testing import CliRunner, Result

from mbt_lite import cli
from mbt_lite.report.contents import Run


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.app, ["report", *map(str, arguments)])


def test_report_compares_runs_in_table_page_and_images(
    tmp_path: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    paths = [write_run(tmp_path / name, make_run(4)) for name in ("one", "other")]
    page = tmp_path / "pages" / "both.html"
    result = invoke(*paths, "--out", page, "--open")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["one", "one", "one"]
    assert lines[-1] == f"report: {page}"
    assert "<title>one, other: mbt-lite report</title>" in page.read_text(encoding="utf-8")
    assert (tmp_path / "pages" / "both-plots" / "accuracy.png").exists()
    assert opened == [page.as_uri()]


def test_report_opens_nothing_unasked(
    tmp_path: Path, make_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webbrowser, "open", pytest.fail)
    monkeypatch.chdir(tmp_path)
    assert invoke(write_run(tmp_path / "one", make_run(2))).exit_code == 0
    assert (tmp_path / "report.html").exists()


def test_report_of_a_folder_that_is_no_run_is_the_user_s_mistake(tmp_path: Path) -> None:
    result = invoke(tmp_path / "nowhere")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.endswith(
        "nowhere: not a run folder (recipe.resolved.json is not there); name the folder that --out named\n"
    )
