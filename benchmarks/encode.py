"""Encoding speed beside tokenizers' encode_batch, and whether every document has the same ids.

    python benchmarks/encode.py DATA... --tokenizer STORE

Each DATA is a row, and all of them together. Encoders start cold in every round; the best round
counts.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import publish

ROUNDS = 3


def documents(data: str) -> list[str]:
    from nextword.text.cleaning import clean
    from nextword.text.document import ReadStats
    from nextword.text.sources import find_sources, read_documents

    tally = ReadStats()
    return [
        clean(document.text)
        for source in find_sources([data])
        for document in read_documents(source, stats=tally, skip_bad=True)
    ]


def compare(name: str, texts: list[str], tokenizer: Path) -> dict[str, Any]:
    import tokenizers

    from nextword.tokens.tokenizer import Tokenizer

    size = sum(len(text.encode()) for text in texts) / 1e6
    ours, theirs = float("inf"), float("inf")
    for _ in range(ROUNDS):
        encoder = Tokenizer.load(tokenizer)
        started = time.perf_counter()
        ids, lengths = encoder.encode_batch(texts)
        ours = min(ours, time.perf_counter() - started)
        reference = tokenizers.Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
        reference.encode_special_tokens = True
        started = time.perf_counter()
        encodings = reference.encode_batch(texts, add_special_tokens=False)
        theirs = min(theirs, time.perf_counter() - started)
    pieces = np.split(ids, np.cumsum(lengths)[:-1])
    different = sum(
        not np.array_equal(piece, np.asarray(encoding.ids, np.uint32))
        for piece, encoding in zip(pieces, encodings, strict=True)
    )
    return {
        "": name,
        "MB": size,
        "documents": len(texts),
        "with other ids": different,
        "tokenizers MB/s": size / theirs,
        "nextword MB/s": size / ours,
        "times": theirs / ours,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--tokenizer", type=Path, required=True, help="a store, or a folder")
    given = parser.parse_args()
    inside = given.tokenizer / "tokenizer"
    folder = inside if inside.is_dir() else given.tokenizer
    corpora = {Path(data).name: documents(data) for data in given.data}
    if len(corpora) > 1:
        corpora["all"] = [text for texts in corpora.values() for text in texts]
    rows = [compare(name, texts, folder) for name, texts in corpora.items()]
    publish("encode", "Encoding", rows)


if __name__ == "__main__":
    main()
