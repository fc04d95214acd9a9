from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.completion import Completions, read_examples
from nextword.tasks.intervals import Draws
from nextword.tasks.predictions import judge, write_answers
from nextword.tasks.records import read_records
from nextword.tokens.packing import completions as packed
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.training import train_bpe

DATA = Path(__file__).parents[2] / "examples" / "data"
FILES = {
    "qa": ["qa.json"],
    "summarize": ["summaries.zh.jsonl"],
    "translate": ["translate.en", "translate.zh"],
    "chat": ["chat.jsonl"],
}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [path.read_text(encoding="utf-8") for path in sorted(DATA.iterdir())]
    return train_bpe(texts, 1200, 10**6)


def overfitted(made: Completions, tokenizer: Tokenizer) -> Transformer:
    sizes = ModelSettings(layers=2, width=64, heads=2, context_length=256)
    model = Transformer(config_for(sizes, tokenizer.vocab_size), seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004)
    batch = packed([example.example for example in made.examples], [])
    for _ in range(400):
        optimizer.zero_grad()
        loss = causal.loss(model, batch) / batch.target_count
        loss.backward()
        optimizer.step()
        if loss < 0.003:
            break
    return model


@pytest.mark.parametrize("task", FILES)
def test_ten_examples_learnt_by_heart_are_answered_exactly_and_the_answer_stops(
    tokenizer: Tokenizer, task: str
) -> None:
    found = read_records([str(DATA / f) for f in FILES[task]], aligned=task == "translate")
    settings = TaskSettings(task=task)  # type: ignore[arg-type]
    made = read_examples(found[:10], settings, tokenizer, tokenizer.end_id, 256, training=True)
    model = overfitted(made, tokenizer)
    model.train()
    prompts = [example.prompt for example in made.examples]
    wanted = [(example.references or ("",))[0] for example in made.examples]
    for beams in (1, 3):
        answers = write_answers(model, tokenizer, prompts, 200, made.end_ids, beams=beams)
        assert answers == wanted
    assert model.training
    metrics = judge(task, answers, made.examples, draws=Draws(0), language=made.format.language)
    best = {"qa": ("exact match", 1), "summarize": ("ROUGE-L", 1), "translate": ("BLEU", 100)}
    if task == "chat":
        assert metrics == {}
    else:
        name, value = best[task]
        assert metrics[name].value == pytest.approx(value)
