"""What is chosen by measurement when an engine starts: linear maps, threads, rows of a step."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.engine.attending import attend_to_slots
from nextword.inference.engine.linears import (
    INT8,
    PACKED,
    UNQUANTIZED,
    Make,
    PlainLinear,
    copied,
    rebuilt,
)
from nextword.inference.engine.lookup import AHEAD
from nextword.models.blocks import Block
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.transformer import Transformer
from nextword.resources import available_cores
from nextword.terminal import count_of
from nextword.tokens.tokenizer import Tokenizer

Quantize = Literal["int8", "auto", "none"]
RACE_ROWS = (1, 8)
RACE_SECONDS, RACE_TURNS = 0.02, 20  # at most, for each candidate and number of rows
WORTH = 1.25  # "auto" quantizes for at least this gain in speed
MOST_DIVERGENCE = 0.02  # nats per token, above which "auto" does not quantize
WORTH_MORE_ROWS = 1.05  # a step has more rows than it needs for at least this gain
COLD_BYTES = 64 * 2**20  # more weights than caches hold, even in int8
PASSES = 4
LEAST_ROWS = (2, 3, 4, 5, 8)
PROBED_ROWS = (9, 17, 33, 48, 64)
INTEGERS = ("fbgemm", "onednn")  # kinds of linear maps that add integers
TEXT = (
    "It was late when the last train left the station, and nobody had come to meet her. "
    "She counted her money twice: 14.50 in coins, no more. 天黑以后,他沿着河边慢慢走回家去。"
)


@dataclass(frozen=True)
class Setup:
    """What was chosen. `kind` names the linear maps. A step has at least `least_rows` rows: from
    there on a row's bits do not depend on their number (None: they always do; unless `exact` nobody
    looked). A step with guesses takes as long as `lookup_cost` steps without. `divergence` is the
    mean KL divergence of quantized from unquantized predictions, in nats per token."""

    kind: str
    quantized: bool
    threads: int
    least_rows: int | None = 1
    exact: bool = False
    lookup_cost: float = math.inf
    divergence: float | None = None

    @property
    def products(self) -> str:
        """How products are computed."""
        told = f"{'int8' if self.quantized else 'unquantized'} ({self.kind})"
        if self.divergence is not None:
            told += f", predictions {self.divergence:.4f} nats per token from unquantized ones"
        return f"{told}; {count_of(self.threads, 'thread')}"

    def __str__(self) -> str:
        texts = "do not depend" if self.exact else "may depend"
        return f"{self.products}; texts {texts} on who else is served"


@dataclass(frozen=True)
class Served:
    """A model as the engine runs it, and its output head. `model` is the decoder of `sourced`, if
    that is given."""

    model: Transformer
    head: Callable[[Tensor], Tensor]
    setup: Setup
    vocab_size: int
    sourced: EncoderDecoder | None = None

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's scores in fp32, [..., vocabulary]."""
        return self.head(self.model.to_output(hidden)).float()


def as_it_is(model: GenerativeModel, vocab_size: int | None = None) -> Served:
    """Return a model to be served with the weights that it has at each moment, of the first
    `vocab_size` tokens: one that is being trained, or an encoder–decoder."""
    sourced = model if isinstance(model, EncoderDecoder) else None
    decoder = model.decoder if isinstance(model, EncoderDecoder) else model
    size = min(vocab_size or model.config.vocab_size, model.config.vocab_size)

    def head(hidden: Tensor) -> Tensor:
        weight, bias = decoder.output_weight[:size], decoder.vocabulary_bias
        added = None if bias is None else bias[:size].to(hidden.dtype)
        return F.linear(hidden, weight.to(hidden.dtype), added)

    made = copied(decoder)
    attend_to_slots(made)
    return Served(made, head, Setup("plain", False, torch.get_num_threads()), size, sourced)


def prepare(
    model: Transformer, tokenizer: Tokenizer, quantize: Quantize, threads: int | None, exact: bool
) -> Served:
    """Return a model as it is served fastest on this machine, and set the threads of this one.

    Raises UserError where int8 is asked for and cannot be computed here.
    """
    vocab_size = min(tokenizer.vocab_size, model.config.vocab_size)
    if model.embedding.weight.device.type != "cpu":
        if quantize == "int8":
            raise UserError("int8 is for CPUs", mend="leave --quantize out")
        setup = Setup("plain", False, torch.get_num_threads())
        served = Served(*rebuilt(model, PlainLinear, vocab_size), setup, vocab_size)
        attend_to_slots(served.model)
        return served
    # MKL's products, which "plain" is, differ in bits with the rows and threads.
    setup, seconds = _fastest(model, PACKED if exact else UNQUANTIZED, threads)
    if seconds == math.inf:
        setup, seconds = _fastest(model, UNQUANTIZED, threads)
    served = Served(*rebuilt(model, UNQUANTIZED[setup.kind], vocab_size), setup, vocab_size)
    if quantize != "none":
        int8, int8_seconds = _fastest(model, INT8, threads)
        if int8_seconds == math.inf and quantize == "int8":
            raise UserError("PyTorch cannot multiply in int8 here", mend="leave --quantize out")
        if quantize == "int8" or seconds > WORTH * int8_seconds:
            made = _quantized(model, vocab_size, int8)
            kl = divergence(served, made, tokenizer)
            if quantize == "int8" or kl <= MOST_DIVERGENCE:
                setup = replace(int8, quantized=True, divergence=kl)
                served = replace(made, setup=setup)
    torch.set_num_threads(setup.threads)
    least = least_rows(served) if exact else 1
    setup = replace(setup, least_rows=least, exact=exact)
    if least is not None:
        rows, cost = fastest_rows(served, least)
        setup = replace(setup, least_rows=rows, lookup_cost=cost)
    attend_to_slots(served.model)
    return replace(served, setup=setup)


