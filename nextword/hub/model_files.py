"""A model's files: where its directory is, and the tensors in its safetensors files.

Only safetensors, GGUF and JSON are ever opened.
"""

from __future__ import annotations

import math
import re
from os import PathLike
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.gguf.reading import is_gguf
from nextword.hub.stand_ins import TABLE, open_table, read_table, stand_in_for_gguf

DOWNLOADED = ["*.safetensors", "*.json", "*.txt", "*.jinja"]
IGNORED_FILES = ["*/*", "consolidated*", "*.onnx*", "training_args*"]
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5")
PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zipped or not


def find_directory(name_or_path: str | PathLike[str]) -> Path:
    """Return the directory that holds a model's config.json and weights.

    It is that of a run, a Hugging Face directory, one that stands for a GGUF file, or a download
    from the Hub where nothing of that name is on this machine; only safetensors, JSON, text and
    chat templates are downloaded. Raises UserError where there is no such model.
    """
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        for directory in (path, path / "model"):
            if (directory / "config.json").is_file():
                return directory
        if (path / "config.yaml").is_file() or (path / "checkpoints").is_dir():
            raise UserError(
                "this run has kept no model yet",
                where=path,
                mend="go on with `nextword pretrain --resume` until its first validation",
            )
        what = "holds no model: neither config.json nor model/config.json is there"
        raise UserError(what, where=path)
    if path.is_file() and is_gguf(path):
        return stand_in_for_gguf(path)
    if path.exists():
        raise UserError("is a file, and neither a model's directory nor GGUF", where=path)
    name = str(name_or_path)
    if HUB_NAME.fullmatch(name) and ".." not in name:
        return _download(name)
    raise UserError("no such directory", where=path)


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


def _download(name: str) -> Path:
    import huggingface_hub
    from huggingface_hub import errors

    try:
        return Path(
            huggingface_hub.snapshot_download(
                name, allow_patterns=DOWNLOADED, ignore_patterns=IGNORED_FILES
            )
        )
    except errors.GatedRepoError:
        what, mend = "asks you to accept its terms", "do so on its page, then `hf auth login`"
    except (errors.RepositoryNotFoundError, errors.HFValidationError):
        what, mend = "is neither a directory here nor a model on the Hub", "check the spelling"
    except (errors.LocalEntryNotFoundError, errors.HfHubHTTPError, OSError):
        what = "is not a directory here, and the Hub cannot be reached"
        mend = "give a directory, or try again with a network"
    raise UserError(what, where=name, mend=mend)


def locate_tensors(directory: Path) -> dict[str, Path]:
    """Return the file that holds each tensor. Raises UserError where files or tensors are missing,
    and for weights of another format."""
    if (table := read_table(directory)) is not None:
        return dict.fromkeys(table["tensors"], directory / TABLE)
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
        present = {file: _tensor_names(inside(directory, file)) for file in files}
        for name, file in weight_map.items():
            if name not in present[file]:
                raise UserError(f"tensor {name!r} is missing", where=directory / file)
        return {name: directory / file for file, names in present.items() for name in names}
    if (directory / SINGLE).is_file():
        return dict.fromkeys(_tensor_names(inside(directory, SINGLE)), directory / SINGLE)
    for pattern in PICKLED:
        for path in sorted(directory.glob(pattern)):
            raise _pickled(path)
    raise UserError(f"holds no weights: {SINGLE} is missing", where=directory)


def _tensor_names(path: Path) -> list[str]:
    with open_tensors(path) as file:
        return list(file.keys())


def count_numbers(path: Path) -> int:
    """Return how many numbers a safetensors file holds."""
    with open_tensors(path) as file:
        return sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118


def open_tensors(path: Path) -> Any:
    """Open a safetensors file, or what a table says of other files. Raises UserError for a damaged
    one or a pickle in its place."""
    if path.name == TABLE:
        return open_table(path)
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


def read_tensor(file: Any, path: Path, stored: str) -> Tensor:
    """Read one tensor of an open file."""
    try:
        tensor: Tensor = file.get_tensor(stored)
    except (SafetensorError, OSError) as error:
        raise UserError(f"tensor {stored!r} cannot be read ({error})", where=path) from None
    return tensor
