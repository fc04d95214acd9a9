"""Pairs of models for the tests of this folder."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pairs import DECODERS, ENCODER_DECODERS, ENCODERS, FAMILIES, Pair, write_pair


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("models")
    return {name: write_pair(name, folder / name.replace(" ", "-")) for name in FAMILIES}


@pytest.fixture(params=FAMILIES)
def pair(request: pytest.FixtureRequest, written: dict[str, Pair]) -> Pair:
    return written[request.param]


@pytest.fixture(params=DECODERS)
def decoder(request: pytest.FixtureRequest, written: dict[str, Pair]) -> Pair:
    return written[request.param]


@pytest.fixture(params=ENCODERS)
def encoder(request: pytest.FixtureRequest, written: dict[str, Pair]) -> Pair:
    return written[request.param]


@pytest.fixture(params=ENCODER_DECODERS)
def encoder_decoder(request: pytest.FixtureRequest, written: dict[str, Pair]) -> Pair:
    return written[request.param]
