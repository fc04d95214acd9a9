"""`nextword compare MODEL_A MODEL_B DATA...`"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nextword.cli import options
from nextword.settings import CompareSettings
from nextword.terminal import say, table, warn

if TYPE_CHECKING:
    from nextword.verbs.compare import Comparison


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Whether one of two models is better at their task, on the same labelled data, or chance "
        "may have parted them."
    )
    parser.add_argument("first", metavar="MODEL_A", nargs="?", help="a run of finetune, or a model")
    parser.add_argument("second", metavar="MODEL_B", nargs="?", help="another one")
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="csv, tsv, jsonl, json, parquet, hf://..."
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    needed = ("first", "second", "data")
    parsed, settings = options.parse(parser, CompareSettings, arguments, needed=needed)

    from nextword.verbs.compare import compare

    comparison = compare(parsed.first, parsed.second, parsed.data, settings)
    show(comparison)
    if parsed.json:
        options.print_json(comparison.to_json())


def show(comparison: Comparison) -> None:
    rows = []
    for name, found in comparison.metrics.items():
        low, high = found.interval
        which = comparison.better(name)
        verdict = "may be chance" if which is None else f"{'AB'[which]} is better"
        ends = f"{low:+.4f} … {high:+.4f}"
        values = (f"{found.first:.4f}", f"{found.second:.4f}", f"{found.difference:+.4f}", ends)
        rows.append((name, *values, f"{found.p:.2g}", verdict))
    title = f"{comparison.task}, {comparison.examples:,} examples"
    table(title, ["", "A", "B", "B − A", "95% interval", "p", ""], rows)
    for letter, model in zip("AB", comparison.models, strict=True):
        say(f"{letter}: {model}")
    for found in comparison.metrics.values():
        if found.discordant is not None:
            alone = f"A alone is right on {found.discordant[0]:,} examples, B alone on"
            say(f"{alone} {found.discordant[1]:,}: {found.test}; else the paired bootstrap")
    if comparison.units < comparison.examples:
        say(
            f"{comparison.units:,} different inputs: examples that share one, as questions about "
            "one text do, are drawn together"
        )
    for remark in comparison.remarks:
        warn(remark)
