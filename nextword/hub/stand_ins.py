"""Directories that stand for models kept otherwise: a GGUF file, or an adapter with its base model.

Such a directory holds config.json, the tokenizer and, for the weights, a table of where they are:
all that opens a model finds what it would find in a Hugging Face directory, and no weights are
copied. It is kept in the cache (~/.cache/nextword), under a name that changes with the files it
stands for.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from nextword.files import cache_folder, put_in_place, read_json, write_atomically, write_json
from nextword.hub.adapter import WEIGHTS, base_of, merge_adapter
from nextword.hub.gguf.reading import read_gguf
from nextword.hub.tensor_files import ADAPTER, TABLE, inside

VERSION = 1  # of what such a directory holds
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")
GENERATION = "generation_config.json"


def stand_in_for_gguf(path: Path) -> Path:
    """Return the directory that stands for a GGUF file. Raises UserError as `read_gguf` does."""
    path = path.resolve()
    directory = _place(path, [path])
    if not (directory / "config.json").is_file():
        model = read_gguf(path)
        table = {"kind": "gguf", "file": str(path), "tensors": model.tensors}
        with _filled(directory) as aside:
            write_json(aside / "config.json", model.config)
            write_json(aside / "generation_config.json", model.generation)
            write_json(aside / "tokenizer_config.json", model.tokenizer_config)
            write_atomically(aside / "tokenizer.json", model.tokenizer)
            write_json(aside / TABLE, table)
    return directory


def stand_in_for_adapter(
    adapter: Path, find_base: Callable[[str], tuple[Path, dict[str, Path]]]
) -> Path:
    """Return the directory that stands for an adapter with its base model.

    `find_base` gives the directory of a model by its name, and the file of each of its tensors.
    Raises UserError for an adapter that is not supported, names no base or does not fit it.
    """
    adapter = adapter.resolve()
    base, files = find_base(base_of(adapter))
    own = [adapter / name for name in (ADAPTER, WEIGHTS) if (adapter / name).is_file()]
    directory = _place(adapter, [*own, base / "config.json", *sorted(set(files.values()))])
    if not (directory / "config.json").is_file():
        config, tensors = merge_adapter(adapter, base, files)
        table = {"kind": "adapter", "adapter": str(adapter / WEIGHTS), "tensors": tensors}
        speaks = adapter if (adapter / "tokenizer.json").is_file() else base
        with _filled(directory) as aside:
            for name in TOKENIZER_FILES:
                if (inside(speaks, name)).is_file():
                    shutil.copyfile(speaks / name, aside / name)
            if (inside(base, GENERATION)).is_file():
                shutil.copyfile(base / GENERATION, aside / GENERATION)
            write_json(aside / "config.json", config)
            write_json(aside / TABLE, table)
    return directory


def read_table(directory: Path) -> dict[str, Any] | None:
    """Return the table of a directory that stands for a model; None for any other directory."""
    path = directory / TABLE
    is_ours = directory.resolve().is_relative_to(cache_folder().resolve())
    return read_json(path) if is_ours and path.is_file() else None


def described(table: dict[str, Any]) -> tuple[int, str, int]:
    """Return how many numbers a table's tensors hold, of what types, and the bytes they take."""
    tensors = table["tensors"].values()
    types = ", ".join(sorted({tensor.get("type", tensor.get("dtype")) for tensor in tensors}))
    numbers = sum(math.prod(tensor["shape"]) for tensor in tensors)
    if table["kind"] == "gguf":
        return numbers, types, sum(tensor["bytes"] for tensor in tensors)
    files = {tensor["file"] for tensor in tensors} | {table["adapter"]}
    return numbers, types, sum(Path(file).stat().st_size for file in files)


@contextlib.contextmanager
def _filled(directory: Path) -> Iterator[Path]:
    """Fill a directory aside and rename it into place. Where another process was faster, its own
    stays; what is left of one that was half deleted is replaced."""
    with tempfile.TemporaryDirectory(dir=directory.parent, ignore_cleanup_errors=True) as folder:
        aside = Path(folder) / "model"
        aside.mkdir()
        yield aside
        try:
            aside.rename(directory)
        except OSError:
            if not (directory / "config.json").is_file():
                put_in_place(aside, directory)


def _place(named: Path, files: Iterable[Path]) -> Path:
    """Return the place in the cache for what these files are now."""
    facts = [str(VERSION)]
    for file in files:
        status = file.stat()
        facts.append(f"{file} {status.st_size} {status.st_mtime_ns}")
    digest = hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
    return cache_folder() / f"{named.name[:80]}-{digest}"
