"""How surprised a model is by each token of a text, in bits: the negative logarithm of the
probability that it gave the token.

A decoder is asked for each token given those before it. An encoder is asked for each hidden in
turn (Salazar et al. 2020): the sum is then no likelihood of the text, but compares texts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.inspection.reading import AnyModel, Reading, context_of, stack_of
from nextword.models.encoder_decoder import EncoderDecoder

SCORED_AT_ONCE = 1 << 24  # scores of the vocabulary held at once
READ_AT_ONCE = 1 << 12  # tokens of an encoder's batch
MOST_HIDDEN = 1024  # tokens, each of which costs an encoder one pass


@dataclass(frozen=True)
class Surprise:
    """Bits and rank of each token, None where nothing stands before it or it is a frame's.

    `bits_per_byte` is per byte of the `text_bytes` that these tokens stand for; None for none.
    Where a text is longer than `context` tokens, each is read with at least `context - stride`
    before it.
    """

    bits: list[float | None]
    ranks: list[int | None]
    total_bits: float
    text_bytes: int
    bits_per_byte: float | None
    perplexity: float | None
    pseudo: bool
    context: int
    stride: int


Scored = Iterator[tuple[range, Tensor, Tensor]]  # tokens, their nats and ranks


def surprise(model: AnyModel, reading: Reading) -> Iterator[Surprise | None]:
    """Yield None after each piece of work, and the surprise last.

    Scores are of the whole vocabulary, as in `evaluate`. Raises UserError for more text than can be
    looked at.
    """
    context = context_of(model)
    stride = max(1, context // 2)
    bits: list[float | None] = [None] * len(reading.pieces)
    ranks: list[int | None] = [None] * len(reading.pieces)
    scored: Scored
    if reading.kind == "encoder":
        scored = _hidden_in_turn(model, reading, context)
    else:
        scored = _given_those_before(model, reading, context, stride)
    for places, nats, order in scored:
        for place, nat, position in zip(places, nats.tolist(), order.tolist(), strict=True):
            if not math.isfinite(nat):
                raise UserError(
                    "the model's scores are not finite numbers",
                    mend="its weights may be damaged; --precision fp32 helps where bf16 overflows",
                )
            bits[place], ranks[place] = nat / math.log(2), position
        yield None
    known = [value for value in bits if value is not None]
    total = math.fsum(known)
    scored_pieces = zip(reading.pieces, bits, strict=True)
    size = sum(len(piece.text.encode()) for piece, value in scored_pieces if value is not None)
    yield Surprise(
        bits=[None if value is None else round(value, 5) for value in bits],
        ranks=ranks,
        total_bits=round(total, 4),
        text_bytes=size,
        bits_per_byte=round(total / size, 6) if size and known else None,
        perplexity=round(2 ** min(total / len(known), 1000), 4) if known else None,
        pseudo=reading.kind == "encoder",
        context=context,
        stride=stride,
    )


@torch.inference_mode()
def _given_those_before(model: AnyModel, reading: Reading, context: int, stride: int) -> Scored:
    """A token that the tokenizer's template added before a text is not scored."""
    ids = torch.tensor(reading.ids, device=model.transformer.embedding.weight.device)
    first = 1
    while first < len(ids) and reading.pieces[first].special and not reading.pieces[first].text:
        first += 1
    states = source_states(model, reading.source_ids)
    done = first
    while done < len(ids):
        # The first window scores all that it reads, later ones the last `stride` tokens.
        stop = min(len(ids), context if done == first else done + stride)
        begin = max(0, stop - context)
        hidden = read(model, ids[begin:stop], states)[done - 1 - begin : stop - 1 - begin]
        yield range(done, stop), *_scores(model, hidden, ids[done:stop])
        done = stop


@torch.inference_mode()
def _hidden_in_turn(model: AnyModel, reading: Reading, context: int) -> Scored:
    ids = torch.tensor(reading.ids, device=model.transformer.embedding.weight.device)
    mask = model.tokenizer.mask_id
    if mask is None:
        raise UserError("the tokenizer has no mask_token", where=model.name)
    require_context(reading, context)
    asked = [n for n, piece in enumerate(reading.pieces) if not piece.special and piece.id != mask]
    if len(asked) > MOST_HIDDEN:
        raise UserError(
            f"the text is {len(asked):,} tokens long, and an encoder is asked for at most "
            f"{MOST_HIDDEN:,} of them one by one",
            mend="give a shorter text",
        )
    rows = max(1, READ_AT_ONCE // max(len(ids), 1))
    for start in range(0, len(asked), rows):
        some = torch.tensor(asked[start : start + rows], device=ids.device)
        lines = torch.arange(len(some), device=ids.device)
        batch = ids.repeat(len(some), 1)
        batch[lines, some] = mask
        hidden = model.transformer.eval()(batch)[lines, some]
        nats, order = _scores(model, hidden, ids[some])
        for place, nat, position in zip(some.tolist(), nats, order, strict=True):
            yield range(place, place + 1), nat[None], position[None]


def _scores(model: AnyModel, hidden: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nats and ranks, [tokens], of ids given their states [tokens, width]."""
    nats, ranks = [], []
    rows = max(1, SCORED_AT_ONCE // model.transformer.config.vocab_size)
    for states, right in zip(hidden.split(rows), ids.split(rows), strict=True):
        log_probs = model.transformer.logits(states).float().log_softmax(-1)
        own = log_probs.gather(1, right[:, None])
        nats.append(-own[:, 0])
        ranks.append((log_probs > own).sum(1) + 1)
    return torch.cat(nats).cpu(), torch.cat(ranks).cpu()


def source_states(model: AnyModel, source_ids: Sequence[int]) -> Tensor | None:
    """Return an encoder–decoder's states of the source, [1, source time, width]; None for other
    models."""
    whole = model.transformer.eval()
    if not isinstance(whole, EncoderDecoder):
        return None
    return whole.encode(torch.tensor([list(source_ids)], device=whole.embedding.weight.device))


def read(model: AnyModel, ids: Tensor, states: Tensor | None) -> Tensor:
    """Return the final hidden states, [tokens, width], of ids [tokens]."""
    stack = stack_of(model).eval()
    hidden: Tensor = stack(ids[None]) if states is None else stack(ids[None], source=states)
    return hidden[0]


def require_context(reading: Reading, context: int) -> None:
    """Raise UserError for a text that an encoder cannot see at once."""
    if len(reading.pieces) > context:
        raise UserError(
            f"the text is {len(reading.pieces):,} tokens long, and the model sees {context:,} "
            "at once",
            mend="give a shorter text",
        )
