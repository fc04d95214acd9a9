"""What went wrong without anybody having foreseen it, in one sentence and never a traceback."""

from __future__ import annotations

import errno
import platform
import shlex
import tempfile
import traceback
from pathlib import Path

import nextword
from nextword.errors import UserError
from nextword.files import DISK_FULL

SMALLER = "try a smaller --batch-size, --micro-batch, --context-length or --size"


def explain(error: Exception, arguments: list[str]) -> UserError:
    """A machine that has too little of something; else a bug, whose traceback goes to a file."""
    if _is_out_of_memory(error):
        return UserError("there is not enough memory for this", mend=SMALLER)
    if isinstance(error, OSError) and error.errno in DISK_FULL:
        return UserError(
            "the disk is full",
            where=error.filename,
            mend="make room, then give the same command again (pretrain: with --resume)",
        )
    if isinstance(error, OSError) and error.filename is not None and error.errno:
        return UserError(f"cannot be used ({error.strerror})", where=error.filename)
    last = traceback.extract_tb(error.__traceback__)[-1:]
    place = "".join(f" at {Path(frame.filename).name}:{frame.lineno}" for frame in last)
    brief = " ".join(str(error).split())[:200]
    return UserError(
        f"this is a bug in nextword, not your mistake: {type(error).__name__}{place}: {brief}",
        mend=_details(error, arguments),
    )


def _is_out_of_memory(error: Exception) -> bool:
    """PyTorch's allocators raise RuntimeErrors, on a GPU a kind of their own."""
    said = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "DefaultCPUAllocator" in said)
        or (isinstance(error, OSError) and error.errno == errno.ENOMEM)
    )


def _details(error: Exception, arguments: list[str]) -> str:
    text = "\n".join(
        [
            f"nextword {nextword.__version__}, Python {platform.python_version()}, "
            f"{platform.platform()}",
            "nextword " + shlex.join(arguments),
            "",
            *traceback.format_exception(error),
        ]
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="nextword-", suffix=".txt", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(text)
    except OSError:
        return "please report it with the command that led to it"
    return f"please report it with {file.name}, which tells how it came about"
