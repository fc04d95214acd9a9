"""`nextword predict MODEL DATA... --out FILE`"""

from __future__ import annotations

import argparse

from nextword.cli import options
from nextword.settings import PredictSettings
from nextword.terminal import say


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "What a fine-tuned model says of new data: labels, amounts, entities or answers."
    )
    parser.add_argument("model", metavar="MODEL", nargs="?", help="a run of finetune, or a model")
    parser.add_argument(
        "data", metavar="DATA", nargs="*", help="csv, tsv, jsonl, json, parquet, hf://..."
    )
    parser.add_argument("--out", metavar="FILE", help="predictions as JSON lines")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    needed = ("model", "data", "out")
    parsed, settings = options.parse(parser, PredictSettings, arguments, needed=needed)

    from nextword.verbs.predict import predict

    predictions = predict(parsed.model, parsed.data, parsed.out, settings)
    say(f"{len(predictions):,} predictions: {parsed.out}")
    if parsed.json:
        options.print_json({"out": parsed.out, "predictions": predictions})
