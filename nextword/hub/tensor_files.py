"""Files of tensors: safetensors, and tables that say where in other files tensors are.

Only safetensors, GGUF and JSON are ever opened.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextword.errors import UserError

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER = "adapter_config.json"  # in a directory of low-rank updates alone
TABLE = "weights.table.json"  # in a directory that stands for a model kept otherwise
PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zipped or not


def inside(directory: Path, name: str) -> Path:
    """Return the path of a file in a model's directory.

    Raises UserError for a link to a file elsewhere. In the Hub's cache, whose snapshots are links
    to the blobs beside them, both count as one directory.
    """
    path, root = directory / name, directory.resolve()
    target = path.resolve()
    cached = root.parent.name == "snapshots" and target.is_relative_to(root.parents[1] / "blobs")
    if not (target.is_relative_to(root) or cached):
        raise UserError(
            f"is a link to {target}, outside the model's directory",
            where=path,
            mend="copy that file here",
        )
    return path


def count_numbers(path: Path) -> int:
    """Return how many numbers a safetensors file holds."""
    with open_tensors(path) as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def open_tensors(path: Path) -> Any:
    """Open a safetensors file, or what a table says of other files. Raises UserError for a damaged
    one or a pickle in its place."""
    if path.name == TABLE:
        from nextword.hub.tables import open_table

        return open_table(path, open_tensors)
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        # A safetensors file begins with its header's length, 8 bytes of any value, then "{".
        if start.startswith(PICKLE_STARTS) and not start.endswith(b"{"):
            raise pickled(path)
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"is not a whole safetensors file ({error})", where=path) from None


def pickled(path: Path) -> UserError:
    """Return the error for weights that are never opened."""
    return UserError(
        "holds pickled weights, which can run any code when opened, and is never opened here",
        where=path,
        mend="save the model as safetensors: transformers' save_pretrained does",
    )


def read_tensor(file: Any, path: Path, stored: str) -> Tensor:
    """Read one tensor of an open file."""
    try:
        tensor: Tensor = file.get_tensor(stored)
    except (SafetensorError, OSError) as error:
        raise UserError(f"tensor {stored!r} cannot be read ({error})", where=path) from None
    return tensor
