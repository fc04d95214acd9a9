"""Gathers the source of Python's standard library as text to learn from.

    python examples/python_source.py build/python-source

Every machine with Python has this text, so that a first model needs no download. Tests, installed
packages and generated tables are left out. Files that are there already and the same are not
touched, so that a run that learns from them can go on.
"""

from __future__ import annotations

import sys
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

LARGEST = 12_000_000  # bytes in all
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "encodings", "lib2to3"}


def sources(library: Path) -> Iterator[Path]:
    """The library's own modules, in a stable order."""
    for path in sorted(library.rglob("*.py")):
        inside = path.relative_to(library)
        generated = path.name.startswith("_sysconfigdata")
        if not generated and LEFT_OUT.isdisjoint(inside.parts):
            yield path


def gather(library: Path, folder: Path) -> tuple[int, int]:
    """Copy modules to `folder` as .txt, up to LARGEST bytes; returns (files, bytes)."""
    files = size = 0
    for path in sources(library):
        try:
            with tokenize.open(path) as file:  # decodes as the file itself declares
                content = file.read().encode("utf-8")
        except (SyntaxError, UnicodeDecodeError):
            continue
        if not content or size + len(content) > LARGEST:
            continue
        name = "-".join(path.relative_to(library).parts) + ".txt"
        target = folder / name
        if not target.exists() or target.read_bytes() != content:
            target.write_bytes(content)
        files, size = files + 1, size + len(content)
    return files, size


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python python_source.py FOLDER")
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    files, size = gather(Path(sysconfig.get_paths()["stdlib"]), folder)
    print(f"{files:,} modules of Python's standard library, {size / 1e6:.1f} MB, in {folder}")
