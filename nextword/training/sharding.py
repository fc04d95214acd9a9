"""How a model is spread over ranks: whole on each (DDP), within each node (HSDP), over all (FSDP2).

Gradients are averaged over the ranks in the backward pass. Whatever the model computes beside its
loss goes through the root module as well: only there all weights are at hand.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, Literal, TypeGuard, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from nextword.models.blocks import Block
from nextword.models.initialization import initialize_weights
from nextword.models.layers import Embedding
from nextword.training.owners import is_part, like, local
from nextword.training.parallel import Group

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule

Sharding = Literal["none", "node", "all"]
STATE_BYTES = 16  # a parameter: weight, gradient and AdamW's two moments in fp32
ROOM = 0.6  # of a GPU's memory for that; activations take the rest
Result = TypeVar("Result")


class LossModule(nn.Module):
    """A loss as a module, so that DDP and FSDP see one forward pass: a batch in, the sum of its
    losses out; or whatever `work` makes of the model."""

    def __init__(self, model: nn.Module, loss: Callable[[Any, Any], Tensor]) -> None:
        """`loss` takes the model and a batch."""
        super().__init__()
        self.model, self._loss = model, loss

    def forward(self, batch: Any, work: Callable[[Any], Any] | None = None) -> Any:
        return self._loss(self.model, batch) if work is None else work(self.model)


Root = LossModule | DistributedDataParallel


def choose_sharding(asked: Literal["auto"] | Sharding, model: nn.Module, group: Group) -> Sharding:
    """Return how to spread a model: whole on each rank while that fits, else over the ranks of a
    node if that is enough, else over all."""
    if group.size == 1:
        return "none"
    if asked != "auto" or group.device.type != "cuda":
        return "none" if asked == "auto" else asked
    needed = STATE_BYTES * sum(p.numel() for p in model.parameters())
    memory = ROOM * torch.cuda.get_device_properties(group.device).total_memory
    if needed <= memory:
        return "none"
    return "node" if group.node < group.size and needed / group.node <= memory else "all"


def spread(
    model: nn.Module,
    loss: Callable[[Any, Any], Tensor],
    sharding: Sharding,
    group: Group,
    weights: Iterable[tuple[str, Tensor]] = (),
) -> Root:
    """Return the root module of a model, whose parameters are this rank's parts from here on.

    A model without memory, on the device "meta", gets initial `weights` here, of which each rank
    keeps its parts. What learns is to be asked for afterwards: under FSDP2 parameters are others
    than before.
    """
    root = LossModule(model, loss)
    if sharding == "none" and any(parameter.is_meta for parameter in model.parameters()):
        # As to_empty does, without the second that torch's symbolic shapes take to import.
        model._apply(lambda p: torch.empty(p.shape, dtype=p.dtype, device=group.device))
        _initialize(model, weights)
    if group.size == 1 and sharding == "none":
        return root
    for module in model.modules():
        if isinstance(module, Embedding):
            module.sparse = False  # ranks exchange whole gradients
    if sharding == "none":
        devices = [group.device] if group.device.type == "cuda" else None
        return DistributedDataParallel(root, device_ids=devices, gradient_as_bucket_view=True)
    # Late: it takes a second to import.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    nodes = group.size // group.node if sharding == "node" else 1
    names, sizes = ("nodes", "ranks"), (nodes, group.size // nodes)
    mesh = init_device_mesh(group.device.type, sizes, mesh_dim_names=names)
    if nodes == 1:
        mesh = mesh["ranks"]
    dtype = getattr(model, "activation_dtype", torch.float32)
    half = dtype if dtype == torch.bfloat16 else None
    policy = MixedPrecisionPolicy(param_dtype=half, reduce_dtype=torch.float32 if half else None)
    for module in model.modules():
        if isinstance(module, Block):
            fully_shard(module, mesh=mesh, mp_policy=policy)
    fully_shard(root, mesh=mesh, mp_policy=policy)
    if any(parameter.is_meta for parameter in model.parameters()):
        model.to_empty(device=group.device)
        _initialize(model, weights)
    return root


def _initialize(model: nn.Module, weights: Iterable[tuple[str, Tensor]]) -> None:
    initialize_weights(model, weights, like)
    for module in model.modules():
        if isinstance(module, Embedding):
            module.watch_gradient()


@contextlib.contextmanager
def accumulating(root: Root, *, last: bool) -> Iterator[None]:
    """Exchange gradients between models that are copies in a step's last backward pass alone;
    parts of one model are exchanged in each, since no rank has room for all of them."""
    if is_spread(root):
        root.set_requires_all_reduce(last)
        yield
    elif isinstance(root, DistributedDataParallel) and not last:
        with root.no_sync():
            yield
    else:
        yield


def squared_norm(parameters: list[Tensor], group: Group) -> Tensor:
    """Return the squared norm of this rank's parts of the gradients, in fp64, such that the sum
    over all ranks is that of the whole gradient."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return torch.zeros((), dtype=group.exact, device=group.device)
    norms = torch.stack(torch._foreach_norm([local(gradient) for gradient in gradients]))
    norm = torch.linalg.vector_norm(norms)
    return norm.to(group.exact).square() / _copies(gradients[0], group)


def _copies(tensor: Tensor, group: Group) -> int:
    """How many ranks hold the same part of a tensor."""
    if not is_part(tensor):
        return group.size
    sizes = zip(tensor.placements, tensor.device_mesh.shape, strict=True)
    return math.prod(size for placed, size in sizes if placed.is_replicate())


def with_weights(root: Root, work: Callable[[Any], Result]) -> Result:
    """Return what `work` makes of the model, without gradients, while its weights are at hand.

    Under FSDP2 all ranks have to call this, and to run the model equally often.
    """
    with torch.no_grad():
        if is_spread(root):
            try:
                return cast(nn.Module, root)(None, work)
            finally:
                root.reshard()  # the root keeps its weights for a backward pass
        whole = root.module if isinstance(root, DistributedDataParallel) else root
        return work(whole.model)


def is_spread(module: nn.Module) -> TypeGuard[FSDPModule]:
    """Return whether ranks hold parts of a module's weights."""
    return any(is_part(parameter) for parameter in module.parameters())


@contextlib.contextmanager
def whole_weights(model: nn.Module, *, keep: bool) -> Iterator[None]:
    """Put whole weights, on the CPU, in the place of a model's parts of them while the block runs.

    All ranks have to enter it. Where not `keep`, what was gathered is dropped at once. Nothing is
    moved where the weights are whole anyway; the model cannot run meanwhile.
    """
    places = [
        (module, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and is_part(parameter)
    ]
    gathered: dict[int, nn.Parameter] = {}  # one each: a tied weight stays tied
    held: list[Any] = [parameter for _, _, parameter in places]
    try:
        for (module, name, _), parameter in zip(places, held, strict=True):
            if id(parameter) not in gathered:
                whole: Tensor = parameter.detach().full_tensor()
                kept = whole.cpu() if keep else whole.new_empty(0)
                gathered[id(parameter)] = nn.Parameter(kept, requires_grad=False)
            module._parameters[name] = gathered[id(parameter)]
        yield
    finally:
        for (module, name, _), parameter in zip(places, held, strict=True):
            module._parameters[name] = parameter
