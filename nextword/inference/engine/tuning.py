"""What is chosen by measurement when an engine starts: linear maps, threads, rows of a step."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from nextword.errors import UserError
from nextword.inference.engine.attending import attend_to_slots
from nextword.inference.engine.linears import INT8, PACKED, UNQUANTIZED, Make, PlainLinear, rebuilt
from nextword.inference.engine.lookup import AHEAD
from nextword.models.blocks import Block
from nextword.models.transformer import Transformer
from nextword.resources import available_cores
from nextword.tokens.tokenizer import Tokenizer

Quantize = Literal["int8", "auto", "none"]
RACE_ROWS = (1, 8)
RACE_SECONDS = 0.02  # for each candidate and number of rows
WORTH = 1.25  # "auto" quantizes for at least this gain in speed
MOST_DIVERGENCE = 0.02  # nats per token, above which "auto" does not quantize
WORTH_MORE_ROWS = 1.1  # a step has more rows than it needs for at least this gain
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

    def __str__(self) -> str:
        numbers = "int8" if self.quantized else "unquantized"
        if self.divergence is not None:
            numbers += f", {self.divergence:.4f} nats per token from unquantized"
        texts = "do not depend" if self.exact else "may depend"
        threads = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{numbers} ({self.kind}); {threads}; texts {texts} on who else is served"


@dataclass(frozen=True)
class Served:
    """A model as the engine runs it, and its output head."""

    model: Transformer
    head: nn.Module
    setup: Setup

    def logits(self, hidden: Tensor) -> Tensor:
        """Return the vocabulary's scores in fp32, [..., vocabulary]."""
        scores: Tensor = self.head(self.model.to_output(hidden))
        return scores.float()


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
        served = Served(*rebuilt(model, PlainLinear, vocab_size), setup)
        attend_to_slots(served.model)
        return served
    # MKL's products, which "plain" is, differ in bits with the rows and threads.
    setup, seconds = _fastest(model, PACKED if exact else UNQUANTIZED, threads)
    if seconds == math.inf:
        setup, seconds = _fastest(model, UNQUANTIZED, threads)
    served = Served(*rebuilt(model, UNQUANTIZED[setup.kind], vocab_size), setup)
    if quantize != "none":
        int8, int8_seconds = _fastest(model, INT8, threads)
        if int8_seconds == math.inf and quantize == "int8":
            raise UserError("PyTorch cannot multiply in int8 here", mend="leave --quantize out")
        if quantize == "int8" or seconds > WORTH * int8_seconds:
            made = _quantized(model, vocab_size, int8)
            kl = divergence(served, made, tokenizer)
            if quantize == "int8" or kl <= MOST_DIVERGENCE:
                setup = replace(int8, quantized=True, divergence=kl)
                served = Served(made.model, made.head, setup)
    torch.set_num_threads(setup.threads)
    setup = replace(setup, lookup_cost=lookup_cost(served))
    least = least_rows(served) if exact else 1
    setup = replace(setup, least_rows=least and fastest_rows(served, least), exact=exact)
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
    block = served.model.blocks[-1]
    assert isinstance(block, Block)
    first = 1 if served.setup.kind in INTEGERS else LEAST_ROWS[0]
    config, dtype, least = served.model.config, served.model.activation_dtype, first
    for linear, width in (
        (block.attention.qkv, config.width),
        (block.attention.output, config.query_width),
        (block.mlp.input, config.width),
        (block.mlp.output, config.mlp_width),
        (served.head, config.width),
    ):
        x = torch.randn(PROBED_ROWS[-1], 1, width, generator=generator).to(dtype)
        whole = linear(x)
        sizes = [1] if first == 1 else []
        sizes += [*LEAST_ROWS, *PROBED_ROWS]
        unlike = [
            size
            for size in sizes
            if not torch.equal(torch.cat([linear(part) for part in _parts(x, size)]), whole)
        ]
        if unlike:
            larger = [size for size in LEAST_ROWS if size > max(unlike)]
            if not larger:
                return None
            least = max(least, larger[0])
    return least


@torch.inference_mode()
def fastest_rows(served: Served, least: int) -> int:
    """Return the number of rows from `least` on with which products take the least time: oneDNN
    reads weights faster for four rows than for one."""
    block = served.model.blocks[len(served.model.blocks) // 2]
    assert isinstance(block, Block)
    shape, dtype = (1, served.model.config.width), served.model.activation_dtype

    def seconds(rows: int) -> float:
        x = torch.ones(rows, *shape, dtype=dtype)
        return sum(_seconds(each, x) for each in (block.mlp.input, served.head))

    best, shortest = least, seconds(least)
    for rows in LEAST_ROWS:
        if rows > least and (taken := seconds(rows)) < shortest / WORTH_MORE_ROWS:
            best, shortest = rows, taken
    return best


def _parts(x: Tensor, size: int) -> list[Tensor]:
    """Return rows in parts of this size; the last one takes the rest, so that none is smaller."""
    count = len(x) // size
    rest = len(x) - count * size
    parts = list(x[: count * size].split(size))
    if rest:
        parts[-1] = x[(count - 1) * size :]
    return parts


@torch.inference_mode()
def lookup_cost(served: Served) -> float:
    """Return how many times as long the linear maps take for a token and its guesses as for one."""
    block = served.model.blocks[len(served.model.blocks) // 2]
    assert isinstance(block, Block)
    shape, dtype = (1, served.model.config.width), served.model.activation_dtype
    one, several = (
        sum(
            _seconds(each, torch.ones(rows, *shape, dtype=dtype))
            for each in (block.mlp.input, served.head)
        )
        for rows in (1, 1 + AHEAD)
    )
    return several / one


def _quantized(model: Transformer, vocab_size: int, setup: Setup) -> Served:
    made, head = rebuilt(model, INT8[setup.kind], vocab_size)
    made.activation_dtype = torch.float32
    return Served(made, head, setup)


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
def _seconds(linear: nn.Module, x: Tensor) -> float:
    """Return the shortest time that a product took."""
    linear(x)
    shortest, end = math.inf, time.perf_counter() + RACE_SECONDS
    while shortest == math.inf or time.perf_counter() < end:
        begin = time.perf_counter()
        linear(x)
        shortest = min(shortest, time.perf_counter() - begin)
    return shortest


def _thread_counts() -> list[int]:
    """Return the numbers of threads to try: all that may be used, halves of them, down to one."""
    counts = [min(available_cores(), torch.get_num_threads())]
    while counts[-1] > 1:
        counts.append(counts[-1] // 2)
    return counts
