"""Small corpora made here, and what became of them."""

from __future__ import annotations

import random
from pathlib import Path

from nextword.addresses import upload
from nextword.files import sha256
from nextword.tokens.store import Store

WORDS = ["the", "of", "and", "to", "in", "is", "was", "for", "on", "with", "as", "his", "her"]


def write_books(folder: Path, count: int = 12, characters: int = 3000, seed: int = 0) -> Path:
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        words = [rng.choice(WORDS) + rng.choice("abcdefgh") * 2 for _ in range(characters // 5)]
        lines = [" ".join(words[start : start + 12]) for start in range(0, len(words), 12)]
        (folder / f"book{number:03d}.txt").write_text(f"Book {number}\n" + "\n".join(lines) + "\n")
    return folder


def texts_of(store: Store, name: str) -> list[str]:
    split = getattr(store, name)
    return [
        store.tokenizer.decode(split.tokens[a : b - 1])
        for a, b in zip(split.starts[:-1], split.starts[1:], strict=True)
    ]


def content_of(path: Path) -> dict[str, str]:
    return {str(file.relative_to(path)): sha256(file) for file in path.rglob("*") if file.is_file()}


def put(folder: Path, address: str) -> str:
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            upload(file, f"{address}/{file.relative_to(folder).as_posix()}")
    return address
