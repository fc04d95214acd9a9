"""Which parameters learn, and how fast each of them does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.heads import ModelWithHead
from nextword.models.transformer import Transformer

BODY = "transformer."  # what a Transformer inside a head is called
STACKS = ("encoder.", "decoder.")
MATRICES = ("head.", "transform.", "pooler.", "score.", "span.", "tag.")  # outside the blocks
EMBEDDINGS = ("embedding", "positions", "relative", "types", "embedding_norm")


@dataclass(frozen=True)
class TrainableParameter:
    """A parameter that is to be updated. `matrix` is one of a block's, `decays` says whether weight
    decay is for it, `share` is its part of the learning rate."""

    name: str  # as the Transformer itself calls it, wherever it is
    parameter: Tensor
    matrix: bool
    decays: bool
    share: float


def trainable_parameters(
    model: nn.Module, rate_shares: dict[str, float] | None = None
) -> Iterator[TrainableParameter]:
    """The parameters that require gradients. Matrices inside the blocks and heads decay, unlike
    embeddings, norms and biases."""
    for full_name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        name = full_name.removeprefix(BODY)
        place = _within(name)
        matrix = parameter.ndim == 2 and place.startswith("blocks.")
        head = parameter.ndim == 2 and place.startswith(MATRICES)
        share = 1.0 if rate_shares is None else rate_shares[full_name]
        yield TrainableParameter(name, parameter, matrix, matrix or head, share)


def _within(name: str) -> str:
    """A parameter's name inside its Transformer, one of two in an encoder–decoder."""
    stack = next((stack for stack in STACKS if name.startswith(stack)), "")
    return name.removeprefix(stack)


def _transformer(model: GenerativeModel | ModelWithHead) -> Transformer:
    """The one at the bottom, which reads."""
    if isinstance(model, EncoderDecoder):
        return model.encoder
    return model if isinstance(model, Transformer) else model.transformer


def freeze(model: GenerativeModel | ModelWithHead, layers: int) -> None:
    """Leave the lowest `layers` blocks, of an encoder–decoder the encoder's, and the embeddings
    under them, as they are.

    Where the embedding is the output head too, that is left as it is with it. Raises UserError
    where nothing but the heads would be left to learn.
    """
    body = _transformer(model)
    if layers > len(body.blocks) or (layers == len(body.blocks) and body is model):
        raise UserError(f"{layers} layers cannot be frozen: the model has {len(body.blocks)}")
    if layers == 0:
        return
    for module in (*(getattr(body, name) for name in EMBEDDINGS), *body.blocks[:layers]):
        if module is not None:
            module.requires_grad_(False)


def layer_rates(model: GenerativeModel | ModelWithHead, layer_decay: float) -> dict[str, float]:
    """Each parameter's share of the learning rate: 1 for heads, the final norm and the top block,
    `layer_decay` times that of the block above for each other, the embeddings lowest (Howard and
    Ruder 2018, 3.2). Of an encoder–decoder each stack counts from its own top."""
    shares = {}
    for full_name, _ in model.named_parameters():
        layers = len(_transformer(model).blocks)
        if isinstance(model, EncoderDecoder) and full_name.startswith("decoder."):
            layers = len(model.decoder.blocks)
        part, *rest = _within(full_name.removeprefix(BODY)).split(".")
        if part == "blocks":
            shares[full_name] = layer_decay ** (layers - 1 - int(rest[0]))
        else:
            shares[full_name] = layer_decay**layers if part in EMBEDDINGS else 1.0
    return shares
