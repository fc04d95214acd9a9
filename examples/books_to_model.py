"""From a folder of text to a model that writes, in Python.

python examples/books_to_model.py my_books/ run 10m
"""

from __future__ import annotations

import sys

import nextword as nw


def main(data: str, run: str, budget: str) -> None:
    nw.pretrain(data, run, budget=budget, resume=True)
    print(nw.report(run))

    measured = nw.evaluate(run)
    low, high = measured.bits_per_byte_interval or (measured.bits_per_byte, measured.bits_per_byte)
    print(f"{measured.bits_per_byte:.3f} bits per byte (95% interval {low:.3f} to {high:.3f})")

    model = nw.load(run)
    for piece in model.stream("It was", temperature=0.8, max_new_tokens=200):
        print(piece, end="", flush=True)
    print()


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: python books_to_model.py DATA RUN BUDGET")
    main(*sys.argv[1:])
