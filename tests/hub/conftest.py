"""Tests of models as files keep a cache of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nextword.hub import stand_ins


@pytest.fixture(autouse=True)
def cache_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What stands for GGUF files and adapters is not kept beside what people have."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stand_ins.cache_folder.cache_clear()
    yield
    stand_ins.cache_folder.cache_clear()
