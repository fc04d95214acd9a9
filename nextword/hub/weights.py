"""Weights read from safetensors files, one or several; nothing else is ever opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.files import read_json
from nextword.hub.config import head_of
from nextword.hub.names import (
    BODY,
    IGNORED,
    LEFT_OUT,
    PREFIX,
    Piece,
    bias_names,
    head_names,
    pieces,
    weight_name,
)
from nextword.hub.tensors import get, locations, numbers_in, opened
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import Writer, writer
from nextword.models.heads import Classifier, SpanFinder, Tagger, draw, headless
from nextword.models.sizes import parameter_count
from nextword.models.transformer import Transformer
from nextword.terminal import warn

DRAWN = (
    "score.",
    "span.",
    "tag.",
    "pooler.",
    "transformer.transform.",
)  # where a checkpoint has none
OLDER = {".gamma": ".weight", ".beta": ".bias"}  # of norms, as BERT's first checkpoints call them
Head = TypeVar("Head", bound=nn.Module)
FLOATS = {"F64", "F32", "F16", "BF16"}


def read_model(directory: Path, config: TransformerConfig) -> Writer:
    """The model that a directory's safetensors hold, in fp32 whatever float type they have.

    Raises UserError, naming file and tensor, for a damaged file, a tensor that is missing, that
    nothing needs, or whose shape or type does not fit. A config that asks for far more than the
    files hold is refused before memory is taken for it.
    """
    where, can = locations(directory), "write" if config.writes else "fill in words"
    for head in (weight_name(config.family, module) for module in ("span", "score", "tag")):
        if head in where:
            what = "finds answers in texts" if head == "qa_outputs.weight" else "classifies texts"
            what = "tags words" if _names_tags(directory) else what
            raise UserError(
                f"{what} and cannot {can}: it has {head!r} where a language model has its head",
                where=directory,
                mend="use `nextword predict`, or the model it was made from",
            )
    _check_size(where, config, directory)
    if config.family == "t5":  # what its config.json says of this is not meant
        config = replace(config, tied=not _has_own_head(where, config))
    elif config.tied and _has_own_head(where, config):
        warn(
            f"{directory}: config.json ties the output head to the embedding, but the weights hold "
            "two that differ: both are used"
        )
        config = replace(config, tied=False)
    model = writer(config, seed=None)
    _fill(model, config, where, directory)
    return model


def begin(
    directory: Path, config: TransformerConfig, head: Callable[[Transformer], Head], seed: int
) -> Head:
    """A head to be trained, on the model that a directory has under another or none.

    What comes before an encoder's scores (a pooler, ModernBERT's transform) is the directory's
    where it has one, else drawn. Raises as read_model.
    """
    if config.decoder_layers:
        raise UserError(
            f"is an encoder–decoder ({config.family}): it writes answers and takes no other head",
            where=directory,
            mend="use --task qa, summarize or translate, or fine-tune an encoder or a decoder",
        )
    where, inner = _headless(locations(directory), config)
    _check_size(where, inner, directory)
    body = Transformer(inner, seed=None)
    if body.transform is not None:
        draw(body.transform, inner.init_std, seed)
    model = head(body)
    _fill(model, inner, where, directory, drawn=DRAWN)
    return model


def read_classifier(directory: Path, config: TransformerConfig) -> Classifier:
    """A classifier with as many outputs as its head has rows. Raises as read_model."""
    return _read_head(directory, config, ("score", "pooler"), "classify", Classifier, "labels")


def read_span_finder(directory: Path, config: TransformerConfig) -> SpanFinder:
    """A model that finds answers. Raises as read_model."""
    return _read_head(directory, config, ("span",), "qa", lambda body, _: SpanFinder(body))


def read_tagger(directory: Path, config: TransformerConfig) -> Tagger:
    """A model that tags words with as many tags as its head has rows. Raises as read_model."""
    return _read_head(directory, config, ("tag",), "tag", Tagger, "tags")


def _read_head(
    directory: Path,
    config: TransformerConfig,
    modules: tuple[str, ...],
    task: str,
    head: Callable[[Transformer, int], Head],
    rows: str | None = None,
) -> Head:
    """A model with a head made of `modules`, the first of which scores; where its number of
    outputs is free, `rows` is what they are."""
    where, score = locations(directory), weight_name(config.family, modules[0])
    shape = _shape_of(where, score, directory, task)
    if rows and (len(shape) != 2 or shape[0] < 1 or shape[1] != config.width):
        raise UserError(
            f"tensor {score!r} has shape {list(shape)}, not [{rows}, {config.width}]",
            where=where[score],
        )
    held, inner = _headless(where, config, *modules)
    _check_size(held, inner, directory)
    model = head(Transformer(inner, seed=None), shape[0] if shape else 0)
    _fill(model, inner, held, directory)
    return model


def _names_tags(directory: Path) -> bool:
    values = read_json(directory / "config.json")
    return head_of(values.get("architectures")) == "tags"


def _headless(
    where: dict[str, Path], config: TransformerConfig, *modules: str
) -> tuple[dict[str, Path], TransformerConfig]:
    """The tensors and the config of the model inside a head, those of the head's `modules` too."""
    inner = headless(config)
    shared = ["transform.dense", "transform.norm"] * inner.transform + ["head"] * config.tied
    kept = head_names(config.family, *shared, *modules) if shared or modules else ()
    left, biases = head_names(config.family), bias_names(config)
    held = {
        name: path
        for name, path in where.items()
        if name not in biases and (name.startswith(kept) or not name.startswith(left))
    }
    return held, inner


