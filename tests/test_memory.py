"""What is freed in one step is there for the next, without asking the system again."""

from __future__ import annotations

import ctypes
import subprocess
import sys

import pytest

STEP = """
import sys
import torch
from nextword.memory import FreedMemory, resident

torch.ones(64)  # what is made once
base = resident()
if sys.argv[1] == "kept":
    freed = FreedMemory()
torch.ones(1 << 24)  # 64 MiB, freed at once
print((resident() - base) >> 20)
"""
HOLES = """
import torch
from nextword import memory
from nextword.memory import WARM, FreedMemory, resident

freed, trims = FreedMemory(), []
give_back, memory.give_back = memory.give_back, lambda: trims.append(give_back())
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
