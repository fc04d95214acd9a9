from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from support.prompts import as_records

from nextword.errors import UserError
from nextword.hub.heads import SPAN_ENDS
from nextword.models.heads import QuestionAnsweringModel
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import FinetuneSettings, ModelSettings, TaskSettings, resolve
from nextword.tasks.extractive_qa.task import ExtractiveQA
from nextword.tokens.tokenizer_training import byte_tokenizer


def test_transformers_gives_the_same_scores_of_begin_and_end(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    size = ModelSettings(family="qwen3", layers=2, width=32, heads=2, context_length=64)
    model = QuestionAnsweringModel(
        Transformer(config_for(size, tokenizer.vocab_size), seed=1), seed=2
    ).eval()
    settings = TaskSettings(task="qa")
    task = ExtractiveQA(
        "A", model, tokenizer, settings, start_id=tokenizer.end_id, outputs=SPAN_ENDS
    )
    task.save(tmp_path / "model", card="")
    there = transformers.AutoModelForQuestionAnswering.from_pretrained(tmp_path / "model").eval()
    towns = "".join(f"Town {number} has a mill. " for number in range(40)) + "石桥是赵明修建的。"
    rows = [
        {"context": towns, "question": "Who?", "answers": ["Town 3"]},
        {"context": "Ada slept.", "question": "Who?", "answers": ["Ada"]},
    ]
    encoded = task.encode(task.read(as_records(*rows), settings))
    assert len(encoded.items) > 10
    for window, scores in zip(encoded.items, task.scores(encoded), strict=True):
        with torch.no_grad():
            answer = there(torch.tensor(window.example.ids)[None])
        theirs = torch.stack((answer.start_logits[0], answer.end_logits[0]), -1).numpy()
        places = [window.nowhere, *range(window.begin, window.end)]
        assert np.abs(theirs[places] - scores).max() < 1e-4


def test_only_answers_are_extracted() -> None:
    with pytest.raises(UserError, match="expected --task qa"):
        resolve(FinetuneSettings, {"task": "classify", "extract": True})
