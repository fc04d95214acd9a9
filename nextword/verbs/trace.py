"""`trace`: where in its training text a run's model may have a text from."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextword.runs.training_text import find_store
from nextword.settings import TraceSettings, with_overrides
from nextword.tokens import passages
from nextword.tokens.source_index import SourceIndex, is_current, open_index
from nextword.tokens.store import Store


def trace(
    run: str | Path, text: str, settings: TraceSettings | None = None, **overrides: Any
) -> dict[str, Any]:
    """Return the longest passages of a text that stand in a run's training text word for word, with
    their places, and the share of the text that does: a JSON object.

    `run` may be fine-tuned, or be a store. The first time, an index is built beside the store.
    Raises UserError where the training text is not known or gone.
    """
    settings = with_overrides(TraceSettings, settings, overrides)
    index, seconds = open_sources(run)
    return find(index, text, settings) | {"built_seconds": seconds}


def open_sources(run: str | Path) -> tuple[SourceIndex, float | None]:
    """Return the index of a run's training text, and how long it took to build where it was not
    there. Raises UserError as `trace`."""
    started, store = time.monotonic(), Store.open(find_store(run))
    built = not is_current(store)
    index = open_index(store)
    return index, round(time.monotonic() - started, 2) if built else None


def find(index: SourceIndex, text: str, settings: TraceSettings) -> dict[str, Any]:
    """Return what of a text stands in the training text, a JSON object."""
    split = index.store.train
    return {
        "store": str(index.store.path),
        "documents": len(split.starts) - 1,
        "tokens": len(split),
    } | asdict(passages.trace(index, text, settings))
