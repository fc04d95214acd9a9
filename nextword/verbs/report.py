"""`report`: a run directory to one self-contained HTML file."""

from __future__ import annotations

from pathlib import Path

from nextword.errors import UserError
from nextword.files import write_atomically
from nextword.reports.html import render
from nextword.runs.record import read_run


def report(run: str | Path, out: str | Path | None = None) -> Path:
    """Write the report of a run, finished or not, and return where it is.

    `out` is a file, or a folder to put report.html in; the run directory when not given. Raises
    UserError where `run` is not a run, or `out` cannot be written.
    """
    run = Path(run)
    target = run if out is None else Path(out)
    html = render(read_run(run))
    if target.is_dir():
        target /= "report.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, html)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=target, mend="choose another --out"
        ) from None
    return target
