"""Tests of models as files keep a cache of their own."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def _own_cache(cache_is_elsewhere: None) -> None:
    """For every test here."""
