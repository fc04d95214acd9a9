"""`nextword prepare DATA... --out STORE`"""

from __future__ import annotations

import argparse

from nextword.cli.options import parse, print_json
from nextword.settings import PrepareSettings


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "Raw text to a token store: read, clean, de-duplicate, split, tokenize."
    parser.add_argument(
        "data", nargs="*", metavar="DATA", help="files, folders, patterns, hf://owner/dataset"
    )
    parser.add_argument("--out", metavar="STORE", help="where it goes")
    parser.add_argument("--json", action="store_true", help="print the manifest on stdout")
    parsed, settings = parse(parser, PrepareSettings, arguments, needed=("data", "out"))
    from nextword.tokens.prepare import prepare

    store = prepare(parsed.data, parsed.out, settings)
    if parsed.json:
        print_json({"store": parsed.out, **store.manifest})
