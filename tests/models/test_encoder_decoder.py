from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nextword.models.attention import document_mask, source_mask
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.encoder_decoder import EncoderDecoder
from nextword.models.sizes import STYLES
from tests.models.test_transformer import tokens


def tiny(**changes: object) -> TransformerConfig:
    config = TransformerConfig(
        family="t5",
        vocab_size=97,
        context_length=64,
        layers=2,
        width=48,
        heads=6,
        kv_heads=6,
        head_width=8,
        mlp_width=80,
        init_std=0.2,
        decoder_layers=3,
        **STYLES["t5"],
    )
    return replace(config, **changes)  # type: ignore[arg-type]


def packed(
    model: EncoderDecoder, source: Tensor, read: Tensor, target: Tensor, written: Tensor
) -> Tensor:
    """The hidden states of a target whose tokens are of the documents `written`."""
    states = model.encode(source, mask=document_mask(read))
    seen = source_mask(written, read)
    return model.decode(target, states, mask=document_mask(written), source_mask=seen)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
def test_packed_pairs_never_see_each_other(dtype: torch.dtype, training: bool) -> None:
    model = EncoderDecoder(tiny()).train(training)
    model.activation_dtype = dtype
    source, target = tokens(1, 40), tokens(1, 30)
    read = torch.tensor([[1] * 25 + [2] * 15])
    written = torch.tensor([[1] * 10 + [2] * 17 + [0] * 3])
    other = source.clone()
    other[:, :25] = (other[:, :25] + 5) % 97
    with torch.set_grad_enabled(training):
        hidden, changed = (packed(model, s, read, target, written) for s in (source, other))
    assert torch.equal(hidden[:, 10:27], changed[:, 10:27])
    assert not torch.equal(hidden[:, :10], changed[:, :10])


def test_a_packed_pair_reads_as_if_alone() -> None:
    model = EncoderDecoder(tiny()).eval()
    source, target = tokens(1, 40), tokens(1, 30)
    with torch.no_grad():
        read, written = torch.tensor([[1] * 25 + [2] * 15]), torch.tensor([[1] * 10 + [2] * 20])
        together = packed(model, source, read, target, written)
        alone = model(source[:, 25:], target[:, 10:])
    torch.testing.assert_close(together[:, 10:], alone, atol=1e-5, rtol=0)


def test_the_decoder_sees_all_of_the_source_and_nothing_that_it_has_yet_to_write() -> None:
    model = EncoderDecoder(tiny()).eval()
    source, target = tokens(1, 12), tokens(1, 12)
    with torch.no_grad():
        hidden = model(source, target)
        for place in (0, 11):
            other = source.clone()
            other[:, place] = (other[:, place] + 5) % 97
            assert (model(other, target) != hidden).any(-1).all()
        other = target.clone()
        other[:, 6] = (other[:, 6] + 5) % 97
        changed = (model(source, other) != hidden).any(-1)[0]
    assert changed.tolist() == [False] * 6 + [True] * 6


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_every_parameter_is_counted_and_learns(tied: bool, dtype: torch.dtype) -> None:
    model = EncoderDecoder(tiny(tied=tied))
    model.activation_dtype = dtype
    assert sum(p.numel() for p in model.parameters()) == parameter_count(model.config)
    model.logits(model(tokens(2, 64), tokens(2, 50))).float().logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert not parameter.grad.is_sparse
