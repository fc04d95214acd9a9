"""How much work a target of fine-tuning is: its share of the machine follows from that."""

from __future__ import annotations

import pytest
from support.tasks import transformer, writer

from nextword.hub.heads import Outputs
from nextword.models.heads import SequenceClassificationModel
from nextword.settings import TaskSettings
from nextword.tasks.classify.task import Classify
from nextword.tasks.dataset import Encoded
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.finetune_hooks import work_per_target


def encoded(targets: int) -> Encoded[None]:
    return Encoded([None] * 4, [25] * 4, ["a"] * 4, targets)


def classifier(vocab_size: int) -> Classify:
    body = transformer(vocab_size=vocab_size)
    labels = Outputs("single", ("no", "yes"))
    model = SequenceClassificationModel(body, len(labels.names), seed=2)
    settings = TaskSettings(task="classify")
    return Classify("A", model, byte_tokenizer(), settings, outputs=labels)


def test_a_classifier_does_no_work_for_the_vocabulary() -> None:
    small, large = (work_per_target(classifier(size), encoded(4)) for size in (300, 30_000))
    assert small == large > 0


def test_a_written_answer_scores_the_vocabulary_for_its_own_tokens_alone() -> None:
    task = writer("summarize", lambda items: ["" for _ in items])
    width, vocabulary = task.body.config.width, task.body.config.vocab_size
    few, many = (work_per_target(task, encoded(count)) for count in (10, 100))
    reading = many - 6 * width * vocabulary  # of one token through the blocks
    assert few == pytest.approx(10 * reading + 6 * width * vocabulary)
