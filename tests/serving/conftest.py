from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "e2e")]  # for support and small_models


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