def _shape_of(where: dict[str, Path], head: str, directory: Path, task: str) -> tuple[int, ...]:
    if head not in where:
        raise UserError(
            f"is not a model for this: it has no {head!r}",
            where=directory,
            mend=f"make one of it with `nextword finetune --task {task}`",
        )
    with opened(where[head]) as file:
        return tuple(file.get_slice(head).get_shape())


def _check_size(where: dict[str, Path], config: TransformerConfig, directory: Path) -> None:
    asked, held = parameter_count(config), sum(map(numbers_in, sorted(set(where.values()))))
    if asked > 4 * held + 10_000:
        raise UserError(
            f"describes {asked:,} parameters, but the weights beside it are {held:,}",
            where=directory / "config.json",
        )


@torch.no_grad()
def _fill(
    model: nn.Module,
    config: TransformerConfig,
    where: dict[str, Path],
    directory: Path,
    drawn: tuple[str, ...] = (),
) -> None:
    """Every parameter from the tensor that is its own; those `drawn` may have none."""
    parameters = dict(model.named_parameters())
    shapes = {name: tuple(p.shape) for name, p in parameters.items()}
    wanted = {piece.theirs: piece for piece in pieces(config, shapes)}
    found = _match(where, wanted, config, directory, drawn)
    by_file: dict[Path, list[tuple[str, Piece]]] = {}
    for stored, piece in found.items():
        by_file.setdefault(where[stored], []).append((stored, piece))
    for path, members in by_file.items():
        with opened(path) as file:
            for stored, piece in members:
                tensor = _tensor(file, path, stored, piece)
                target = parameters[piece.parameter][piece.rows]
                target.copy_(tensor.t() if piece.transposed else tensor)


def _match(
    where: dict[str, Path],
    wanted: dict[str, Piece],
    config: TransformerConfig,
    directory: Path,
    drawn: tuple[str, ...],
) -> dict[str, Piece]:
    """Stored names and the pieces they hold: each piece once, nothing left over."""
    full, embedding = _full_names(where, config), weight_name(config.family, "embedding")
    head, bias = weight_name(config.family, "head"), bias_names(config)
    found, unexpected = {}, []
    for stored, name in full.items():
        if name in bias[1:]:  # the same once more, or in its place
            if bias[0] not in full.values() and bias[0] in wanted:
                found[stored] = wanted[bias[0]]
        elif name == head and config.tied:  # the embedding once more, or in its place
            if embedding not in full.values():
                found[stored] = wanted[embedding]
        elif name in wanted:
            found[stored] = wanted[name]
        elif not name.endswith(IGNORED) and not name.startswith(LEFT_OUT):
            unexpected.append(stored)
    missing = wanted.keys() - {piece.theirs for piece in found.values()}
    missing -= {name for name in missing if wanted[name].parameter.startswith(drawn)}
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
    heads = head_names(config.family) + bias_names(config)
    stored_prefix = next((p for p in (prefix, BODY) if any(n.startswith(p) for n in where)), "")
    full = {}
    for stored in where:
        name = stored
        for old, new in OLDER.items() if not config.causal else ():
            name = name.removesuffix(old) + new if name.endswith(old) else name
        if name.startswith(stored_prefix) and not name.startswith(heads):
            name = prefix + name.removeprefix(stored_prefix)
        full[stored] = name
    return full


def _has_own_head(where: dict[str, Path], config: TransformerConfig) -> bool:
    """Whether there is an output head that is not the embedding, whatever config.json says."""
    stored = {name: stored for stored, name in _full_names(where, config).items()}
    names = [stored.get(weight_name(config.family, module)) for module in ("embedding", "head")]
    tensors = []
    for name in names:
        if name is None:
            return False
        with opened(where[name]) as file:
            tensors.append(get(file, where[name], name))
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
    return get(file, path, stored)
