"""Training learns exactly as it did: the losses of 20 steps of every family, objective and head.

The curves in golden_curves.json are computed in fp64 from start to end, so that every processor
gives the same ones. Where a change is meant to move them, write them anew, and say in the commit
why they moved:

    python tests/training/test_golden_curves.py --write
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.overrides import TorchFunctionMode

from nextword.models.encoder_decoder import build_model
from nextword.models.heads import (
    QuestionAnsweringModel,
    SequenceClassificationModel,
    TokenClassificationModel,
)
from nextword.models.lora import add_lora
from nextword.models.sizes import STYLES, config_for
from nextword.objectives import language_modeling
from nextword.objectives.heads import SequenceBatch, TokenBatch, sequence_loss, token_head_loss
from nextword.settings import PretrainSettings
from nextword.tokens.control_tokens import control_tokens_for
from nextword.tokens.packing import Example, ExampleLoader, collate_examples, pack
from nextword.tokens.store import Split
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.training.loop import train_step
from nextword.training.objective import objective_of
from nextword.training.optimizers import OptimizerSettings, build_optimizers, layer_rates
from nextword.training.parallel import Group
from nextword.training.schedule import Schedule
from nextword.training.sharding import LossModule

CURVES = Path(__file__).with_name("golden_curves.json")
TOLERANCE = 1e-9  # nats; measured with and without AVX-512, AVX2 and threads: 4e-14

STEPS, BATCH, MICRO_BATCH = 20, 4, 2
SHAPE = {"layers": 2, "width": 32, "heads": 4, "context_length": 32, "seed": 7}
LEARNING_RATES = {"muon": 0.02, "adamw": 0.005, "sgd": 0.3}
TEXTS = (
    "The cat sat on the mat and saw the dog.",
    "A dog ran.",
    "By night the old red house is quiet, and the cat sleeps by the fire until the morning comes.",
    "Who saw it?",
    "The dog ran over the hill to the old house; nobody was there but the cat.",
    "It rained.",
    "In the morning they sat on the mat together.",
    "The fire was out, the door stood open, and the snow lay on the floor of the old red house.",
    "猫坐在垫子上。",
    "A red mat, an old cat, a quiet night.",
)

# What is pretrained: settings, beside SHAPE, and what no setting says of the model.
PRETRAINED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "gpt2": ({"family": "gpt2"}, {}),
    "gpt2, adamw": ({"family": "gpt2", "optimizer": "adamw"}, {}),
    "llama": ({"family": "llama", "kv_heads": 2, "tied": False}, {}),
    "llama, sgd": ({"family": "llama", "optimizer": "sgd"}, {}),
    "llama, stretched": (
        {"family": "llama"},
        {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}},
    ),
    "mistral": (
        {"family": "llama", "kv_heads": 2},
        {"family": "mistral", "window": 8, "windowed_layers": (0, 1)},
    ),
    "qwen2": ({"family": "llama"}, {"family": "qwen2", **STYLES["qwen2"]}),
    "qwen3": ({"family": "qwen3", "kv_heads": 2}, {}),
    "qwen3, adamw": ({"family": "qwen3", "kv_heads": 2, "optimizer": "adamw"}, {}),
    "qwen3, sgd": ({"family": "qwen3", "kv_heads": 2, "optimizer": "sgd"}, {}),
    "smollm3": (
        {"family": "llama", "kv_heads": 2},
        {"family": "smollm3", "unrotated_layers": (1,), **STYLES["smollm3"]},
    ),
    "gemma3": (
        {"family": "llama", "kv_heads": 2},
        {
            "family": "gemma3_text",
            "window": 8,
            "windowed_layers": (0,),
            "attention_scale": 0.25,
            **STYLES["gemma3_text"],
        },
    ),
    "qwen3, infilling": ({"family": "qwen3", "fim_rate": 0.6}, {}),
    "modernbert": ({"family": "modernbert", "objective": "masked"}, {}),
    "bert": ({"family": "bert", "objective": "masked"}, {}),
    "bert, adamw": ({"family": "bert", "objective": "masked", "optimizer": "adamw"}, {}),
    "bert, whole words": ({"family": "bert", "objective": "masked", "whole_words": True}, {}),
    "roberta": (
        {"family": "bert", "objective": "masked"},
        {"family": "roberta", **STYLES["roberta"]},
    ),
    "distilbert": (
        {"family": "bert", "objective": "masked"},
        {"family": "distilbert", **STYLES["distilbert"]},
    ),
    "t5": ({"family": "t5", "objective": "denoise"}, {}),
    "t5, adamw": ({"family": "t5", "objective": "denoise", "optimizer": "adamw"}, {}),
}


class Fp64ForFp32(TorchFunctionMode):
    """Gives fp64 where fp32 is asked for by name, as for the angles of rotary positions."""

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("dtype") == torch.float32:
            kwargs = kwargs | {"dtype": torch.float64}
        return function(*args, **kwargs)


@contextlib.contextmanager
def fp64() -> Iterator[None]:
    """Nothing is rounded to fp32: fp32's logarithms and cosines, which random weights and positions
    are made with, differ from one kind of processor to another. One thread: matrices are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float64)
    try:
        with Fp64ForFp32():
            yield
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_num_threads(threads)


