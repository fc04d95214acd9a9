"""A container's quota counts as much as an affinity; what is freed in one step is there for the
next, without asking the system again."""

from __future__ import annotations

import ctypes
import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nextword import resources
from nextword.resources import available_cores, lasting

STEP = """
import sys
import torch
from nextword.resources import FreedMemory, resident

torch.ones(64)  # what is made once
base = resident()
if sys.argv[1] == "kept":
    freed = FreedMemory()
torch.ones(1 << 24)  # 64 MiB, freed at once
print((resident() - base) >> 20)
"""
HOLES = """
import torch
from nextword import resources
from nextword.resources import WARM, FreedMemory, resident

freed, trims = FreedMemory(), []
give_back, resources.give_back = resources.give_back, lambda: trims.append(give_back())
for step in range(WARM):
    freed.watch()
base, between = resident(), []
for size in range(32):  # 8 MiB each, with a little that stays between them
    held = [torch.ones(1 << 21) for _ in range(size)]
    between.append(torch.ones(64))
    del held
kept = resident()
freed.watch()
given_back, once = resident(), len(trims)
in_use = [torch.ones(1 << 21) for _ in range(64)]
for step in range(5):
    freed.watch()
print((kept - base) >> 20, (given_back - base) >> 20, once, len(trims))
"""
CAN = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no such settings"
)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="a system without affinities")
def test_what_lasts_is_not_looked_through_for_garbage() -> None:
    frozen = gc.get_freeze_count()
    try:
        with lasting():
            assert not gc.isenabled()
            made = [[] for _ in range(100)]  # type: ignore[var-annotated]
        assert gc.isenabled() and gc.get_freeze_count() >= frozen + len(made)
    finally:
        gc.unfreeze()


def test_processors_that_are_not_ours_are_not_counted() -> None:
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, {{{first}}})\n"
    code += "from nextword.resources import available_cores; print(available_cores())"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "1"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("50000 100000", 1),
        ("100000 100000", 1),
        ("150000 100000\n", 2),  # two take turns on one and a half
        ("9000000 100000", 64),
        ("max 100000", 64),
        ("", 64),
        (None, 64),
    ],
)
def test_a_containers_quota_limits_the_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str | None, expected: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(64)), raising=False)
    monkeypatch.setattr(resources, "CGROUP", tmp_path)
    if written is not None:
        (tmp_path / "cpu.max").write_text(written)
    assert available_cores() == expected


@CAN
def test_what_is_free_is_given_back_when_the_process_has_grown() -> None:
    told = subprocess.check_output([sys.executable, "-c", HOLES], text=True)
    kept, given_back, once, trims = map(int, told.split())
    assert kept > 200 and given_back < 50 and once == 1  # mebibytes
    assert trims == 2, "what is in use is not asked for again and again"


@CAN
def test_what_is_freed_is_there_for_the_next_step() -> None:
    held = {
        how: int(subprocess.check_output([sys.executable, "-c", STEP, how]))
        for how in ("kept", "as it is")
    }
    assert held["kept"] > 60 and held["as it is"] < 10, held  # mebibytes
