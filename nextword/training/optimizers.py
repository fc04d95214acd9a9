"""What learns, and how it is updated: SGD, AdamW, and Muon for the matrices inside the blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.heads import ModelWithHead
from nextword.models.transformer import Transformer
from nextword.training.owners import is_part, like, local
from nextword.training.plain_optimizers import AdamW
from nextword.training.update_rules import SGD, Muon

COUNTER = "step"  # of updates, which AdamW keeps of each parameter
BODY = "transformer."  # what a Transformer inside a head is called
STACKS = ("encoder.", "decoder.")
MATRICES = ("head.", "transform.", "pooler.", "score.", "span.", "tag.")  # outside the blocks
EMBEDDINGS = ("embedding", "positions", "relative", "types", "embedding_norm")


class Optimizers:
    """One or two optimizers that step, schedule and save as one."""

    def __init__(self, parts: dict[str, torch.optim.Optimizer], parameters: list[Tensor]) -> None:
        """`parameters` are all that learn, in the model's order."""
        self.parts, self.parameters = parts, parameters
        self.updating = False  # in the midst of it, or stopped there by an error
        self._peaks = {
            name: [group["lr"] for group in part.param_groups] for name, part in parts.items()
        }

    def gradients(self) -> list[Tensor]:
        """Return this rank's parts of the gradients that there are, in the model's order."""
        return [local(p.grad) for p in self.parameters if p.grad is not None]

    def step(self, lr_scale: float, skip: Tensor | None = None) -> None:
        """Update every parameter at `lr_scale` of its peak rate, and clear the gradients.

        Where `skip` [bool scalar] is True on the device, nothing is updated.
        """
        self.updating = True
        for name, part in self.parts.items():
            # PyTorch's fused optimizers ask for it as GradScaler tells them.
            part.found_inf = None if skip is None else skip.float()  # type: ignore[attr-defined]
            for group, peak in zip(part.param_groups, self._peaks[name], strict=True):
                group["lr"] = peak * lr_scale
            part.step()
            part.zero_grad(set_to_none=True)
        self.updating = False

    def tensors(self) -> dict[str, Tensor]:
        """All state as named tensors: `muon.12.momentum`, numbered in the parameters' order."""
        return {
            f"{name}.{index}.{key}": torch.as_tensor(value)
            for name, part in self.parts.items()
            for index, state in part.state_dict()["state"].items()
            for key, value in state.items()
        }

    def empty_tensors(self, names: Iterable[str]) -> dict[str, Tensor]:
        """Return zeros of the shape, and on the ranks, of the state of these names."""
        empty = {}
        for key in names:
            name, index, field = key.split(".")
            part = self.parts[name]
            parameter = [p for group in part.param_groups for p in group["params"]][int(index)]
            counts = field == COUNTER
            empty[key] = (
                torch.zeros((), device=parameter.device)
                if counts
                else (torch.zeros_like(parameter, requires_grad=False))
            )
        return empty

    def load_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Take up the state of `tensors`, whole ones or this rank's parts."""
        for name, part in self.parts.items():
            owned = [p for group in part.param_groups for p in group["params"]]
            state: dict[int, dict[str, Tensor]] = {}
            for key, value in tensors.items():
                owner, index, field = key.split(".")
                if owner == name:
                    parameter = None if field == COUNTER else owned[int(index)]
                    if not is_part(value):
                        value = like(value, parameter)
                    state.setdefault(int(index), {})[field] = value
            groups = part.state_dict()["param_groups"]
            part.load_state_dict({"state": state, "param_groups": groups})


@dataclass(frozen=True)
class OptimizerSettings:
    """`learning_rate` is the peak; `betas` are AdamW's, `momentum` is Muon's or SGD's."""

    kind: Literal["muon", "adamw", "sgd"]
    learning_rate: float
    weight_decay: float
    momentum: float
    betas: tuple[float, float]


def build_optimizers(
    model: nn.Module,
    settings: OptimizerSettings,
    dtype: torch.dtype,
    tiles: dict[str, tuple[int, int]],
    rate_shares: dict[str, float] | None = None,
    ranks: int = 1,
) -> Optimizers:
    """Return the optimizers of what a model learns. Weight decay is for matrices inside the blocks
    and heads. `dtype` is what Muon orthogonalises in; weights and states are fp32.

    Muon takes the matrices inside the model's blocks, one group each, and orthogonalises them in
    `tiles` of so many rows and columns where these say so by the Transformer's own names;
    embeddings, norms, biases and heads are AdamW's. `rate_shares` [by parameter name] are shares of
    the learning rate, 1 if not given.
    Of several `ranks` each orthogonalises a part of the matrices.
    """
    members = list(trainable_parameters(model, rate_shares))
    if not members:
        raise UserError("nothing is left to learn", mend="freeze fewer layers")
    parameters = [member.parameter for member in members]
    rate, decay = settings.learning_rate, settings.weight_decay
    if settings.kind == "sgd":
        groups = _groups(members, rate, decay)
        sgd = SGD(groups, rate, settings.momentum)
        return Optimizers({"sgd": sgd}, parameters)
    orthogonal = settings.kind == "muon"
    matrices = [member for member in members if orthogonal and member.matrix]
    rest = [member for member in members if not (orthogonal and member.matrix)]
    parts: dict[str, torch.optim.Optimizer] = {}
    if rest:  # first: its gradients are gone when Muon makes copies
        parts["adamw"] = AdamW(
            _groups(rest, rate, decay),
            lr=rate,
            betas=settings.betas,
            eps=1e-10 if orthogonal else 1e-8,
            fused=True,
        )
    if matrices:
        muon_groups = [
            {"params": [m.parameter], "tile": tiles.get(m.name), "lr": rate * m.share}
            for m in matrices
        ]
        parts["muon"] = Muon(muon_groups, rate, settings.momentum, decay, dtype, ranks)
    return Optimizers(parts, parameters)


def _groups(members: list[TrainableParameter], rate: float, decay: float) -> list[dict[str, Any]]:
    """Groups of equal weight decay and learning rate: what decays first, high rates first.

    Within a group matrices come before heads, as each stands in the model.
    """
    kinds: dict[tuple[bool, float], list[TrainableParameter]] = {}
    for member in sorted(
        members, key=lambda m: (not m.decays, -m.share, m.decays and not m.matrix)
    ):
        kinds.setdefault((member.decays, member.share), []).append(member)
    return [
        {
            "params": [member.parameter for member in group],
            "weight_decay": decay if decays else 0.0,
            "lr": rate * share,
        }
        for (decays, share), group in kinds.items()
    ]


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
