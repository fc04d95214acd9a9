"""`nextword serve`: a model behind OpenAI's API."""

from __future__ import annotations

import argparse

from nextword.cli.options import MODEL, command
from nextword.settings import ServeSettings


@command(ServeSettings, MODEL)
def serve(parsed: argparse.Namespace, settings: ServeSettings) -> None:
    from nextword.serving.server import serve

    serve(parsed.model, settings)
