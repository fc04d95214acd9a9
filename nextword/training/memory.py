"""How this process holds memory while it trains."""

from __future__ import annotations

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # names of the GNU C library's <malloc.h>
NEVER = -1


def keep_freed() -> None:
    """Have the C library keep what is freed, for as long as this process runs.

    Every step allocates the same large gradients. Given back to the system and asked for anew,
    each of their pages is faulted in and cleared again, which took a quarter of a fine-tuning step
    (docs/performance.md). Does nothing where the C library has no such settings.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(MMAP_MAX, 0)
        mallopt(TRIM_THRESHOLD, NEVER)
