"""Whether a GPU computes what the CPU computes in fp64: gradients, whole steps, packed documents,
and what is written token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gpu.models import Optimizer, new_learner, new_model, random_batch
from gpu.section import Section, relative_error
from nextword.inference.generate import generate
from nextword.models.config import TransformerConfig
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.heads import SequenceClassificationModel
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import heads, language_modeling
from nextword.objectives.heads import SequenceBatch
from nextword.settings import GenerateSettings, ModelSettings
from nextword.tokens.loader import Batch
from nextword.tokens.packing import Seq2SeqBatch

# Angles of rotary positions are fp32 whatever the model computes in.
EXACT, SINGLE, HALF = 1e-5, 1e-3, 0.05  # relative errors that are rounding, by type
STEPPED = 2e-3  # ... of what steps change: AdamW and signs of tiny gradients enlarge it
WORSE = 2.0  # times the CPU's own error in bf16 that a GPU's may be
TOY = {"layers": 2, "width": 64, "heads": 4, "context_length": 48, "mlp_width": 96}
KINDS: dict[str, Any] = {
    "gpt2": {},
    "qwen3": {"kv_heads": 2},
    "modernbert": {},
    "bert": {},
    "t5": {},
}
VOCABULARY = 199  # no multiple of anything


def correctness(section: Section) -> None:
    """Compare the device with fp64 on the CPU."""
    torch.backends.cuda.matmul.allow_tf32 = False
    for family, more in KINDS.items():
        config = config_for(ModelSettings(family=family, **TOY, **more), VOCABULARY)
        with section.part(f"{family}: gradients"):
            _gradients(section, family, config)
        with section.part(f"{family}: documents"):
            _documents_stay_apart(section, family, config)
        for kind in ("adamw", "muon"):
            with section.part(f"{family}: a step with {kind}"):
                _steps(section, family, config, kind)
        if config.is_generative:
            with section.part(f"{family}: writing"):
                _writing(section, family, config)
    with section.part("bert: classification"):
        config = config_for(ModelSettings(family="bert", **TOY), VOCABULARY)
        _classification(section, config)


def _gradients(section: Section, family: str, config: TransformerConfig) -> None:
    """Losses and gradients in fp64, fp32 and bf16; the last beside the CPU's own in bf16."""
    batch = random_batch(config, rows=3)

    def gradient_on(device: torch.device, dtype: torch.dtype) -> tuple[float, Tensor]:
        model = new_model(config, device, dtype)
        loss = language_modeling.loss(model, batch.to(device))
        loss.backward()
        return float(loss.detach()), _flat(model)

    cpu = torch.device("cpu")
    exact_loss, exact = gradient_on(cpu, torch.float64)
    rounding = relative_error(gradient_on(cpu, torch.bfloat16)[1], exact)
    limits = {torch.float64: EXACT, torch.float32: SINGLE, torch.bfloat16: HALF}
    limits[torch.bfloat16] = max(WORSE * rounding, SINGLE)
    for dtype, limit in limits.items():
        loss, gradient = gradient_on(section.device, dtype)
        error, of_loss = relative_error(gradient, exact), abs(loss / exact_loss - 1)
        found = {"gradient": error, "loss": of_loss, "limit": limit}
        if dtype == torch.bfloat16:
            found["CPU's own in bf16"] = rounding
        name = str(dtype).removeprefix("torch.")
        section.check(f"{family}: gradients in {name}", max(error, of_loss) <= limit, found)


def _flat(model: nn.Module) -> Tensor:
    """All gradients as one vector, in fp64 on the CPU."""
    parts = [p.grad for p in model.parameters() if p.grad is not None]
    return torch.cat([part.double().cpu().flatten() for part in parts])


def _steps(section: Section, family: str, config: TransformerConfig, kind: Optimizer) -> None:
    """What two of nextword's own steps change in the weights, in fp64."""
    batches = [random_batch(config, rows=2, seed=seed) for seed in range(2)]
    moved = []
    for device in (torch.device("cpu"), section.device):
        learner = new_learner(config, device, torch.float64, kind)
        before = _weights(learner.model)
        for _ in range(2):
            result = learner.step(*[batch.to(device) for batch in batches])
        moved.append(_weights(learner.model) - before)
    error = relative_error(moved[1], moved[0])
    found = {"of the weights' change": error, "loss": result.loss, "limit": STEPPED}
    section.check(f"{family}: two steps with {kind}", error <= STEPPED, found)


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([p.detach().double().cpu().flatten() for p in model.parameters()])


