"""nextword pretrain DATA...|STORE --out RUN"""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path

from nextword.cli.options import parse, print_json
from nextword.errors import UserError
from nextword.settings import PretrainSettings
from nextword.terminal import say


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "Raw text or a token store to a pretrained model, in one run directory."
    parser.add_argument("data", nargs="*", metavar="DATA", help="files, folders, globs, hf://…")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="run directory")
    parser.add_argument("--json", action="store_true", help="print one JSON object at the end")
    parsed, settings = parse(parser, PretrainSettings, arguments, also=("data",))
    data = parsed.data
    if not data and not settings.resume:
        raise UserError("no data was given", mend="nextword pretrain DATA... --out RUN")

    from nextword.reports.report import report
    from nextword.training.pretrain import pretrain

    summary = pretrain(data, parsed.out, settings)
    if int(os.environ.get("RANK", 0)) == 0:
        page = report(parsed.out)
        say(f"Model {parsed.out / 'model'}, report {page}")
        say(f'Try: nextword generate {parsed.out} "Once upon a time"')
        if parsed.json:
            print_json(dataclasses.asdict(summary) | {"report": str(page)})
