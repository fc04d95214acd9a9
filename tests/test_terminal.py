"""What stands on a terminal once a command has written to it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import unicodedata
from pathlib import Path

import pytest

from nextword import terminal
from nextword.terminal import Progress, command_name, table

SIZES = """
from nextword.terminal import table
columns = ["name", "layers", "width", "heads", "kv heads", "with vocabulary", "parameters"]
table("Sizes", columns, [("gpt2-medium", 24, 1024, 16, 16, 50257, "355 M")])
"""
TRAINING = """
import functools, rich.progress
from nextword.terminal import Progress, say
drawn_at_once = functools.partialmethod(rich.progress.Progress.update, refresh=True)
rich.progress.Progress.update = drawn_at_once  # not ten times a second, whatever was said since
note = "step 129/297  loss 4.299 [nats]  2.258 bits/byte  30.6 k tokens/s  24% of matmul peak"
with Progress("Training", 100) as bar:
    for step in range(3):
        bar.advance(20, note)
        say(f"step {step}: validation loss")
        say("  “春色，榮織花生落歸。” " + "and so on and on " * 8)
    END
"""


def written(code: str, width: int, **environment: str) -> str:
    """The bytes that Python code writes to a terminal of some width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"} | environment,
    )
    os.close(theirs)
    found = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux's end of a terminal
            break
        found += part
    os.close(ours)
    assert process.wait() == 0, found.decode()
    return found.decode()


def screen(text: str) -> list[str]:
    """The lines that are left after a cursor's ways up and its erasing are followed."""
    lines, row = [""], 0
    for part in re.findall(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]|[^\x1b\r\n]+", text):
        if part == "\n":
            row += 1
            lines += [""] * (row >= len(lines))
        elif part.endswith("A") and part.startswith("\x1b"):
            row -= int(part[2:-1] or 1)
        elif part == "\x1b[2K":
            lines[row] = ""
        elif not part.startswith("\x1b") and part != "\r":
            lines[row] += part
    return [line.rstrip() for line in lines]


def cells(line: str) -> int:
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


@pytest.mark.parametrize("width", [48, 60, 80, 140])
def test_a_table_breaks_no_number_however_narrow_the_terminal(width: int) -> None:
    lines = screen(written(SIZES, width))
    row = next(line for line in lines if "gpt2-medium" in line)
    assert row.split() == ["gpt2-medium", "24", "1,024", "16", "16", "50,257", "355", "M"]
    assert all(cells(line) <= width for line in lines)


@pytest.mark.parametrize("width", [50, 80, 140])
def test_a_bar_shows_share_and_time_and_is_gone_when_it_ends(width: int) -> None:
    ends = screen(written(TRAINING.replace("END", "import os; os._exit(0)"), width))
    bars = [line for line in ends if line.startswith("Training")]
    assert len(bars) == 1, "bars are left between the lines"
    assert re.search(r"60% +(-|\d)[-:\d]+ +step 129/297", bars[0].replace("━", "").replace("╸", ""))
    assert cells(bars[0]) <= width and ("[nats]" in bars[0] or width < 80)
    assert not any(
        "Training" in line for line in screen(written(TRAINING.replace("END", ""), width))
    )


def test_lines_are_broken_between_words_and_what_is_copied_is_not() -> None:
    code = "from nextword.terminal import say, warn\n"
    words = "one two three four five six seven"
    assert screen(written(f"{code}warn({words!r})", 30)) == [
        "warning: one two three four",
        "five six seven",
        "",
    ]
    assert screen(written(f"{code}say({words!r}, copied=True)", 30)) == [words, ""]


def test_no_color_means_no_color() -> None:
    code = "from nextword.terminal import warn; warn('x')"
    assert "\x1b[33m" in written(code, 80)
    assert "\x1b[3" not in written(code, 80, NO_COLOR="1")


def test_a_table_that_is_piped_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    table("牀前", ["詩", "tokens"], [("月光", 12345), ("x[/bold]", None)])
    text = capsys.readouterr().err
    assert "\x1b" not in text and "12,345" in text and "x[/bold]" in text
    ends = [cells(line.rstrip()) for line in text.splitlines() if "12,345" in line or "–" in line]
    assert len(set(ends)) == 1


class Clock:
    """Stands in for the module `time`."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


def test_steps_of_before_a_resume_say_nothing_of_the_speed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    with Progress("Training", 1000, "steps", done=500) as bar:
        clock.now += 20
        bar.advance(10)
    assert "51%, 16 min 20 s left" in capsys.readouterr().err  # 490 at half a step a second


def test_with_a_deadline_the_time_left_is_the_time_until_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = Clock()
    monkeypatch.setattr(terminal, "time", clock)
    with Progress("Training", 1000, "steps", deadline=clock.now + 300) as bar:
        clock.now += 20
        bar.advance(10)
        clock.now += 500
        bar.advance(10)
    first, late = capsys.readouterr().err.splitlines()
    assert "4 min 40 s left" in first and "0 s left" in late


def test_a_bar_shows_the_time_until_a_deadline() -> None:
    code = TRAINING.replace('"Training", 100', '"Training", 100, deadline=time.monotonic() + 4000')
    ends = screen(written(f"import time{code.replace('END', 'import os; os._exit(0)')}", 140))
    (bar,) = [line for line in ends if line.startswith("Training")]
    assert re.search(r"60% +1:06:\d\d +step 129/297", bar)


def test_a_command_that_path_does_not_lead_to_is_suggested_by_its_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "the bin" / "nextword"
    own.parent.mkdir()
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(own), "pretrain"])
    monkeypatch.setenv("PATH", str(tmp_path))
    assert command_name() == f"'{own}'"
    monkeypatch.setenv("PATH", str(own.parent))
    assert command_name() == "nextword"
    monkeypatch.setattr(sys, "argv", ["pytest"])
    assert command_name() == "nextword"
