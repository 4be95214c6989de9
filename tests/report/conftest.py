from collections.abc import Callable

import made_up_run
import pytest

from mbt_lite.report.contents import Report, Run


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Run]:
    return made_up_run.make_run


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    def make(n: int = 64, text: str | None = None) -> Report:
        return Report((made_up_run.make_run(n, text),))

    return make
