"""What people see while a command works: lines, tables and progress, all on standard error.

On a terminal progress is one live bar with an ETA; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
PLAIN_WIDTH = 110  # columns of a table there
BAR_WIDTH = 120  # columns of a terminal from which on there is room for a bar beside the figures


@lru_cache(maxsize=1)
def console() -> Console:
    """The one console: a live bar stays below the lines only if both are written by the same."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False)


def is_interactive() -> bool:
    # While a bar is shown rich has put something of its own in place of sys.stderr.
    return bool(getattr(sys.stderr, "rich_proxied_file", sys.stderr).isatty())


def say(line: str = "", *, style: str | None = None, copied: bool = False) -> None:
    """One line for people; `style` is a rich style such as "bold" or "yellow".

    On a terminal it is broken between words, unless it holds something to be `copied`.
    """
    if is_interactive():
        console().print(line, style=style, soft_wrap=copied)
    else:
        print(line, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    say(f"warning: {line}", style="yellow")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; the first column is left-aligned, numbers are right-aligned.

    Columns without names are facts: a name and a value a line.
    """
    from rich import box
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table

    say(title, style="bold")
    rows = [[_cell(value) for value in row] for row in rows]
    # A narrow terminal takes the room between columns, then breaks their names, but no number.
    least = [max(map(cell_len, cells)) for cells in zip(*rows, strict=True)] or [0] * len(columns)
    words = [max(map(cell_len, name.split()), default=0) for name in columns]
    room = (console().width if is_interactive() else PLAIN_WIDTH) - 2 - len(columns)
    wanted = list(map(max, least, words))
    roomy = not any(columns) or sum(wanted) + 2 * len(columns) <= room
    if sum(wanted) > room:
        wanted = [max(4, cells) for cells in least]
    drawn = Table(box=box.SIMPLE_HEAD, show_header=any(columns), padding=(0, 1 if roomy else 0))
    for index, name in enumerate(columns):
        numeric = index > 0 and bool(name) and all(_is_numeric(row[index]) for row in rows)
        justify: Literal["left", "right"] = "right" if numeric else "left"
        width = None if roomy else wanted[index]
        drawn.add_column(name, justify=justify, overflow="fold", width=width)
    for row in rows:
        drawn.add_row(*row)
    if is_interactive():
        console().print(drawn)
        return
    plain = Console(file=io.StringIO(), highlight=False, width=PLAIN_WIDTH, markup=False)
    with plain.capture() as lines:
        plain.print(drawn)
    for line in lines.get().splitlines():
        say(line.rstrip())


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def _is_numeric(cell: str) -> bool:
    return cell in ("–", "") or cell[0].isdigit() or (cell[0] in "+-<" and cell[1:2].isdigit())


def command_name() -> str:
    """Return what a shell finds this command by: `nextword`, or the path it was started by where
    PATH does not lead to it."""
    started = sys.argv[0] if sys.argv else ""
    if Path(started).name != "nextword" or not os.path.isfile(started):  # noqa: PTH113
        return "nextword"
    found = shutil.which("nextword")
    is_found = found is not None and Path(found).samefile(started)
    return "nextword" if is_found else shlex.quote(started)


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def count_of(count: int, noun: str) -> str:
    """Return `1 example`, `2,000 examples`."""
    return f"{count:,} {noun}" + "s" * (count != 1)


def quantity(value: float, unit: str = "") -> str:
    """`1.2 M tokens`, `35 kB`: three significant figures and a decimal prefix."""
    gap = " " if len(unit) > 2 else ""  # words stand apart, symbols do not
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{gap}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()


class Progress:
    """`with Progress("Encoding", total, "B") as bar: bar.advance(n)`; total None when unknown.

    What was `done` before says nothing of the speed. With a `deadline`, a time of the monotonic
    clock, it is the time until then that is left.
    """

    def __init__(
        self,
        label: str,
        total: float | None = None,
        unit: str = "",
        *,
        done: float = 0.0,
        deadline: float | None = None,
    ) -> None:
        self.label, self.total, self.unit, self.deadline = label, total, unit, deadline
        self.before = self.done = done
        self.note = ""
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if is_interactive():
            from rich import progress
            from rich.table import Column

            rest = Column(no_wrap=True, overflow="ellipsis", ratio=1)  # where there is room
            self._bar = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                *([progress.BarColumn(bar_width=24)] if console().width >= BAR_WIDTH else []),
                progress.TaskProgressColumn(),
                progress.TimeRemainingColumn(compact=True)
                if self.deadline is None
                else progress.TextColumn("{task.fields[left]}", markup=False),
                progress.TextColumn("{task.fields[note]}", markup=False, table_column=rest),
                console=console(),
                transient=True,
                expand=True,
            )
            self._task = self._bar.add_task(
                self.label, total=self.total, completed=self.done, note="", left=self._clock()
            )
            self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self.done += amount
        if note is not None:
            self.note = note
        if self._bar is not None:
            self._bar.update(
                self._task,
                total=self.total,
                completed=self.done,
                note=self.note,
                left=self._clock(),
            )
        elif time.monotonic() - self._last_line > PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            say(self._plain_line())

    def _plain_line(self) -> str:
        parts = [f"{self.label}: {quantity(self.done, self.unit)}"]
        if self.total:
            parts.append(f"{self.done / self.total:.0%}, {duration(self._left())} left")
        return ", ".join(parts + ([self.note] if self.note else []))

    def _left(self) -> float:
        """Seconds that are left, of a total or until the deadline."""
        now = time.monotonic()
        if self.deadline is not None:
            return max(0.0, self.deadline - now)
        done = max(self.done - self.before, 1e-9)
        return (now - self._started) * ((self.total or 0.0) - self.done) / done

    def _clock(self) -> str:
        """The time until the deadline as a bar shows it: `04:59`, `1:04:59`."""
        minutes, seconds = divmod(round(self._left()) if self.deadline is not None else 0, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes:02d}:{seconds:02d}"
