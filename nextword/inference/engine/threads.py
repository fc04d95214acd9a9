"""Threads that PyTorch computes with: each thread of the program that uses PyTorch gets its own."""

from __future__ import annotations

import contextlib
import ctypes

OMP_PAUSE_SOFT = 1  # omp.h


def end_helpers() -> None:
    """End the helpers of this thread, so that those of another do not fall asleep.

    Between two products OpenMP's threads spin, and the next one starts at once; but GNU's version
    lets them sleep where there are more threads than cores, even if the others have nothing to do.
    Helpers come back when this thread computes again.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another OpenMP, or none
        ctypes.CDLL(None).omp_pause_resource_all(OMP_PAUSE_SOFT)
