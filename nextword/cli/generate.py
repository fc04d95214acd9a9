"""`nextword generate MODEL [PROMPT]`"""

from __future__ import annotations

import argparse
import sys

from nextword.cli import options
from nextword.errors import UserError
from nextword.settings import GenerateSettings


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "Continue a prompt, word by word; without one, begin a new text."
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run, a Hugging Face directory, a Hub name"
    )
    parser.add_argument("prompt", metavar="PROMPT", nargs="?", help="text; - reads standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parsed, settings = options.parse(parser, GenerateSettings, arguments, needed=("model",))
    prompt = standard_input() if parsed.prompt == "-" else parsed.prompt or ""
    suffix = settings.suffix or ""

    from nextword.inference.language_model import load

    model = load(parsed.model, precision=settings.precision)
    if parsed.json:
        completions = model.complete([prompt], settings)
        options.print_json(
            {
                "model": model.name,
                "prompt": prompt,
                **({"suffix": suffix} if suffix else {}),
                "samples": [
                    {"text": one.text, "tokens": one.tokens, "finish": one.finish}
                    for one in completions
                ],
            }
        )
    elif settings.num_samples == 1:
        pieces = model.stream(prompt, settings)
        write(prompt)
        for piece in pieces:
            write(piece)
        write(f"{suffix}\n")
    else:
        for number, one in enumerate(model.complete([prompt], settings), 1):
            write(f"--- {number} of {settings.num_samples}\n{prompt}{one.text}{suffix}\n")


def standard_input() -> str:
    try:
        return sys.stdin.read().removesuffix("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"the prompt is not UTF-8 at byte {error.start}", where="standard input"
        ) from None


def write(text: str) -> None:
    """Text the terminal cannot show is replaced there, and only there."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
    sys.stdout.flush()