def curve(
    model: Any,
    loss: Callable[[Any, Any], torch.Tensor],
    loader: Any,
    optimizer: str = "adamw",
    layer_decay: float | None = None,
) -> list[float]:
    """The loss of each step, in nats a target, of a model trained in fp64."""
    body = getattr(model, "transformer", model)
    model.train()
    body.activation_dtype = torch.float64
    settings = OptimizerSettings(
        optimizer,  # type: ignore[arg-type]
        LEARNING_RATES[optimizer],
        weight_decay=0.1,
        momentum=0.9,
        betas=(0.9, 0.95),
    )
    rates = None if layer_decay is None else layer_rates(model, layer_decay)
    optimizers = build_optimizers(model, settings, torch.float64, body.tiles(), rates)
    schedule = Schedule("wsd", STEPS, warmup=4, decay=8)
    loss_module = LossModule(model, loss)
    losses = []
    for step in range(STEPS):
        firsts = range(step * BATCH, (step + 1) * BATCH, MICRO_BATCH)
        batches = [loader.batch(first, MICRO_BATCH) for first in firsts]
        lr_scale = schedule.lr_scale(step)
        result = train_step(loss_module, optimizers, batches, lr_scale, 1.0, Group())
        losses.append(result.read().loss)
    return losses


def pretrained(name: str) -> list[float]:
    given, changes = PRETRAINED[name]
    settings = PretrainSettings(**SHAPE, **given)
    tokenizer = byte_tokenizer(control_tokens_for(settings))
    documents = [[*tokenizer.encode(text), tokenizer.end_id] for text in TEXTS]
    split = Split(
        "train",
        np.concatenate(documents),
        np.cumsum([0, *map(len, documents)]),
        tokenizer.end_id,
        tokenizer.vocab_size,
    )
    objective = objective_of(settings, tokenizer)
    config = config_for(settings, tokenizer.vocab_size)
    model = build_model(replace(config, start_id=objective.start_id, **changes), settings.seed)
    loader = objective.loader(split, settings.context_length or 0)
    return curve(model, language_modeling.loss, loader, settings.optimizer)


