"""`nextword export`: a model in another program's format."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from nextword.cli.options import MODEL, Argument, command
from nextword.settings import ExportSettings
from nextword.terminal import table


@command(ExportSettings, MODEL, Argument("--out", "FILE", "file to write, such as my.gguf"))
def export(parsed: argparse.Namespace, settings: ExportSettings) -> dict[str, Any]:
    from nextword.verbs.export import export

    exported = export(parsed.model, parsed.out, settings)
    checked = exported.parity
    facts = [
        ("weights", ", ".join(f"{count} {kind}" for kind, count in exported.types.items())),
        ("read back", f"{checked.texts} texts have the same ids"),
        ("next token's distribution", f"KL {checked.kl:.2g} from the original's (mean)"),
        ("the likeliest token is the same", f"{checked.same_choice:.1%} of {checked.tokens:,}"),
        ("for Ollama", f"ollama create {exported.name} -f {exported.modelfile}"),
        ("for llama.cpp, vLLM, lm-eval", f"see {exported.readme}"),
    ]
    table(f"Written: {exported.path}", ["", ""], facts)
    return dataclasses.asdict(exported)
