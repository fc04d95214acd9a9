"""Tests of GGUF files share their small models, and keep a cache of their own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextword.hub import stand_ins

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def cache_is_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What stands for GGUF files is not kept beside what people have."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stand_ins.cache_folder.cache_clear()
    yield
    stand_ins.cache_folder.cache_clear()