# What is fine-tuned reads examples of 5 to 12 tokens; the last third of one is what is written.
COUNT, VOCABULARY = 10, 40
EXAMPLES = [
    Example(
        (3 * number + (number % 4 + 1) * np.arange(length)) % VOCABULARY,
        np.arange(length) >= length - length // 3,
        f"example {number}",
        (np.arange(length) >= length // 2).astype(np.int64),
    )
    for number in range(COUNT)
    for length in [5 + (3 * number) % 8]
]
UNSCORED = [replace(example, scored=np.zeros(len(example.ids), bool)) for example in EXAMPLES]


def body_of(family: str, **changes: Any) -> Any:
    config = config_for(PretrainSettings(**SHAPE, family=family), VOCABULARY)
    return build_model(replace(config, **changes), 7)


def examples(collate: Callable[[list[int], list[tuple[int, int]]], Any]) -> ExampleLoader:
    return ExampleLoader([example.source for example in EXAMPLES], 7, collate)


def written(family: str, start_id: int | None = None) -> Any:
    """A model that learns to write the end of an example."""
    model = body_of(family, start_id=start_id)

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> Any:
        return collate_examples([EXAMPLES[number] for number in numbers], samples, 16, start_id)

    return model, language_modeling.loss, examples(collate)


def labelled(family: str, targets: torch.Tensor, **changes: Any) -> Any:
    """A classifier; `targets` [examples] are classes, or [examples, outputs] labels or amounts."""
    outputs = targets.shape[1] if targets.is_floating_point() else int(targets.max()) + 1
    model = SequenceClassificationModel(body_of(family, **changes), outputs, 7)

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> SequenceBatch:
        packed, begins, lengths = laid_out(numbers)
        ends = begins + lengths - 1
        return SequenceBatch(*packed, begins, ends, targets[torch.tensor(numbers)], samples)

    return model, sequence_loss, examples(collate)


def tagged(family: str) -> Any:
    """A tagger of two words an example."""
    model = TokenClassificationModel(body_of(family), 3, 7)

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> TokenBatch:
        packed, begins, lengths = laid_out(numbers)
        read = torch.stack((begins + 1, begins + lengths - 2), 1).flatten()
        targets = torch.tensor([[n % 3, (n // 2) % 3] for n in numbers]).flatten()
        return TokenBatch(*packed, read, targets, samples)

    return model, token_head_loss, examples(collate)


def pointed(family: str) -> Any:
    """A finder of spans in the last half of an example."""
    model = QuestionAnsweringModel(body_of(family), 7)

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> TokenBatch:
        packed, begins, lengths = laid_out(numbers)
        places = begins[:, None] + (lengths // 2)[:, None] + torch.arange(int(lengths.max()))
        read = torch.where(places < (begins + lengths)[:, None], places, -1)
        read = torch.cat((begins[:, None], read), 1)
        targets = torch.tensor([[n % 3, n % 3 and 1 + n % 3] for n in numbers])
        return TokenBatch(*packed, read, targets, samples)

    return model, token_head_loss, examples(collate)


def laid_out(numbers: list[int]) -> Any:
    """Tokens, documents, positions and types [rows, time]; where each example begins, counted
    through the rows, and how long it is, [examples]."""
    packed = pack([UNSCORED[number] for number in numbers], 16)
    begins = torch.tensor([row * packed.tokens.shape[1] + at for row, at in packed.places])
    lengths = torch.tensor([len(UNSCORED[number].ids) for number in numbers])
    return (packed.tokens, packed.documents, packed.positions, packed.types), begins, lengths


def low_rank() -> Any:
    """What writes, learning low-rank updates alone."""
    model, loss, loader = written("qwen3")
    add_lora(model, rank=2, alpha=4, seed=7)
    return model, loss, loader


CLASSES = torch.arange(COUNT) % 3
SEVERAL = torch.stack((torch.arange(COUNT) % 2, torch.arange(COUNT) // 2 % 2), 1).double()
AMOUNTS = torch.linspace(-1, 2, COUNT, dtype=torch.float64)[:, None]
FINETUNED: dict[str, Callable[[], Any]] = {
    "classes, bert": partial(labelled, "bert", CLASSES),
    "classes, qwen3": partial(labelled, "qwen3", CLASSES),
    "several labels, modernbert": partial(labelled, "modernbert", SEVERAL, mean_pooling=True),
    "amounts, gpt2": partial(labelled, "gpt2", AMOUNTS),
    "tags, bert": partial(tagged, "bert"),
    "tags, llama": partial(tagged, "llama"),
    "spans, modernbert": partial(pointed, "modernbert"),
    "spans, qwen3": partial(pointed, "qwen3"),
    "completions, qwen3": partial(written, "qwen3"),
    "completions, t5": partial(written, "t5", start_id=0),
    "low-rank updates, qwen3": low_rank,
}
LAYER_DECAYS = {"classes, bert": 0.8}


def measured(name: str) -> list[float]:
    with fp64():
        if name in PRETRAINED:
            return pretrained(name)
        return curve(*FINETUNED[name](), layer_decay=LAYER_DECAYS.get(name))


@pytest.mark.parametrize("name", [*PRETRAINED, *FINETUNED])
def test_the_losses_are_those_that_were_written_down(name: str) -> None:
    expected = json.loads(CURVES.read_text())[name]
    assert measured(name) == pytest.approx(expected, rel=0, abs=TOLERANCE)
    assert expected[-1] < expected[0] - 0.1, "nothing would be learned"


def test_every_curve_that_was_written_down_is_compared() -> None:
    assert list(json.loads(CURVES.read_text())) == [*PRETRAINED, *FINETUNED]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    curves = {name: measured(name) for name in (*PRETRAINED, *FINETUNED)}
    lines = [f"{json.dumps(name)}: {json.dumps(losses)}" for name, losses in curves.items()]
    CURVES.write_text("{\n" + ",\n".join(lines) + "\n}\n")
