"""One step of training, by nextword and by others: the same shape, the same tokens, AdamW each.

A peer is a function of a size, a type and a batch of tokens that returns its step. What it imports
may be missing: then it raises ImportError, and the benchmark names it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Kind = Literal["fp32", "bf16"]
Step = Callable[[], None]
RATE, BETAS, DECAY, CLIP = 6e-4, (0.9, 0.95), 0.1, 1.0


@dataclass(frozen=True)
class Size:
    """A decoder of `layers` × `width`, and its step of `rows` × `context` tokens."""

    layers: int
    width: int
    heads: int
    vocab_size: int
    rows: int
    context: int

    @property
    def tokens(self) -> int:
        return self.rows * self.context

    def batch(self) -> tuple[Tensor, Tensor]:
        stream = torch.randint(self.vocab_size, (self.rows, self.context + 1))
        return stream[:, :-1].contiguous(), stream[:, 1:].contiguous()


def nextword(size: Size, kind: Kind, family: str = "gpt2", optimizer: str = "adamw") -> Step:
    """nextword's own step, of GPT-2 with AdamW or of its default, Qwen3 with Muon."""
    from nextword.models.sizes import config_for
    from nextword.models.transformer import Transformer
    from nextword.objectives import language_modeling
    from nextword.settings import ModelSettings
    from nextword.tokens.loader import Batch
    from nextword.training.loop import train_step
    from nextword.training.machine import TYPES
    from nextword.training.optimizers import OptimizerSettings, build_optimizers
    from nextword.training.parallel import Group
    from nextword.training.sharding import LossModule

    shape: dict[str, Any] = {"layers": size.layers, "width": size.width, "heads": size.heads}
    settings = ModelSettings(family=family, context_length=size.context, **shape)
    model = Transformer(config_for(settings, size.vocab_size), seed=0)
    model.activation_dtype = TYPES[kind]
    chosen = OptimizerSettings(optimizer, RATE, DECAY, 0.95, BETAS)  # type: ignore[arg-type]
    optimizers = build_optimizers(model, chosen, TYPES[kind], model.tiles(size.tokens))
    module = LossModule(model, language_modeling.loss)

    def step() -> None:
        tokens, targets = size.batch()
        train_step(module, optimizers, [Batch(tokens, targets, None, None, [])], 1.0, CLIP, Group())

    return step


def nextword_default(size: Size, kind: Kind) -> Step:
    return nextword(size, kind, "qwen3", "muon")


def plain_torch(size: Size, kind: Kind) -> Step:
    """What one writes with nothing but torch: its own layers, fused AdamW, autocast for bf16."""
    layer = nn.TransformerEncoderLayer(
        size.width,
        size.heads,
        4 * size.width,
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )
    blocks = nn.TransformerEncoder(layer, size.layers, enable_nested_tensor=False)
    embedding, places = (
        nn.Embedding(n, size.width, dtype=torch.float32) for n in (size.vocab_size, size.context)
    )
    parts = nn.ModuleList([blocks, embedding, places])
    mask = nn.Transformer.generate_square_subsequent_mask(size.context)

    def loss_of(tokens: Tensor, targets: Tensor) -> Tensor:
        x = embedding(tokens) + places.weight
        logits = blocks(x, mask=mask, is_causal=True) @ embedding.weight.t()
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    return _step(size, kind, parts, loss_of)


def nanogpt_model(size: Size) -> nn.Module:
    """nanoGPT's model, from the checkout that NANOGPT names, with its best settings for a CPU."""
    _add_checkout("NANOGPT")
    from model import GPT, GPTConfig

    config = GPTConfig(
        block_size=size.context,
        vocab_size=size.vocab_size,
        n_layer=size.layers,
        n_head=size.heads,
        n_embd=size.width,
        dropout=0.0,
        bias=False,
    )
    model: nn.Module = GPT(config)
    return model


def nanogpt(size: Size, kind: Kind) -> Step:
    model = nanogpt_model(size)
    return _step(size, kind, model, lambda tokens, targets: model(tokens, targets)[1])


def nanochat(size: Size, kind: Kind) -> Step:
    """nanochat's model, from the checkout that NANOCHAT names."""
    _add_checkout("NANOCHAT")
    from nanochat.gpt import GPT, GPTConfig

    config = GPTConfig(
        sequence_len=size.context,
        vocab_size=size.vocab_size,
        n_layer=size.layers,
        n_head=size.heads,
        n_kv_head=size.heads,
        n_embd=size.width,
    )
    model = GPT(config)
    model.init_weights()
    return _step(size, kind, model, lambda tokens, targets: model(tokens, targets))


def gpt2_model(size: Size) -> nn.Module:
    """transformers' GPT-2 without dropout, with torch's own attention."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=size.vocab_size,
        n_positions=size.context,
        n_embd=size.width,
        n_layer=size.layers,
        n_head=size.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        use_cache=False,
    )
    config._attn_implementation = "sdpa"
    model: nn.Module = GPT2LMHeadModel(config)
    return model


def transformers(size: Size, kind: Kind) -> Step:
    """transformers' GPT-2 as its Trainer steps at its best settings: fused AdamW, bf16 autocast;
    without the Trainer's logging and saving."""
    model = gpt2_model(size)

    def loss_of(tokens: Tensor, targets: Tensor) -> Tensor:
        logits = model(input_ids=tokens).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return _step(size, kind, model, loss_of)


def litgpt(size: Size, kind: Kind) -> Step:
    """litgpt's model, of GPT-NeoX's architecture."""
    from litgpt import GPT, Config

    config = Config(
        block_size=size.context,
        vocab_size=size.vocab_size,
        padded_vocab_size=size.vocab_size,
        n_layer=size.layers,
        n_head=size.heads,
        n_embd=size.width,
    )
    model = GPT(config)

    def loss_of(tokens: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(model(tokens).float().flatten(0, 1), targets.flatten())

    return _step(size, kind, model, loss_of)


PEERS: dict[str, Callable[[Size, Kind], Step]] = {
    "nextword": nextword_default,
    "nextword, GPT-2 and AdamW": nextword,
    "nanoGPT": nanogpt,
    "nanochat": nanochat,
    "transformers": transformers,
    "litgpt": litgpt,
    "plain torch": plain_torch,
}


def _add_checkout(variable: str) -> None:
    if not os.environ.get(variable):
        raise ImportError(f"{variable} does not name a checkout")
    sys.path.insert(0, os.environ[variable])


def _step(
    size: Size, kind: Kind, model: nn.Module, loss_of: Callable[[Tensor, Tensor], Tensor]
) -> Step:
    """A usual step: mean loss, backward, clip, AdamW."""
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY, fused=True
    )
    model.train()

    def step() -> None:
        tokens, targets = size.batch()
        half = kind == "bf16"
        with torch.autocast("cpu", torch.bfloat16) if half else contextlib.nullcontext():
            loss = loss_of(tokens, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
