"""Encoding speed beside tokenizers' encode_batch, and whether every id is the same.

python benchmarks/encode.py DATA... --store STORE
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import publish

ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", nargs="+")
    parser.add_argument("--store", type=Path, required=True, help="whose tokenizer is used")
    given = parser.parse_args()

    import tokenizers

    from nextword.text.clean import clean
    from nextword.text.document import Tally
    from nextword.text.sources import expand, read
    from nextword.tokens.tokenizer import Tokenizer

    texts = [
        clean(document.text)
        for source in expand(given.data)
        for document in read(source, tally=Tally(), skip_bad=True)
    ]
    size = sum(len(text.encode()) for text in texts) / 1e6
    theirs = tokenizers.Tokenizer.from_file(str(given.store / "tokenizer" / "tokenizer.json"))
    theirs.encode_special_tokens = True
    times: dict[str, float] = {}
    for _ in range(ROUNDS):
        ours = Tokenizer.load(given.store / "tokenizer")  # a cold cache each time
        started = time.perf_counter()
        ids, lengths = ours.encode_batch(texts)
        times["nextword"] = min(times.get("nextword", 1e9), time.perf_counter() - started)
        started = time.perf_counter()
        reference = theirs.encode_batch(texts, add_special_tokens=False)
        times["tokenizers"] = min(times.get("tokenizers", 1e9), time.perf_counter() - started)
    same = [len(encoding.ids) for encoding in reference] == lengths.tolist() and np.array_equal(
        np.concatenate([np.asarray(e.ids, np.uint32) for e in reference]), ids
    )
    rows = [
        {
            "": name,
            "MB/s": size / seconds,
            "times tokenizers": times["tokenizers"] / seconds,
            "documents": len(texts),
            "ids identical": same,
        }
        for name, seconds in times.items()
    ]
    publish("encode", f"Encoding {size:,.1f} MB", rows)


if __name__ == "__main__":
    main()
