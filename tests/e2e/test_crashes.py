"""A run that is killed or stopped, anywhere and however often, ends as one that never was."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def cases(folder: Path, *arguments: str) -> int:
    """How many kills or signals there were, after each of which all was as it should be."""
    ended = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("crashes.py")), str(folder), *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return int(json.loads(ended.stdout.splitlines()[-1])["cases"])


def test_killed_in_several_kinds_of_work(tmp_path: Path) -> None:
    assert cases(tmp_path, "phases", "4") == 3


def test_a_signal_saves_and_says_how_to_go_on(tmp_path: Path) -> None:
    assert cases(tmp_path, "signals", "4") == 2


@pytest.mark.slow(cases=11)
def test_killed_in_every_kind_of_work(tmp_path: Path) -> None:
    assert cases(tmp_path, "phases", "1") == 11


@pytest.mark.slow(cases=12)
def test_a_signal_in_every_phase(tmp_path: Path) -> None:
    assert cases(tmp_path, "signals", "1") == 12


@pytest.mark.slow(cases=200)
def test_two_hundred_kills_in_chains_of_five(tmp_path: Path) -> None:
    assert cases(tmp_path, "kills", "200", "5") >= 200


@pytest.mark.slow(cases=50)
def test_fifty_kills_inside_saves(tmp_path: Path) -> None:
    assert cases(tmp_path, "saves", "60") >= 50
