from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sacrebleu
import torch
from rouge_score.rouge_scorer import RougeScorer

from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import ModelSettings, TaskSettings
from nextword.tasks.generate.encoding import EncodedPrompts
from nextword.tasks.generate.task import AnswerQuestions, Generate, Summarize, Translate
from nextword.tasks.generate.writing import write_answers
from nextword.tasks.opening import task_class
from nextword.tasks.records import read_records
from nextword.tokens.packing import collate_examples
from nextword.tokens.tokenizer import Tokenizer

DATA = Path(__file__).parents[3] / "examples" / "data"
FILES = {
    "qa": ["qa.json"],
    "summarize": ["summaries.zh.jsonl"],
    "translate": ["translate.en", "translate.zh"],
    "chat": ["chat.jsonl"],
}


def untrained(name: str, tokenizer: Tokenizer) -> Generate[Any]:
    sizes = ModelSettings(layers=2, width=64, heads=2, context_length=256)
    model = Transformer(config_for(sizes, tokenizer.vocab_size), seed=0)
    settings = TaskSettings(task=name)  # type: ignore[arg-type]
    task: Any = task_class(name)
    return task("run", model, tokenizer, settings, start_id=tokenizer.end_id)


def overfit(model: Any, encoded: EncodedPrompts) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.004)
    batch = collate_examples([item.example for item in encoded.items], [])
    for _ in range(400):
        optimizer.zero_grad()
        loss = language_modeling.loss(model, batch) / batch.target_count
        loss.backward()
        optimizer.step()
        if loss < 0.003:
            break


@pytest.mark.parametrize("name", FILES)
def test_ten_examples_learned_by_heart_are_answered_exactly_and_the_answer_stops(
    tokenizer: Tokenizer, name: str
) -> None:
    task = untrained(name, tokenizer)
    records = read_records([str(DATA / file) for file in FILES[name]], task.text_files)
    dataset = task.read(records[:10], task.settings)
    encoded = task.encode(dataset, training=True)
    overfit(task.model, encoded)
    task.model.train()
    prompts = [item.prompt for item in encoded.items]
    targets = [
        example[-1].content if name == "chat" else (example.references or ("",))[0]
        for example in dataset.examples
    ]
    for beams in (1, 3):
        answers = write_answers(
            task.model, tokenizer, prompts, 200, encoded.end_ids, num_beams=beams
        )
        assert answers == targets
    outputs = task.predict(encoded, dataset)
    assert task.model.training
    assert outputs.answers == targets
    metrics = task.metrics(outputs, dataset)
    best = {"qa": ("exact match", 1), "summarize": ("ROUGE-L", 1), "translate": ("BLEU", 100)}
    if name == "chat":
        assert list(metrics) == ["perplexity"], "answers in conversations have no score"
        rows = task.held_out_rows(outputs, encoded, dataset)
        assert [row["score"] for row in rows] == [{}] * 10
    else:
        metric, value = best[name]
        assert metrics[metric].value == pytest.approx(value)


def test_the_score_of_each_answer_is_the_librarys_for_it_alone() -> None:
    answers = ["Die Katze sitzt da.", "Ein Hund", ""]
    references = [["Die Katze sitzt."], ["Der Hund"], ["x"]]
    pairs = list(zip(answers, references, strict=True))
    scores = Translate.scoring.each(answers, references, "de")
    chrf = [sacrebleu.sentence_chrf(answer, texts).score for answer, texts in pairs]
    assert [score["chrF"] for score in scores] == pytest.approx(chrf)
    scores = Summarize.scoring.each(answers, references, "en")
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    rouge = [scorer.score(texts[0], answer)["rougeL"].fmeasure for answer, texts in pairs]
    assert [score["ROUGE-L"] for score in scores] == pytest.approx(rouge)
    scores = AnswerQuestions.scoring.each(["ein Hund", ""], references[1:], "en")
    assert scores == [{"F1": 0.5}, {"F1": 0}]
