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
from nextword.training.memory import keep_freed

if sys.argv[1] == "kept":
    keep_freed()
for step in range(16):
    if step == 8:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty({size}).fill_(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the C library has no such settings"
)
def test_memory_is_faulted_in_once() -> None:
    script = STEPS.format(size=64 * MEBIBYTE // 4)
    faults = {
        how: int(subprocess.check_output([sys.executable, "-c", script, how]))
        for how in ("kept", "as it is")
    }
    assert faults["kept"] < 200
    assert faults["as it is"] > 8 * 64 * MEBIBYTE // (2 * MEBIBYTE)  # large pages are the fewest
