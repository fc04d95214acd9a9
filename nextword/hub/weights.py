"""Weights in safetensors files, one or several, read and written; nothing else is ever opened."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.names import HEAD, IGNORED, PREFIX, Piece, embedding_name, pieces
from nextword.hub.resolve import inside
from nextword.models.config import TransformerConfig
from nextword.models.sizes import parameter_count
from nextword.models.transformer import Transformer
from nextword.terminal import warn

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle", "*.msgpack", "*.h5")
PICKLE_STARTS = (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")  # zipped or not
SHARD_BYTES = 5_000_000_000
FLOATS = {"F64", "F32", "F16", "BF16"}


def read_model(directory: Path, config: TransformerConfig) -> Transformer:
    """The model that a directory's safetensors hold, in fp32 whatever float type they have.

    Raises UserError, naming file and tensor, for a damaged file, a tensor that is missing, that
    nothing needs, or whose shape or type does not fit. A config that asks for far more than the
    files hold is refused before memory is taken for it.
    """
    where = locations(directory)
    asked, held = parameter_count(config), sum(map(_numbers_in, sorted(set(where.values()))))
    if asked > 4 * held + 10_000:
        raise UserError(
            f"describes {asked:,} parameters, but the weights beside it are {held:,}",
            where=directory / "config.json",
        )
    if config.tied and _has_own_head(where, config):
        warn(
            f"{directory}: config.json ties the output head to the embedding, but the weights hold "
            "two that differ: both are used"
        )
        config = replace(config, tied=False)
    model = Transformer(config, seed=None)
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    wanted = {piece.theirs: piece for piece in pieces(config, shapes)}
    found = _match(where, wanted, config, directory)
    parameters = dict(model.named_parameters())
    by_file: dict[Path, list[tuple[str, Piece]]] = {}
    for stored, piece in found.items():
        by_file.setdefault(where[stored], []).append((stored, piece))
    with torch.no_grad():
        for path, members in by_file.items():
            with opened(path) as file:
                for stored, piece in members:
                    tensor = _tensor(file, path, stored, piece)
                    target = parameters[piece.parameter][piece.rows]
                    target.copy_(tensor.t() if piece.transposed else tensor)
    return model


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


def _numbers_in(path: Path) -> int:
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


def _match(
    where: dict[str, Path], wanted: dict[str, Piece], config: TransformerConfig, directory: Path
) -> dict[str, Piece]:
    """Stored names and the pieces they hold: each piece once, nothing left over."""
    full, embedding = _full_names(where, config), embedding_name(config.family)
    found, unexpected = {}, []
    for stored, name in full.items():
        if name == HEAD and config.tied:  # the embedding once more, or in its place
            if embedding not in full.values():
                found[stored] = wanted[embedding]
        elif name in wanted:
            found[stored] = wanted[name]
        elif not name.endswith(IGNORED):
            unexpected.append(stored)
    missing = wanted.keys() - {piece.theirs for piece in found.values()}
    if missing:
        names = [name for name in wanted if name in missing]
        raise UserError(f"{_listing(names)} missing", where=directory)
    if unexpected:
        raise UserError(
            f"{_listing(unexpected)} not part of a {config.family} model as config.json "
            "describes it",
            where=where[unexpected[0]],
        )
    return found


def _full_names(where: Iterable[str], config: TransformerConfig) -> dict[str, str]:
    """Stored names, each with the name it has where a model is saved with its head."""
    prefix = PREFIX[config.family]
    bare = not any(name.startswith(prefix) for name in where)
    return {name: prefix + name if bare and name != HEAD else name for name in where}


def _has_own_head(where: dict[str, Path], config: TransformerConfig) -> bool:
    """Whether there is an output head that is not the embedding, whatever config.json says."""
    stored = {name: stored for stored, name in _full_names(where, config).items()}
    names = [stored.get(name) for name in (embedding_name(config.family), HEAD)]
    tensors = []
    for name in names:
        if name is None:
            return False
        with opened(where[name]) as file:
            tensors.append(_get(file, where[name], name))
    return not torch.equal(*tensors)


def _listing(names: list[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3])
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"tensor {shown} is" if len(names) == 1 else f"tensors {shown}{more} are"


def _tensor(file: Any, path: Path, stored: str, piece: Piece) -> Tensor:
    header = file.get_slice(stored)
    shape, kind = tuple(header.get_shape()), header.get_dtype()
    if shape != piece.shape:
        raise UserError(
            f"tensor {stored!r} has shape {list(shape)}, config.json says {list(piece.shape)}",
            where=path,
        )
    if kind not in FLOATS:
        raise UserError(f"tensor {stored!r} is of type {kind}, which is no float", where=path)
    return _get(file, path, stored)


def _get(file: Any, path: Path, stored: str) -> Tensor:
    try:
        tensor: Tensor = file.get_tensor(stored)
    except (SafetensorError, OSError) as error:
        raise UserError(f"tensor {stored!r} cannot be read ({error})", where=path) from None
    return tensor


def write_weights(
    directory: Path, model: Transformer, dtype: torch.dtype, shard_bytes: int = SHARD_BYTES
) -> None:
    """Write a model's parameters, in several files with an index if they exceed `shard_bytes`."""
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    shards = list(_shards(pieces(model.config, shapes), dtype.itemsize, shard_bytes))
    parameters = dict(model.named_parameters())
    weight_map, total = {}, 0
    for number, members in enumerate(shards, start=1):
        name = (
            SINGLE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        )
        tensors = {
            piece.theirs: _stored(parameters[piece.parameter], piece, dtype) for piece in members
        }
        save_file(tensors, directory / name, metadata={"format": "pt"})
        weight_map.update(dict.fromkeys(tensors, name))
        total += sum(tensor.nbytes for tensor in tensors.values())
    if len(shards) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": weight_map}
        (directory / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _stored(parameter: Tensor, piece: Piece, dtype: torch.dtype) -> Tensor:
    rows = parameter.detach()[piece.rows].to("cpu", dtype)
    return (rows.t() if piece.transposed else rows).contiguous()


def _shards(members: Iterable[Piece], itemsize: int, limit: int) -> Iterator[list[Piece]]:
    shard: list[Piece] = []
    size = 0
    for piece in members:
        bytes_ = itemsize * int(torch.Size(piece.shape).numel())
        if shard and size + bytes_ > limit:
            yield shard
            shard, size = [], 0
        shard.append(piece)
        size += bytes_
    yield shard
