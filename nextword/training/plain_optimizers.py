"""torch's optimizers without its compiler, whose import takes half of a short run's start."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

Method = TypeVar("Method", bound=Callable[..., object])


def _plain(method: Method) -> Method:
    """Return the method itself. torch wraps it in one that first imports torch._dynamo, only to say
    that it is not to be compiled; nothing here compiles an optimizer."""
    inner: Method = getattr(method, "__wrapped__", method)
    return inner


class PlainOptimizer(torch.optim.Optimizer):
    """An optimizer's methods without what is around them."""

    add_param_group = _plain(torch.optim.Optimizer.add_param_group)
    zero_grad = _plain(torch.optim.Optimizer.zero_grad)
    state_dict = _plain(torch.optim.Optimizer.state_dict)
    load_state_dict = _plain(torch.optim.Optimizer.load_state_dict)


class AdamW(PlainOptimizer, torch.optim.AdamW):
    step = torch.no_grad()(_plain(torch.optim.AdamW.step))
