from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from httpx._config import DEFAULT_TIMEOUT_CONFIG

TESTS = Path(__file__).parents[1]
# Five seconds are not enough where the machine has other things to do.
DEFAULT_TIMEOUT_CONFIG.read = DEFAULT_TIMEOUT_CONFIG.connect = 300.0
sys.path.insert(0, str(TESTS / "e2e"))  # for small_models


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder with random weights that knows no conversations."""
    from small_models import ours

    return ours(tmp_path_factory.mktemp("serving") / "tiny")


@pytest.fixture(scope="session")
def address(writer: Path) -> Iterator[str]:
    from support.servers import served

    with served(writer) as at:
        yield at


@pytest.fixture(scope="session")
def talker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder with random weights and a chat template."""
    from small_models import ours

    from nextword.tasks.generate.chat_template import CHATML, with_template
    from nextword.tokens.tokenizer import Tokenizer

    folder = ours(tmp_path_factory.mktemp("serving") / "talker")
    with_template(Tokenizer.load(folder), CHATML).save(folder)
    return folder


@pytest.fixture(scope="session")
def talking(talker: Path) -> Iterator[str]:
    from support.servers import served

    with served(talker) as at:
        yield at


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    from support.browser import open_browser

    with open_browser() as opened:
        yield opened


@pytest.fixture(scope="session")
def runs(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small runs; nothing is trained where there is no browser to look at them."""
    from support.runs_to_serve import make_runs

    return make_runs(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="session")
def library(runs: Path) -> Iterator[str]:
    """The address of a server of that folder."""
    from support.runs_to_serve import served_runs

    with served_runs(runs) as at:
        yield at


@pytest.fixture
def open_page(browser: Any, library: str) -> Iterator[Callable[..., Any]]:
    """Opens the page of a model at a view: `open_page("tales", "write")`."""
    from support.browser import visit

    with ExitStack() as stack:

        def opened(model: str, view: str, **options: Any) -> Any:
            page = stack.enter_context(
                visit(browser, f"{library}/?model={model}#{view}", **options)
            )
            page.wait_for_selector("main > *")
            return page

        yield opened