@torch.inference_mode()
def divergence(served: Served, quantized: Served, tokenizer: Tokenizer) -> float:
    """Return the mean KL divergence of predictions after quantizing, on a few sentences."""
    ids = tokenizer.encode(TEXT)[: min(128, served.model.config.context_length)]
    tokens = torch.tensor([ids])
    before, after = (each.logits(each.model(tokens)[0]) for each in (served, quantized))
    before, after = before.log_softmax(-1), after.log_softmax(-1)
    return float((before.exp() * (before - after)).sum(-1).mean())


@torch.inference_mode()
def least_rows(served: Served) -> int | None:
    """Return the number of rows from which on the bits of a row's products depend neither on the
    number of rows nor on its place among them; None where there is none.

    All linear maps of a layer and the output head are tried, with rows of numbers like real ones.
    Products of integers are the same from one row on; others may differ in rare numbers there.
    """
    generator = torch.Generator().manual_seed(0)
    first = 1 if served.setup.kind in INTEGERS else LEAST_ROWS[0]
    dtype, least = served.model.activation_dtype, first
    for linear, width in linear_maps(served, 1):
        x = torch.randn(PROBED_ROWS[-1], 1, width, generator=generator).to(dtype)
        whole = linear(x)
        sizes = [1] if first == 1 else []
        sizes += [*LEAST_ROWS, *PROBED_ROWS]
        unlike = [
            size
            for size in sizes
            if not all(torch.equal(linear(x[rows]), whole[rows]) for rows in _places(size))
        ]
        if unlike:
            larger = [size for size in LEAST_ROWS if size > max(unlike)]
            if not larger:
                return None
            least = max(least, larger[0])
    return least


@torch.inference_mode()
def fastest_rows(served: Served, least: int) -> tuple[int, float]:
    """Return how many rows a step has, `least` or more if oneDNN reads weights faster for those,
    and how many times as long a step takes that verifies guesses.

    As in a step, each product finds its weights in memory and not in a cache.
    """
    maps, dtype = linear_maps(served, COLD_BYTES), served.model.activation_dtype
    several = max(least, 1 + AHEAD)
    seconds = {least: math.inf, several: math.inf}
    for rows in [*seconds] * PASSES:
        inputs = {width: torch.ones(rows, 1, width, dtype=dtype) for _, width in maps}
        begin = time.perf_counter()
        for linear, width in maps:
            linear(inputs[width])
        seconds[rows] = min(seconds[rows], time.perf_counter() - begin)
    cost = seconds[several] / seconds[least]
    return (several, 1.0) if cost < 1 / WORTH_MORE_ROWS else (least, cost)


def linear_maps(served: Served, most_bytes: int) -> list[tuple[Callable[[Tensor], Tensor], int]]:
    """Return the linear maps of the last blocks, of about so many bytes but at least of one, and
    the output head, each with the width of what it takes."""
    config = served.model.config
    maps: list[tuple[Callable[[Tensor], Tensor], int]] = []
    size = config.width * (sum(config.qkv_rows) + 3 * config.mlp_width)
    for block in served.model.blocks[-1 - most_bytes // size :]:
        assert isinstance(block, Block)
        maps += [
            (block.attention.qkv, config.width),
            (block.attention.output, config.query_width),
            (block.mlp.input, config.width),
            (block.mlp.output, config.mlp_width),
        ]
    return [*maps, (served.head, config.width)]


def _places(size: int) -> list[slice]:
    """Return a few places that so many of the probed rows may have among them."""
    firsts = {(PROBED_ROWS[-1] - size) * n // 3 for n in range(4)}
    return [slice(first, first + size) for first in sorted(firsts)]


def _quantized(model: Transformer, vocab_size: int, setup: Setup) -> Served:
    made, head = rebuilt(model, INT8[setup.kind], vocab_size)
    made.activation_dtype = torch.float32
    return Served(made, head, setup, vocab_size)


def _fastest(
    model: Transformer, kinds: dict[str, Make], threads: int | None
) -> tuple[Setup, float]:
    """Return the kind of linear maps and the threads with which products of few rows are fastest,
    and their seconds."""
    best, least = Setup(next(iter(kinds)), False, threads or torch.get_num_threads()), math.inf
    block = model.blocks[len(model.blocks) // 2]
    assert isinstance(block, Block)
    widths = (model.config.width, model.config.mlp_width)
    for kind, make in kinds.items():
        dtype = torch.float32 if kind in INT8 else model.activation_dtype
        try:
            maps = [make(each.weight, each.bias) for each in (block.mlp.input, block.mlp.output)]
            for count in (threads,) if threads else _thread_counts():
                torch.set_num_threads(count)
                seconds = sum(
                    _seconds(each, torch.ones(rows, 1, width, dtype=dtype))
                    for rows in RACE_ROWS
                    for each, width in zip(maps, widths, strict=True)
                )
                if seconds < least:
                    best, least = Setup(kind, False, count), seconds
        except (RuntimeError, NotImplementedError, AttributeError):
            continue  # PyTorch was built without it, or the processor lacks it
    return best, least


@torch.inference_mode()
def _seconds(linear: Callable[[Tensor], Tensor], x: Tensor) -> float:
    """Return the shortest time that a product took."""
    linear(x)
    shortest, end = math.inf, time.perf_counter() + RACE_SECONDS
    for _ in range(RACE_TURNS):
        begin = time.perf_counter()
        linear(x)
        done = time.perf_counter()
        shortest = min(shortest, done - begin)
        if done > end:
            break
    return shortest


def _thread_counts() -> list[int]:
    """Return the numbers of threads to try: all that may be used, halves of them, down to one."""
    counts = [min(available_cores(), torch.get_num_threads())]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts
