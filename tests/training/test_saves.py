"""A save is all or nothing, whatever the disk does at whichever call, and wherever it is killed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that lets the n-th call for the disk fail."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs Linux and a C compiler")
    library = tmp_path_factory.mktemp("faults") / "faults.so"
    source = str(HERE / "faults.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
    return library


def trials(faults: Path, folder: Path, *kind: str) -> int:
    environment = os.environ | {"LD_PRELOAD": str(faults), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, str(HERE / "saving.py"), str(folder), *kind],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr[-3000:]
    return int(json.loads(ended.stdout.splitlines()[-1])["trials"])


@pytest.mark.parametrize("kind", ["faults", "kills"])
def test_the_disk_may_fail_or_the_power_at_every_call_of_a_save(
    faults: Path, tmp_path: Path, kind: str
) -> None:
    assert trials(faults, tmp_path / "run", kind) > 80


def test_a_disk_full_at_any_offset_leaves_the_save_before(faults: Path, tmp_path: Path) -> None:
    assert trials(faults, tmp_path / "run", "full") == 25


@pytest.mark.slow(cases=81)
@pytest.mark.parametrize("kind", ["torn", "faults apart", "kills apart", "torn apart"])
def test_torn_writes_and_systems_that_cannot_swap_names(
    faults: Path, tmp_path: Path, kind: str
) -> None:
    assert trials(faults, tmp_path / "run", *kind.split()) > 80
