from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import json, os, time
import torch
from nextword.inference.engine.threads import end_helpers

def threads():
    return len(os.listdir("/proc/self/task"))

torch.set_num_threads(2)
counts = [threads()]
numbers = torch.ones(2**20)
counts.append(threads())
end_helpers()
end = time.monotonic() + 20
while threads() == counts[1] and time.monotonic() < end:
    time.sleep(0.01)
counts.append(threads())
print(json.dumps([counts, float((numbers + numbers).sum())]))
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="no list of threads here")
def test_helpers_are_ended_and_come_back_when_there_is_work() -> None:
    ran = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    counts, total = json.loads(ran.stdout)
    before, busy, after = counts
    if busy == before:
        pytest.skip("PyTorch started no helper")
    assert (busy, after) == (before + 1, before)
    assert total == 2.0 * 2**20
