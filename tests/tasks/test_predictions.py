from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sacrebleu
import torch
from nextword.tasks.generate.examples import Completions, TaskExample, read_examples
from nextword.tasks.generate.predictions import judge, score_each
from rouge_score.rouge_scorer import RougeScorer

from nextword.evaluation.bootstrap import Resampler
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import causal
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.generate.writing import write_answers
from nextword.tasks.records import read_records
from nextword.tokens.packing import Example
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
    found = read_records([str(DATA / f) for f in FILES[task]], task)
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
    metrics = judge(task, answers, made.examples, draws=Resampler(0), language=made.format.language)
    best = {"qa": ("exact match", 1), "summarize": ("ROUGE-L", 1), "translate": ("BLEU", 100)}
    if task == "chat":
        assert metrics == {}
    else:
        name, value = best[task]
        assert metrics[name].value == pytest.approx(value)


def test_the_score_of_each_answer_is_the_librarys_for_it_alone() -> None:
    answers, wanted = ["Die Katze sitzt da.", "Ein Hund", ""], ["Die Katze sitzt.", "Der Hund", "x"]
    blank = Example(np.zeros(0, np.int64), np.zeros(0, bool), "")
    examples = [TaskExample(blank, [], (text,), "") for text in wanted]
    pairs = list(zip(answers, wanted, strict=True))
    found = score_each("translate", answers, examples, "de")
    known = [sacrebleu.sentence_chrf(answer, [text]).score for answer, text in pairs]
    assert [row["chrF"] for row in found] == pytest.approx(known)
    found = score_each("summarize", answers, examples, "en")
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    known = [scorer.score(text, answer)["rougeL"].fmeasure for answer, text in pairs]
    assert [row["ROUGE-L"] for row in found] == pytest.approx(known)
    assert [row["F1"] for row in score_each("qa", ["ein Hund", ""], examples[1:], "en")] == [0.5, 0]
    assert score_each("chat", answers, examples, "en") == [{}, {}, {}]
