from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.models.attention import distances, document_mask, rotation, visible
from nextword.models.blocks import Attention
from nextword.models.config import DECODERS, ENCODERS, Family, TransformerConfig, parameter_count
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer

STACKS = DECODERS + ENCODERS + ("t5",)  # T5's here is its encoder
GROUPED = ("llama", "mistral", "qwen2", "qwen3", "smollm3", "gemma3_text")


def tiny(family: Family, **changes: object) -> TransformerConfig:
    config = TransformerConfig(
        family=family,
        vocab_size=97,
        context_length=64,
        layers=2,
        width=48,
        heads=6,
        kv_heads=2 if family in GROUPED else 6,
        head_width=8,
        mlp_width=80,
        init_std=0.2,
        **STYLES[family],
    )
    if family in ("modernbert", "gemma3_text"):
        config = replace(config, window=16, windowed_layers=(1,))
    if family == "smollm3":
        config = replace(config, unrotated_layers=(1,))
    return replace(config, **changes)  # type: ignore[arg-type]


def tokens(batch: int, time: int) -> Tensor:
    return torch.randint(0, 97, (batch, time), generator=torch.Generator().manual_seed(1))


class GrowingCache:
    def __init__(self) -> None:
        self.held: dict[int, tuple[Tensor, Tensor]] = {}

    def update(self, layer: int, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        if layer in self.held:
            key = torch.cat((self.held[layer][0], key), dim=2)
            value = torch.cat((self.held[layer][1], value), dim=2)
        self.held[layer] = key, value
        return key, value


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("family", STACKS)
def test_packed_documents_never_see_each_other(
    family: Family, dtype: torch.dtype, training: bool
) -> None:
    model = Transformer(tiny(family)).train(training)
    model.activation_dtype = dtype
    documents = torch.tensor([[0] * 20 + [1] * 30])
    positions = torch.cat((torch.arange(20), torch.arange(30)))[None]
    one = tokens(1, 50)
    other = one.clone()
    other[:, :20] = (other[:, :20] + 5) % 97  # another first document
    with torch.set_grad_enabled(training):
        hidden, changed = (
            model(x, positions=positions, mask=document_mask(documents)) for x in (one, other)
        )
    assert torch.equal(hidden[:, 20:], changed[:, 20:])
    assert not torch.equal(hidden[:, :20], changed[:, :20])


@pytest.mark.parametrize("family", STACKS)
def test_a_packed_document_reads_as_if_alone(family: Family) -> None:
    model = Transformer(tiny(family)).eval()
    packed = tokens(1, 50)
    positions = torch.cat((torch.arange(20), torch.arange(30)))[None]
    mask = document_mask(torch.tensor([[0] * 20 + [1] * 30]))
    with torch.no_grad():
        together = model(packed, positions=positions, mask=mask)[:, 20:]
        alone = model(packed[:, 20:])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", STACKS)
def test_no_gradient_flows_between_packed_documents(family: Family) -> None:
    model = Transformer(tiny(family, tied=False))
    row = torch.cat((torch.arange(20), torch.arange(20, 50)))[None]
    mask = document_mask(torch.tensor([[0] * 20 + [1] * 30]))
    for dtype in (torch.float32, torch.bfloat16):
        model.activation_dtype = dtype
        model.zero_grad()
        model(row, mask=mask)[:, 20:].float().square().sum().backward()
        gradient = model.embedding.weight.grad
        assert gradient is not None
        assert not gradient[:20].any() and gradient[20:50].any()


@pytest.mark.parametrize("family", STACKS)
def test_an_encoder_sees_what_comes_after_and_a_decoder_does_not(family: Family) -> None:
    model, row = Transformer(tiny(family)).eval(), tokens(1, 24)
    other = row.clone()
    other[:, 12] = (other[:, 12] + 5) % 97
    with torch.no_grad():
        changed = (model(row) != model(other)).any(-1)[0]
    assert changed[12:].all()
    assert bool(changed[:12].any()) == (family not in DECODERS)


def test_a_window_of_an_encoder_reaches_to_both_sides() -> None:
    config = tiny("modernbert", layers=1, window=4, windowed_layers=(0,))
    model, row = Transformer(config).eval(), tokens(1, 24)
    other = row.clone()
    other[:, 12] = (other[:, 12] + 5) % 97
    with torch.no_grad():
        changed = (model(row) != model(other)).any(-1)[0]
    assert changed.nonzero().flatten().tolist() == list(range(9, 16))


@pytest.mark.parametrize("family", STACKS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_logits(family: Family, side: str) -> None:
    model = Transformer(tiny(family)).eval()
    text = tokens(1, 12)
    padding = torch.full((1, 7), 3)
    row = torch.cat((padding, text) if side == "left" else (text, padding), dim=1)
    held = torch.cat((torch.zeros(1, 7), torch.ones(1, 12)), dim=1).bool()
    start = 7 if side == "left" else 0
    held = held if side == "left" else held.flip(1)
    at = (torch.arange(19) - start).clamp(min=0)[None]
    mask = held[:, None, None, :].expand(1, 1, 19, 19)
    with torch.no_grad():
        expected = model.logits(model(text))
        padded = model.logits(model(row, positions=at, mask=mask))[:, start : start + 12]
    torch.testing.assert_close(padded, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("family", DECODERS)
def test_a_mask_never_shows_a_causal_model_later_tokens(family: Family) -> None:
    model = Transformer(tiny(family)).eval()
    row = tokens(1, 16)
    with torch.no_grad():
        everything = model(row, mask=torch.ones(1, 1, 16, 16, dtype=torch.bool))
        torch.testing.assert_close(everything, model(row), atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [None, 5])
def test_a_cache_gives_what_the_whole_text_gives(window: int | None) -> None:
    config = tiny("qwen3", window=window, windowed_layers=() if window is None else (1,))
    model, row, cache = Transformer(config).eval(), tokens(2, 24), GrowingCache()
    with torch.no_grad():
        whole = model(row)
        parts = [
            model(row[:, a:b], positions=torch.arange(a, b).expand(2, -1), cache=cache)
            for a, b in ((0, 10), (10, 11), (11, 12), (12, 20), (20, 24))
        ]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=0)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", STACKS)
def test_every_parameter_is_counted_and_learns(family: Family, tied: bool) -> None:
    config = tiny(family, tied=tied)
    model = Transformer(config)
    assert sum(p.numel() for p in model.parameters()) == parameter_count(config)
    model.logits(model(tokens(2, 64))).logsumexp(-1).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
        assert not parameter.grad.is_sparse


def test_tied_gradients_add_up_whatever_the_loss_goes_through() -> None:
    model, row = Transformer(tiny("qwen3")), tokens(2, 16)

    def gradient(sparse: bool, through_head: bool) -> Tensor:
        model.zero_grad()
        model.embedding.sparse = sparse
        hidden = model(row)
        (model.logits(hidden) if through_head else hidden).square().sum().backward()
        assert model.embedding.weight.grad is not None
        return model.embedding.weight.grad.clone()

    for through_head in (True, False):
        sparse, dense = gradient(True, through_head), gradient(False, through_head)
        torch.testing.assert_close(sparse, dense, atol=1e-5 * float(dense.abs().max()), rtol=0)


@pytest.mark.parametrize("family", STACKS)
def test_weights_are_a_function_of_the_seed(family: Family) -> None:
    one, same, other = (Transformer(tiny(family), seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["embedding.weight"], other["embedding.weight"])
    added = one["blocks.0.mlp.output.weight"].std() / one["blocks.0.mlp.input.weight"].std()
    assert abs(added - 0.5) < 0.05  # the root of 2 layers × 2 additions


def test_heads_of_an_encoders_local_layers_begin_with_one_neighbour_each() -> None:
    more = {"heads": 8, "kv_heads": 8, "head_width": 32, "window": 4, "init_std": 1e-6}
    config = tiny("modernbert", **more)
    model, time = Transformer(config), 24
    attention = model.blocks[1].attention
    assert isinstance(attention, Attention)
    frequencies, factor = model.rotary[4]
    turns = rotation(torch.arange(time)[None], frequencies, factor, torch.float32)
    query, key, _ = attention.project(torch.zeros(1, time, 48), turns)
    scores = query @ key.transpose(-1, -2) / 32**0.5  # [1, heads, time, time]
    seen = scores[0, :, 12].masked_fill(~visible(12 - torch.arange(time), False, 4), -torch.inf)
    assert (seen.argmax(-1) - 12).tolist() == [-1, 1, -2, 2, -3, 3, -1, 1]
    assert (seen.softmax(-1).amax(-1) > 0.4).all()  # of six or fewer that it sees
    others = [b for n, b in model.named_parameters() if n.endswith("bias") and "blocks.1" not in n]
    assert others and not any(bias.any() for bias in others)


@pytest.mark.parametrize("causal", [True, False])
def test_heads_of_relative_positions_begin_with_what_is_near(causal: bool) -> None:
    model = Transformer(tiny("t5", causal=causal, init_std=1e-6))
    assert model.relative is not None
    bias = model.relative(distances(40, 40))[0, :, 20, : 21 if causal else None].detach()
    nearness = 0 - (torch.arange(bias.shape[1]) - 20).abs()
    for head, slope in zip(bias, 2.0 ** (-8 * torch.arange(1, 7) / 6), strict=True):
        assert head.argmax() == 20
        close = nearness >= -7  # a bucket each
        torch.testing.assert_close(head[close], nearness[close] * slope, atol=1e-4, rtol=0)
        assert (head[~close] < head[close].min()).all()


def test_bf16_keeps_fp32_weights_and_angles_and_stays_close() -> None:
    model, row = Transformer(tiny("qwen3")).eval(), tokens(2, 48)
    with torch.no_grad():
        exact = model(row)
        model.activation_dtype = torch.bfloat16
        rounded = model(row)
        angles, _ = model.rotary[None]
        model.bfloat16()
        assert model.rotary[None][0] is angles and angles.dtype == torch.float32
    assert rounded.dtype == torch.bfloat16
    assert (rounded - exact).norm() < 0.03 * exact.norm()


def test_dropout_falls_in_training_alone() -> None:
    model, row = Transformer(tiny("gpt2", dropout=0.5)), tokens(1, 8)
    torch.manual_seed(0)
    assert not torch.equal(model(row), model(row))
    model.eval()
    assert torch.equal(model(row), model(row))


def test_weights_that_are_used_whole_are_not_sliced() -> None:
    """A slice, even of all rows, makes a zeroed copy of the weight's gradient."""
    waiting = [Transformer(tiny("gpt2"))(tokens(1, 8)).sum().grad_fn]
    seen, sliced = set(waiting), []
    while waiting:
        node = waiting.pop()
        following = {other for other, _ in node.next_functions if other is not None} - seen
        seen |= following
        waiting += following
        if node.name().startswith("Slice"):
            sliced += [leaf for leaf in following if hasattr(leaf, "variable")]
    assert len(seen) > 40
    assert not sliced


def test_gpt2_says_when_a_text_is_longer_than_its_positions() -> None:
    with pytest.raises(UserError, match="65 tokens at once, but the model has 64 positions"):
        Transformer(tiny("gpt2"))(tokens(1, 65))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"heads": 6, "kv_heads": 4}, "6 heads cannot share 4 key/value heads equally"),
        ({"head_width": 7}, "rotary positions rotate pairs"),
        ({"layers": 0}, "layers = 0"),
        ({"rope_scaling": {"rope_type": "dynamic"}}, "rope_type 'dynamic' is not known"),
    ],
)
def test_dimensions_that_do_not_fit_are_named(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny("qwen3", **changes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", STACKS)
def test_blocks_compile_whole_and_learn_the_same(family: Family, dtype: torch.dtype) -> None:
    model = Transformer(tiny(family), seed=0)
    model.activation_dtype = dtype

    def learn() -> tuple[Tensor, Tensor]:
        model.zero_grad()
        hidden = model(tokens(2, 32)).float()
        hidden.square().mean().backward()
        gradients = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
        return hidden.detach(), torch.cat(gradients)

    before = learn()
    torch._dynamo.reset()
    for block in model.blocks:
        block.compile(dynamic=False, fullgraph=True, backend="aot_eager")
    near = 1e-5 if dtype == torch.float32 else 0.1
    for made, expected in zip(learn(), before, strict=True):
        assert (made - expected).norm() <= near * expected.norm()
