"""The safetensors files of a directory: which tensors are where, and reading one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.resolve import inside

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5")
PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zipped or not


def locations(directory: Path) -> dict[str, Path]:
    """Which file holds which tensor."""
    if (directory / INDEX).is_file():
        index = read_json(directory / INDEX)
        weight_map = index.get("weight_map") if isinstance(index, dict) else None
        if not isinstance(weight_map, dict) or not weight_map:
            raise UserError("has no weight_map", where=directory / INDEX)
        for name, file in weight_map.items():
            if not isinstance(file, str) or Path(file).name != file or file in ("", ".."):
                raise UserError(
                    f"tensor {name!r} is said to be in {file!r}, which is not a plain file name",
                    where=directory / INDEX,
                )
            if not file.endswith(".safetensors"):
                raise _pickled(directory / file)
        files = sorted(set(weight_map.values()))
        held = {file: names_in(inside(directory, file)) for file in files}
        for name, file in weight_map.items():
            if name not in held[file]:
                raise UserError(f"tensor {name!r} is missing", where=directory / file)
        return {name: directory / file for file, names in held.items() for name in names}
    if (directory / SINGLE).is_file():
        return dict.fromkeys(names_in(inside(directory, SINGLE)), directory / SINGLE)
    for pattern in PICKLED:
        for path in sorted(directory.glob(pattern)):
            raise _pickled(path)
    raise UserError(f"holds no weights: {SINGLE} is missing", where=directory)


def names_in(path: Path) -> list[str]:
    with opened(path) as file:
        return list(file.keys())


def numbers_in(path: Path) -> int:
    with opened(path) as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def opened(path: Path) -> Any:
    """A safetensors file, its header checked against its length."""
    try:
        with open(path, "rb") as file:
            start = file.read(9)
        # A safetensors file begins with its header's length, 8 bytes of any value, then "{".
        if start.startswith(PICKLE_STARTS) and not start.endswith(b"{"):
            raise _pickled(path)
        return safe_open(path, framework="pt")
    except FileNotFoundError:
        raise UserError("no such file", where=path) from None
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"is not a whole safetensors file ({error})", where=path) from None


def _pickled(path: Path) -> UserError:
    return UserError(
        "holds pickled weights, which can run any code when opened, and is never opened here",
        where=path,
        mend="save the model as safetensors: transformers' save_pretrained does",
    )


def get(file: Any, path: Path, stored: str) -> Tensor:
    """One tensor of an opened file."""
    try:
        tensor: Tensor = file.get_tensor(stored)
    except (SafetensorError, OSError) as error:
        raise UserError(f"tensor {stored!r} cannot be read ({error})", where=path) from None
    return tensor
