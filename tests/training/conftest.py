from __future__ import annotations

import random
from pathlib import Path

import pytest

from nextword.settings import PrepareSettings
from nextword.tokens.prepare import prepare

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "that",
    "dog",
    "run",
    "over",
    "my",
    "old",
    "red",
    "house",
    "by",
    "night",
]


def prose(documents: int, words: int, seed: int = 0) -> list[str]:
    """Sentences of a small language, different in every document."""
    draw = random.Random(seed)
    return [
        " ".join(draw.choice(WORDS) for _ in range(draw.randrange(words // 2, words))) + ".\n"
        for _ in range(documents)
    ]


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of many short documents, so that every row packs several."""
    folder = tmp_path_factory.mktemp("text")
    for number, text in enumerate(prose(120, 60)):
        (folder / f"{number:03d}.txt").write_text(text)
    out = tmp_path_factory.mktemp("stores") / "store"
    prepare([folder], out, PrepareSettings(tokenizer="bytes", workers=1, deduplicate="exact"))
    return out
