"""Training a classifier here is training it in transformers: the same losses, the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import peft
import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor, nn

from nextword.hub.adapter import save_adapter
from nextword.hub.heads import CLASSIFIER, Outputs
from nextword.hub.reading import load_headed
from nextword.hub.writing import save_headed
from nextword.models.config import TransformerConfig
from nextword.models.heads import SequenceClassificationModel
from nextword.models.lora import add_lora, count_trainable
from nextword.models.sizes import STYLES
from nextword.models.transformer import Transformer
from nextword.settings import TaskSettings
from nextword.tasks.classify.task import Classify, LabelledExample
from nextword.tokens.packing import Example
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.training.optimizers import OptimizerSettings, build_optimizers

BATCH, RATE, DECAY, CLIP = 4, 1e-3, 0.1, 1.0
WORDS = ["the", "oak", "fell", "on", "a", "quiet", "road", "while", "nobody", "saw", "or", "heard"]
STEPS = 8
UPDATES: dict[str, Any] = {"rank": 4, "alpha": 8, "seed": 3}


def examples() -> list[tuple[str, int]]:
    """Texts of 1 to 15 words, labelled by their length."""
    random = np.random.default_rng(5)
    counts = random.integers(1, 15, BATCH * STEPS)
    return [(" ".join(random.choice(WORDS, n)), int(n > 5) + int(n > 10)) for n in counts]


def start(directory: Path, kind: str = "single") -> None:
    """A small random GPT-2 classifier, as a directory that both begin from."""
    config = TransformerConfig(
        family="gpt2",
        vocab_size=260,
        context_length=128,
        layers=2,
        width=32,
        heads=4,
        kv_heads=4,
        head_width=8,
        mlp_width=64,
        init_std=0.1,
        **STYLES["gpt2"],
    )
    outputs = Outputs("single", ("short", "middle", "long"))
    if kind == "several":
        outputs = Outputs("several", outputs.names)
    if kind == "amount":
        outputs = Outputs("amount", ("amount",))
    model = SequenceClassificationModel(Transformer(config, seed=1), len(outputs.names), seed=2)
    save_headed(directory, model, byte_tokenizer(), outputs)


def labels_of(kind: str, numbers: list[int]) -> Tensor:
    if kind == "single":
        return torch.tensor(numbers)
    if kind == "amount":
        return torch.tensor(numbers, dtype=torch.float32)[:, None] / 2
    return torch.tensor([[n > 0, n > 1, n == 1] for n in numbers]).float()


def train_here(
    directory: Path, kind: str, *, low_rank: bool = False
) -> tuple[list[float], SequenceClassificationModel]:
    model, tokenizer, outputs = load_headed(directory, CLASSIFIER)
    if low_rank:
        add_lora(model, **UPDATES)
    model.train()
    chosen = TaskSettings(task="classify")
    task = Classify(str(directory), model, tokenizer, chosen, outputs=outputs)
    settings = OptimizerSettings("adamw", RATE, DECAY, momentum=0.0, betas=(0.9, 0.999))
    tiles = model.transformer.tiles()
    parts = build_optimizers(model, settings, torch.float32, tiles)
    data, losses = examples(), []
    for begin in range(0, len(data), BATCH):
        members = data[begin : begin + BATCH]
        ids = [np.array(tokenizer.encode(text, template=True)) for text, _ in members]
        texts = [Example(i, np.zeros(len(i), bool)) for i in ids]
        targets = labels_of(kind, [label for _, label in members]).numpy()
        items = [LabelledExample(text, target) for text, target in zip(texts, targets, strict=True)]
        batch = task.collate(items, [])
        mean = task.loss(model, batch) / batch.target_count
        mean.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        parts.step(1 - begin / len(data))
        losses.append(float(mean.detach()))
    return losses, model


class Texts(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, tokenizer: Any, kind: str) -> None:
        self.tokenizer, self.data, self.kind = tokenizer, examples(), kind

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, index: int) -> dict[str, Any]:
        text, label = self.data[index]
        return {**self.tokenizer(text), "labels": labels_of(self.kind, [label])[0].tolist()}


def trainer_for(directory: Path, out: Path, model: Any, kind: str, **changes: Any) -> Any:
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)

    class InOrder(transformers.Trainer):
        def _get_train_sampler(self, *_: Any) -> Any:
            return torch.utils.data.SequentialSampler(self.train_dataset)

    arguments = transformers.TrainingArguments(
        out,
        per_device_train_batch_size=BATCH,
        num_train_epochs=1,
        learning_rate=RATE,
        max_grad_norm=CLIP,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        **changes,
    )
    collate = transformers.DataCollatorWithPadding(tokenizer)
    return InOrder(model, arguments, collate, Texts(tokenizer, kind))


def their_groups(model: Any) -> list[dict[str, Any]]:
    """Ours: transformers' own groups let the embeddings decay as well."""
    plain = [p for n, p in model.named_parameters() if p.ndim == 1 or ".wte." in n or ".wpe." in n]
    held = {id(p) for p in plain}
    return [
        {"params": [p for p in model.parameters() if id(p) not in held], "weight_decay": DECAY},
        {"params": plain, "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("kind", ["single", "several", "amount"])
def test_an_epoch_here_is_an_epoch_of_their_trainer(kind: str, tmp_path: Path) -> None:
    start(tmp_path / "model", kind)
    losses, ours = train_here(tmp_path / "model", kind)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    trainer = trainer_for(tmp_path / "model", tmp_path / "trainer", theirs, kind)
    optimizer = torch.optim.AdamW(their_groups(theirs), lr=RATE, betas=(0.9, 0.999))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    trainer.optimizer, trainer.lr_scheduler = optimizer, schedule
    trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(logged) == STEPS
    np.testing.assert_allclose(losses, logged, atol=1e-4)
    theirs.save_pretrained(tmp_path / "theirs")
    byte_tokenizer().save(tmp_path / "theirs")
    reached, _, _ = load_headed(tmp_path / "theirs", CLASSIFIER)
    begun, _, _ = load_headed(tmp_path / "model", CLASSIFIER)
    for (name, mine), other, first in zip(
        ours.named_parameters(), reached.parameters(), begun.parameters(), strict=True
    ):
        assert not torch.equal(mine, first), name
        difference = (mine - other).abs()
        if name.endswith("qkv.bias"):
            # A bias on keys moves all of a query's scores alike: its gradient is rounding alone,
            # which AdamW divides by its own size.
            difference[32:64] = 0.0
        assert difference.max() < 1e-4, name


def test_an_epoch_of_low_rank_updates_is_an_epoch_of_peft(tmp_path: Path) -> None:
    start(tmp_path / "model")
    begun, _, _ = load_headed(tmp_path / "model", CLASSIFIER)
    add_lora(begun, **UPDATES)
    save_adapter(tmp_path / "begun", begun)
    losses, ours = train_here(tmp_path / "model", "single", low_rank=True)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(
        tmp_path / "model", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0
    )
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "begun", is_trainable=True)
    trainer = trainer_for(tmp_path / "model", tmp_path / "trainer", theirs, "single")
    learning = [p for p in theirs.parameters() if p.requires_grad]
    assert sum(p.numel() for p in learning) == count_trainable(ours)[0]
    optimizer = torch.optim.AdamW(learning, lr=RATE, betas=(0.9, 0.999), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / STEPS)
    trainer.optimizer, trainer.lr_scheduler = optimizer, schedule
    trainer.train()
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    np.testing.assert_allclose(losses, logged, atol=1e-4)
    theirs.save_pretrained(tmp_path / "theirs")
    save_adapter(tmp_path / "ours", ours)
    first, mine, other = (
        load_file(tmp_path / name / "adapter_model.safetensors")
        for name in ("begun", "ours", "theirs")
    )
    assert mine.keys() == other.keys()
    for name, tensor in mine.items():
        assert not torch.equal(tensor, first[name]), name
        assert (tensor - other[name]).abs().max() < 1e-4, name


def test_what_was_trained_here_goes_on_in_their_trainer(tmp_path: Path) -> None:
    start(tmp_path / "model")
    _, ours = train_here(tmp_path / "model", "single")
    outputs = Outputs("single", ("short", "middle", "long"))
    save_headed(tmp_path / "tuned", ours, byte_tokenizer(), outputs)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "tuned")
    before = theirs.score.weight.detach().clone()
    trainer = trainer_for(tmp_path / "tuned", tmp_path / "trainer", theirs, "single", max_steps=1)
    result = trainer.train()
    assert result.global_step == 1 and np.isfinite(result.training_loss)
    assert not torch.equal(theirs.score.weight, before)
    trainer.save_model(tmp_path / "again")
    _, tokenizer, named = load_headed(tmp_path / "again", CLASSIFIER)
    assert named == outputs and tokenizer.pad_id == byte_tokenizer().pad_id