def _documents_stay_apart(section: Section, family: str, config: TransformerConfig) -> None:
    """Other tokens in a row's first document change nothing in its second, and do in the first."""
    batch = random_batch(config, rows=2)
    other = _with_another_first_document(batch, config.vocab_size)
    documents = batch.documents
    assert documents is not None
    first = (documents == documents[:, :1]).to(section.device)
    for dtype in (torch.float32, torch.bfloat16):
        model = new_model(config, section.device, dtype).eval()
        with torch.no_grad():
            states, others = (
                language_modeling.hidden_states(model, b.to(section.device)).float()
                for b in (batch, other)
            )
        change = (states - others).abs().amax(-1)
        leak, effect = float(change[~first].max()), float(change[first].max())
        name = f"{family}: documents stay apart in {str(dtype).removeprefix('torch.')}"
        section.check(name, leak <= 1e-6 < effect, {"in the other": leak, "in its own": effect})


def _with_another_first_document(
    batch: Batch | Seq2SeqBatch, vocabulary: int
) -> Batch | Seq2SeqBatch:
    if isinstance(batch, Seq2SeqBatch):
        first = batch.source_documents == batch.source_documents[:, :1]
        return replace(batch, source=_altered(batch.source, first, vocabulary))
    assert batch.documents is not None
    first = batch.documents == batch.documents[:, :1]
    return replace(batch, tokens=_altered(batch.tokens, first, vocabulary))


def _altered(ids: Tensor, where: Tensor, vocabulary: int) -> Tensor:
    return torch.where(where, (ids + 7) % (vocabulary - 3) + 3, ids)


def _writing(section: Section, family: str, config: TransformerConfig) -> None:
    """Greedy text from the cache is what whole forward passes give, of prompts unlike in length."""
    model = new_model(config, section.device, torch.float32).eval()
    prompts = [[5, 6, 7], [8, 9, 10, 11, 12, 13]]
    settings = GenerateSettings(max_new_tokens=8, temperature=0)
    written = [one.ids for one in generate(model, prompts, settings)]
    expected = [
        _greedy(model, prompt, len(ids)) for prompt, ids in zip(prompts, written, strict=True)
    ]
    section.check(f"{family}: cached text", written == expected, {"ids": written})


@torch.no_grad()
def _greedy(model: GenerativeModel, prompt: list[int], count: int) -> list[int]:
    device = model.embedding.weight.device
    source = torch.tensor([prompt], device=device)
    start = model.config.start_id
    ids = list(prompt) if start is None else [start]
    for _ in range(count):
        tokens = torch.tensor([ids], device=device)
        states = model(tokens) if isinstance(model, Transformer) else model(source, tokens)
        ids.append(int(model.logits(states)[0, -1].argmax()))
    return ids[-count:]


def _classification(section: Section, config: TransformerConfig) -> None:
    """The gradient of a classifier's loss, in fp64 and bf16."""
    packed = random_batch(config, rows=3)
    assert isinstance(packed, Batch) and packed.documents is not None
    assert packed.positions is not None
    begins = torch.arange(3) * config.context_length
    batch = SequenceBatch(
        tokens=packed.tokens,
        documents=packed.documents,
        positions=packed.positions,
        types=torch.zeros_like(packed.tokens),
        begins=begins,
        ends=begins + 5,
        labels=torch.tensor([0, 1, 2]),
        samples=[],
    )

    def gradient_on(device: torch.device, dtype: torch.dtype) -> Tensor:
        body = Transformer(config, seed=0)
        model = SequenceClassificationModel(body, outputs=3)
        model = (model.double() if dtype == torch.float64 else model).to(device)
        body.activation_dtype = dtype
        loss: Callable[[Any, Any], Tensor] = heads.sequence_loss
        loss(model, batch.to(device)).backward()
        return _flat(model)

    exact = gradient_on(torch.device("cpu"), torch.float64)
    for dtype, limit in ((torch.float64, EXACT), (torch.bfloat16, HALF)):
        error = relative_error(gradient_on(section.device, dtype), exact)
        name = f"classification: gradients in {str(dtype).removeprefix('torch.')}"
        section.check(name, error <= limit, {"gradient": error, "limit": limit})
