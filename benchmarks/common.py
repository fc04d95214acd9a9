"""What all benchmarks share: runs in their own processes, one table, one JSON file."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


@dataclass
class Ran:
    seconds: float
    peak_bytes: int  # of the process and its children
    output: str


def ran(command: Sequence[str], cwd: Path | None = None) -> Ran:
    """Run a command alone; its standard error passes through."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=cwd)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    return Ran(time.perf_counter() - started, usage.ru_maxrss * 1024, output)


def train_timed(trainer: Any, warm_up: int) -> float:
    """Seconds that a transformers Trainer takes, its first `warm_up` steps left out."""
    from transformers import TrainerCallback

    times: list[float] = []

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            times.append(time.perf_counter())

    trainer.add_callback(Clock())
    trainer.train()
    return times[-1] - times[warm_up - 1]


def machine() -> dict[str, Any]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        processor = next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        processor = platform.processor()
    return {
        "processor": processor,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "date": datetime.now(UTC).date().isoformat(),
    }


def publish(name: str, title: str, rows: list[dict[str, Any]]) -> None:
    """Print a table of rows with the same keys and write benchmarks/results/NAME.json."""
    from nextword.terminal import table

    table(title, list(rows[0]), [list(row.values()) for row in rows])
    folder = Path(__file__).parent / "results"
    folder.mkdir(exist_ok=True)
    content = {"title": title, "machine": machine(), "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def python() -> str:
    return sys.executable
