"""What the heads of a layer attend to from one token of a text."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.inference.inspection.reading import AnyModel, Reading, stack_of
from nextword.inference.inspection.recording import attention_weights
from nextword.inference.inspection.window import Window, window
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.transformer import Transformer

Stack = Literal["decoder", "cross", "encoder"]
DIGITS = 6


def attention(
    model: AnyModel,
    reading: Reading,
    position: int,
    layer: int = -1,
    stack: Stack | None = None,
    *,
    hide: bool = True,
) -> dict[str, Any]:
    """Return what each head of a layer attends to from a token, [heads][tokens].

    Of an encoder–decoder `stack` says which of its three kinds is meant, by default its decoder's;
    a position of its encoder is one of the source. What is not seen has weight 0. Raises UserError
    where there is no such layer, position or stack.
    """
    whole, seen_by = model.transformer, stack_of(model)
    is_pair = isinstance(whole, EncoderDecoder)
    if stack not in (None, *(("decoder", "cross", "encoder") if is_pair else (reading.kind,))):
        raise UserError(
            f"stack {stack!r}: the model has one stack, and attends to no source",
            mend="leave the stack out",
        )
    stack = stack or ("encoder" if reading.kind == "encoder" else "decoder")
    if isinstance(whole, EncoderDecoder) and stack == "encoder":
        reading, seen_by = (
            replace(reading, kind="encoder", pieces=reading.source or []),
            whole.encoder,
        )
        hide = False
    seen = window(model, reading, [position], hide=hide)
    config, cross = seen_by.config, stack == "cross"
    if not -config.layers <= layer < config.layers:
        mend = f"give one from 0 to {config.layers - 1}"
        raise UserError(f"layer {layer}: the model has {config.layers}", mend=mend)
    layer %= config.layers
    weights = _weights(seen, seen_by, layer, cross=cross)
    rows = torch.zeros(len(weights), len(reading.source or []) if cross else len(reading.pieces))
    begin = 0 if cross else seen.begin
    rows[:, begin : begin + weights.shape[1]] = weights.cpu()
    return {
        "layer": layer,
        "stack": stack,
        "query": int(seen.places[0]) + seen.begin,
        "keys": "source_tokens" if is_pair and stack != "decoder" else "tokens",
        "heads": [[round(value, DIGITS) for value in row] for row in rows.tolist()],
        "mean": [round(value, DIGITS) for value in rows.mean(0).tolist()],
        "kv_head": [head * config.kv_heads // config.heads for head in range(config.heads)],
        "window": None if cross else config.window_of(layer),
    }


@torch.inference_mode()
def _weights(seen: Window, seen_by: Transformer, layer: int, *, cross: bool) -> Tensor:
    """Return what the heads of a layer attend to, float32 [heads, keys]."""
    with attention_weights(seen_by, layer, int(seen.places[0]), cross=cross) as record:
        if seen_by is stack_of(seen.model):
            seen.read()
        else:
            seen_by.eval()(seen.ids[None])
    return record.weights
