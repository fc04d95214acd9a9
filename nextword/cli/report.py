"""`nextword report RUN`"""

from __future__ import annotations

import argparse

from nextword.cli import options
from nextword.settings import ReportSettings
from nextword.terminal import say


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "A run, finished or not, as one self-contained HTML file."
    parser.add_argument("run", metavar="RUN", nargs="?", help="run directory")
    parser.add_argument("--out", metavar="FILE", help="RUN/report.html if not given")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    given, _ = options.parse(parser, ReportSettings, arguments, needed=("run",))

    from nextword.verbs.report import report

    path = report(given.run, given.out)
    say(f"Report: {path}", copied=True)
    if given.json:
        options.print_json({"report": str(path)})
