"""Small models with random weights, and tokenizers, for the tests of GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from nextword.hub.gguf.tokenizer_writing import TextEnds
from nextword.hub.gguf.writing import Quantization, write_gguf
from nextword.models.config import Family, TransformerConfig
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe

TEXT = (
    "It was a bright cold day in April, and the clocks were striking thirteen. "
    "He'd said we'RE 12,345.678 times—“don't!”\n\n  牀前看月光，疑是地上霜。\r\n\tdef f(x): return x\n"  # noqa: E501
)


def tokenizer() -> Tokenizer:
    return train_bpe([TEXT * 20], 400, 100_000)


def transformer(family: Family, **changes: Any) -> Transformer:
    shape: dict[str, Any] = {
        "vocab_size": 416,
        "context_length": 64,
        "layers": 2,
        "width": 64,
        "heads": 4,
        "kv_heads": 4 if family == "gpt2" else 2,
        "head_width": 16,
        "mlp_width": 96,
        "init_std": 0.2,
    }
    if family == "gpt2":  # of which transformers takes these two from no GGUF file
        shape |= {"context_length": 1024, "mlp_width": 4 * 64}
    if family == "qwen3":  # nor the width of heads
        shape["head_width"] = 128
    if family == "smollm3":
        shape |= {"layers": 5, "unrotated_layers": (3,)}
    if family == "gemma3_text":
        shape |= {"layers": 7, "window": 9, "windowed_layers": (0, 1, 2, 3, 4, 6)}
        # transformers never derives this from a file: it has Gemma's 256 always.
        shape |= {"head_width": 256, "init_std": 0.1}
    model = Transformer(TransformerConfig(family=family, **shape | STYLES[family] | changes)).eval()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:  # norms and biases as training leaves them
                parameter += torch.empty(parameter.shape).normal_(0, 0.1, generator=generator)
    return model


def written(
    path: Path, model: Transformer, quantization: Quantization = "f32", ends: TextEnds | None = None
) -> Path:
    own = tokenizer()
    write_gguf(path, model, own, ends or TextEnds(own.end_id, [own.end_id]), quantization)
    return path


def logits(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """Of our models and of transformers'."""
    with torch.no_grad():
        if isinstance(model, Transformer):
            return model.logits(model(ids))
        found: torch.Tensor = model(ids).logits
        return found
