"""What the sections of the GPU check share: where they run, how they time, where figures go."""

from __future__ import annotations

import contextlib
import json
import statistics
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

NO_CUDA = "skipped: no CUDA"
FIGURES = "figures.jsonl"  # in the folder of the results
WARM_UP, REPEATS = 3, 10  # calls


@dataclass
class Section:
    """One section in its own process. Every figure is on the disk as soon as it is known: what
    ends the process loses nothing that was measured before."""

    name: str
    out: Path
    small: bool  # a rehearsal: the sizes of a toy
    seconds: float = 60.0
    wrong: list[str] = field(default_factory=list)  # checks that did not hold
    failed: list[str] = field(default_factory=list)  # parts that raised an error
    began: float = field(default_factory=time.monotonic)

    @property
    def device(self) -> torch.device:
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")

    @property
    def on_gpu(self) -> bool:
        return self.device.type == "cuda"

    @property
    def left(self) -> float:
        """Seconds until this section's limit."""
        return self.seconds - (time.monotonic() - self.began)

    def note(self, name: str, value: Any) -> None:
        """Write a figure to the disk."""
        line = {"section": self.name, "name": name, "value": value}
        with open(self.out / FIGURES, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, default=str) + "\n")

    def check(self, name: str, holds: bool, found: Any) -> None:
        """Note what was found, and whether it is as it has to be."""
        if not holds:
            self.wrong.append(name)
        self.note(name, {"holds": bool(holds), "found": found})

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Run a part of the section: its error is noted, and the other parts go on."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            self.note(name, {"out of memory": str(error).splitlines()[0]})
        except Exception as error:
            self.failed.append(name)
            trace = "".join(traceback.format_exception(error))
            self.note(name, {"error": f"{type(error).__name__}: {error}", "trace": trace[-4000:]})
        finally:
            if self.on_gpu:
                torch.cuda.empty_cache()

    def has_time(self, name: str, needs: float) -> bool:
        """Return whether so many seconds are left; note that a part is skipped where not."""
        if self.left >= needs:
            return True
        self.note(name, f"skipped: {self.left:.0f} s are left, it needs {needs:.0f} s")
        return False

    def synchronize(self) -> None:
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def time(self, work: Callable[[], Any], repeats: int | None = None) -> float:
        """Return the median milliseconds of some calls, after calls that warm up."""
        repeats = repeats or (2 if self.small else REPEATS)
        for _ in range(1 if self.small else WARM_UP):
            work()
        self.synchronize()
        if not self.on_gpu:
            return statistics.median(_milliseconds(work) for _ in range(repeats))
        events = [
            (torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True))
            for _ in range(repeats)
        ]
        for start, end in events:
            start.record()
            work()
            end.record()
        self.synchronize()
        return statistics.median(start.elapsed_time(end) for start, end in events)

    @contextlib.contextmanager
    def peak_memory(self, name: str) -> Iterator[None]:
        """Note the most bytes that tensors held at once within the block."""
        if not self.on_gpu:
            yield
            return
        torch.cuda.reset_peak_memory_stats(self.device)
        yield
        self.note(f"{name}: peak GiB", peak_bytes(self.device) / 2**30)


def peak_bytes(device: torch.device) -> int:
    return int(torch.cuda.max_memory_allocated(device))


def relative_error(found: torch.Tensor, exact: torch.Tensor) -> float:
    """Return the norm of a difference by that of the exact value, both in fp64 on the CPU."""
    exact = exact.detach().double().cpu()
    return float((found.detach().double().cpu() - exact).norm() / exact.norm().clamp(min=1e-30))


def _milliseconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return 1e3 * (time.perf_counter() - started)
