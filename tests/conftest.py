"""What every test shares: no network, few threads, and the published text where it is at hand."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"
# Else each run takes as many threads as are fastest at that moment, and rounds in another order.
# Of small matrices a second thread costs more than it gives.
os.environ["OMP_NUM_THREADS"] = "1"

sys.path.insert(0, str(Path(__file__).parent))  # for what tests of several folders share

from support.soak import pytest_collection_modifyitems, pytest_terminal_summary  # noqa: F401

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Published text kept beside the checkout; tests that need it are skipped without it."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"needs published text at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def cache_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What nextword keeps to make or fetch once is not kept beside what people have."""
    from nextword.files import cache_folder

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    cache_folder.cache_clear()
    yield
    cache_folder.cache_clear()


@pytest.fixture(autouse=True)
def network_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    connect = socket.socket.connect

    def local_only(self: socket.socket, address: object) -> None:
        if self.family != socket.AF_UNIX and isinstance(address, tuple):
            host = str(address[0])
            if not (host.startswith("127.") or host in ("localhost", "::1")):
                raise OSError(f"tests run with the network off, but one called {host}")
        return connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", local_only)
