"""What is freed in one step is there for the next, without asking the system again."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

MEBIBYTE = 1 << 20
STEPS = """
import resource, sys
import torch
from nextword.training.memory import FreedMemory

if sys.argv[1] == "kept":
    FreedMemory()
for step in range(16):
    if step == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty({size}).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
VARIED = """
import random, sys
import torch
from nextword.training.memory import FreedMemory, resident

freed, chance, pinned, most, base = FreedMemory(), random.Random(0), [], 0, resident()
for step in range(300):
    held = []
    for _ in range(64):  # of sizes that no other step has, with a little that stays between them
        held.append(torch.ones(chance.randrange(1 << 14, 1 << 21)))
        pinned.append(torch.ones(64))
    chance.shuffle(held)
    if step == 9:
        usual = resident()
    most = max(most, resident())
    del held
    if sys.argv[1] == "watched":
        freed.watch()
print((most - base) / (usual - base))
"""
CAN = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no such settings"
)


@CAN
def test_holes_that_nothing_fits_into_are_given_back() -> None:
    grown = {
        how: float(subprocess.check_output([sys.executable, "-c", VARIED, how]))
        for how in ("watched", "left alone")
    }
    assert grown["watched"] < grown["left alone"] - 0.3, grown


@CAN
def test_memory_is_faulted_in_once() -> None:
    script = STEPS.format(size=64 * MEBIBYTE // 4)
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", script, how]))
        for how in ("kept", "as it is")
    }
    assert faults["kept"] < 200
    assert faults["as it is"] > 8 * 64 * MEBIBYTE // (2 * MEBIBYTE)  # large pages are the fewest
