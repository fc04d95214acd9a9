"""nextword prepare DATA... --out STORE"""

from __future__ import annotations

import argparse
from pathlib import Path

from nextword.cli.options import parse, print_json
from nextword.errors import UserError
from nextword.settings import PrepareSettings


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "Read, clean, de-duplicate, split, train a tokenizer, encode."
    parser.add_argument("data", nargs="*", metavar="DATA", help="files, folders, globs, hf://…")
    parser.add_argument("--out", type=Path, required=True, metavar="STORE", help="folder to make")
    parser.add_argument("--json", action="store_true", help="print the store's manifest")
    parsed, settings = parse(parser, PrepareSettings, arguments, also=("data",))
    if not parsed.data:
        raise UserError("no data was given", mend="nextword prepare DATA... --out STORE")

    from nextword.tokens.prepare import prepare

    store = prepare(parsed.data, parsed.out, settings)
    if parsed.json:
        print_json(store.manifest)
