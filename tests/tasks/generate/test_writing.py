from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from support.tasks import writer

from nextword.hub.writing import save
from nextword.tasks.generate.writing import example_losses
from nextword.tasks.records import Record


def test_each_examples_loss_is_transformers_for_it_alone(tmp_path: Path) -> None:
    task = writer("qa", lambda items: [""] * len(items))
    with torch.no_grad():
        for parameter in task.model.parameters():
            parameter.mul_(3)
    save(tmp_path, task.model, task.tokenizer)
    theirs = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    rows = [
        {"context": "x" * (1 + n), "question": "How long?", "answers": ["y" * (1 + n % 5)]}
        for n in range(80)
    ]
    records = [Record(row, str(n)) for n, row in enumerate(rows)]
    encoded = task.encode(task.read(records, task.settings))
    examples = [item.example for item in encoded.items]
    nats, tokens = example_losses(task.model, examples, task.row_length)
    for n in (0, 1, 37, 79):
        ids = torch.tensor(examples[n].ids)[None]
        targets = ids.masked_fill(~torch.tensor(examples[n].scored), -100)
        with torch.no_grad():
            mean = float(theirs(ids, labels=targets).loss)
        assert tokens[n] == examples[n].scored.sum() == 2 + n % 5
        assert nats[n] / tokens[n] == pytest.approx(mean, rel=1e-4)
