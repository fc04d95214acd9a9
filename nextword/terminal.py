"""What people see while a command works: lines, tables and progress, all on standard error.

On a terminal progress is one live bar with an ETA; elsewhere it is a plain line now and then.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from rich.console import Console

PLAIN_INTERVAL = 10.0  # seconds between progress lines where there is no terminal
PLAIN_WIDTH = 110  # columns of a table there


def console() -> Console:
    from rich.console import Console

    return Console(stderr=True, highlight=False, soft_wrap=True)


def is_interactive() -> bool:
    return sys.stderr.isatty()


def say(line: str = "", *, style: str | None = None) -> None:
    """One line for people; `style` is a rich style such as "bold" or "yellow"."""
    if is_interactive():
        console().print(line, style=style, markup=False)
    else:
        print(line, file=sys.stderr, flush=True)


def warn(line: str) -> None:
    say(f"warning: {line}", style="yellow")


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; the first column is left-aligned, numbers are right-aligned.

    Columns without names are facts: a name and a value a line.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    say(title, style="bold")
    drawn = Table(box=box.SIMPLE_HEAD, show_header=any(columns))
    rows = [[_cell(value) for value in row] for row in rows]
    for index, name in enumerate(columns):
        numeric = index > 0 and bool(name) and all(_is_numeric(row[index]) for row in rows)
        drawn.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    if is_interactive():
        Console(stderr=True, highlight=False, markup=False).print(drawn)
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


def duration(seconds: float) -> str:
    """`8 s`, `3 min 20 s`, `2 h 05 min`."""
    seconds = round(seconds)
    if seconds < 60:
        return f"{seconds} s"
    if seconds < 3600:
        return f"{seconds // 60} min {seconds % 60:02d} s"
    return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"


def quantity(value: float, unit: str = "") -> str:
    """`1.2 M tokens`, `35 kB`: three significant figures and a decimal prefix."""
    gap = " " if len(unit) > 2 else ""  # words stand apart, symbols do not
    for factor, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{gap}{unit}".rstrip()
    return f"{value:.3g} {unit}".rstrip()


class Progress:
    """`with Progress("Encoding", total, "B") as bar: bar.advance(n)`; total None when unknown."""

    def __init__(self, label: str, total: float | None = None, unit: str = "") -> None:
        self.label, self.total, self.unit = label, total, unit
        self.done = 0.0
        self.note = ""
        self._started = self._last_line = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Self:
        if is_interactive():
            from rich import progress

            self._bar = progress.Progress(
                progress.TextColumn("{task.description}"),
                progress.BarColumn(),
                progress.TaskProgressColumn(),
                progress.TextColumn("{task.fields[note]}"),
                progress.TimeRemainingColumn(compact=True),
                console=console(),
                transient=True,
            )
            self._task = self._bar.add_task(self.label, total=self.total, note="")
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self.done += amount
        if note is not None:
            self.note = note
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, note=self.note)
        elif time.monotonic() - self._last_line > PLAIN_INTERVAL:
            self._last_line = time.monotonic()
            say(self._plain_line())

    def _plain_line(self) -> str:
        elapsed = time.monotonic() - self._started
        parts = [f"{self.label}: {quantity(self.done, self.unit)}"]
        if self.total:
            remaining = elapsed * (self.total - self.done) / max(self.done, 1e-9)
            parts.append(f"{self.done / self.total:.0%}, {duration(remaining)} left")
        return ", ".join(parts + ([self.note] if self.note else []))
