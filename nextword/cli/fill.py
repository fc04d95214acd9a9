"""`nextword fill MODEL TEXT`"""

from __future__ import annotations

import argparse
import dataclasses

from nextword.cli import options
from nextword.cli.generate import standard_input, write
from nextword.settings import FillSettings


def run(arguments: list[str], parser: argparse.ArgumentParser) -> None:
    parser.description = "The likeliest words for each [MASK] of a text, from both of its sides."
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="a run, a Hugging Face directory, a Hub name"
    )
    parser.add_argument(
        "text", metavar="TEXT", nargs="?", help="text with [MASK] in it; - reads standard input"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on standard output")
    parsed, settings = options.parse(parser, FillSettings, arguments, needed=("model", "text"))
    text = standard_input() if parsed.text == "-" else parsed.text

    from nextword.inference.masked_model import Candidate, load_masked

    model = load_masked(parsed.model, precision=settings.precision)
    filled = model.fill(text, settings.top_k)
    if parsed.json:
        options.print_json({"model": model.name, "prompt": text} | dataclasses.asdict(filled))
        return
    from rich.cells import cell_len

    def shown(candidate: Candidate) -> str:
        """Its word; of space, what stands for it in Python."""
        return candidate.word or repr(model.tokenizer.decode([candidate.id], skip_special=False))

    write(f"{filled.text}\n")
    width = max(cell_len(shown(candidate)) for gap in filled.gaps for candidate in gap)
    for number, gap in enumerate(filled.gaps, 1):
        write("\n" if len(filled.gaps) == 1 else f"\n{number}\n")
        for candidate in gap:
            word = shown(candidate)
            padding = " " * (width - cell_len(word))
            write(f"  {word}{padding}  {candidate.probability:6.1%}\n")
