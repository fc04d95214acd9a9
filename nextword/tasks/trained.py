"""A model that has learnt a task, opened to be used: its predictions, and how good they are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nextword.errors import UserError
from nextword.evaluation.bootstrap import Resampler
from nextword.evaluation.classification import Metric, ratio
from nextword.evaluation.entities import judge_tags
from nextword.evaluation.perplexity import perplexity, perplexity_interval
from nextword.evaluation.question_answering import judge_answers
from nextword.files import write_atomically
from nextword.models.encoder_decoder import Writer
from nextword.models.heads import Classifier, Headed, SpanFinder, Tagger
from nextword.settings import Task, TaskSettings
from nextword.tasks import task_file
from nextword.tasks.classify.data import Labels, find_columns, labelled_texts
from nextword.tasks.classify.task import encode_texts, label_metrics, label_probabilities
from nextword.tasks.extractive_qa.data import Questions, SpanFormat, read_questions
from nextword.tasks.extractive_qa.task import find_answers
from nextword.tasks.generate.examples import Completions, Format, read_examples
from nextword.tasks.generate.losses import example_losses
from nextword.tasks.generate.predictions import judge, write_answers
from nextword.tasks.learnable import length_limit, row_room
from nextword.tasks.records import Record
from nextword.tasks.split import groups_of
from nextword.tasks.tag.data import TaggedText, find_tag_columns, numbered, tagged_texts
from nextword.tasks.tag.task import tag_losses, tag_prediction, tag_probabilities
from nextword.terminal import warn
from nextword.tokens.tokenizer import Tokenizer

Prediction = dict[str, Any]


@dataclass
class TrainedModel:
    """`outputs` are a classifier's labels, None for a model that writes; `format` says how its
    prompts are made, None where the task's usual one is taken. `asked` names the settings that a
    person gave, not the training data; `at_once` examples are computed together."""

    name: str
    task: Task
    model: Writer | Headed
    tokenizer: Tokenizer
    settings: TaskSettings
    asked: frozenset[str]
    start_id: int | None
    at_once: int
    outputs: Labels | None = None
    format: Format | None = None
    spans: SpanFormat | None = None
    tags: tuple[str, ...] = ()

    def predict(self, found: Sequence[Record]) -> list[Prediction]:
        """A prediction a record: label and probabilities, an amount, entities, or the answer."""
        if self.tags:
            return self.tagged(self.texts(found, labelled=False))[0]
        if isinstance(self.model, SpanFinder):
            return find_answers(self.model, self.questions(found, answered=False), self.at_once)[0]
        if self.outputs is not None:
            return list(self._classify(found))
        if self.task == "text":
            raise UserError(
                "was trained to go on with any text, and has no answers to predict",
                where=self.name,
                mend="use `nextword generate`",
            )
        made = self.read(found, answered=False)
        return [{"answer": answer} for answer in self._answers(made)]

    def evaluate(self, found: Sequence[Record]) -> tuple[dict[str, Metric], list[Prediction]]:
        """The task's metrics with their intervals, and the predictions they are of."""
        draws = self.draws(found)
        if self.outputs is not None:
            columns = find_columns(found, self.reading(found), labelled=True)
            texts = labelled_texts(found, columns)
            targets = [self.outputs.encode(text.label, text.place) for text in texts]
            predictions = list(self._classify(found))
            given = np.array([p["outputs"] for p in predictions])
            return label_metrics(targets, given, self.outputs, draws), predictions
        if self.tags:
            tagged = self.texts(found, labelled=True)
            predictions, losses = self.tagged(tagged)
            words = np.array([len(text.words) for text in tagged])
            loss = {"loss": ratio(np.array(losses) * words, words, draws)}
            said = [prediction["tags"] for prediction in predictions]
            metrics = judge_tags([text.tags for text in tagged], said, draws)
            return metrics | loss, _with_losses(predictions, losses)
        if isinstance(self.model, SpanFinder):
            asked = self.questions(found, answered=True)
            predictions, of_each = find_answers(self.model, asked, self.at_once)
            answers = [prediction["answer"] for prediction in predictions]
            references = [question.references for question in asked.questions]
            metrics = judge_answers(answers, references, asked.format.language, draws)
            loss = {"loss": ratio(of_each, np.ones(len(of_each)), draws)}
            return metrics | loss, _with_losses(predictions, of_each.tolist())
        made = self.read(found, answered=True)
        examples = [example.example for example in made.examples]
        learnt = example_losses(self.writer, examples, row_room(self.writer), self.at_once)
        apart = draws if len(examples) == len(found) else None  # parts of a text are no examples
        surprise = ratio(learnt.nats, learnt.tokens, apart)
        loss = {"loss": surprise}
        if self.task in ("chat", "text"):
            ends = perplexity_interval(surprise.interval)
            return loss | {"perplexity": Metric(perplexity(surprise.value), ends)}, []
        answers = self._answers(made)
        language = made.format.language
        found_metrics = judge(self.task, answers, made.examples, draws, language)
        return found_metrics | loss, [{"answer": answer} for answer in answers]

    def draws(self, found: Sequence[Record]) -> Resampler:
        """How the examples are drawn for intervals: those with the same input together, and all
        questions about one text."""
        groups = groups_of(found, self.reading(found))
        repeated = len(np.unique(groups)) < len(groups)
        return Resampler(self.settings.seed, groups if repeated else None)

    def reading(self, found: Sequence[Record]) -> TaskSettings:
        """How these records are read: by the training data's columns where they have them."""
        return task_file.fitting(self.settings, found, self.asked)

    @property
    def writer(self) -> Writer:
        assert not isinstance(self.model, Headed)
        return self.model

    def _classify(self, found: Sequence[Record]) -> Iterator[Prediction]:
        assert self.outputs is not None and isinstance(self.model, Classifier)
        texts = labelled_texts(found, find_columns(found, self.reading(found), labelled=False))
        body = self.model.transformer
        limit = length_limit(body, self.settings)
        examples, longer = encode_texts(texts, self.tokenizer, limit, joined=body.config.causal)
        _tell_of_cuts(longer, len(texts), limit)
        given = label_probabilities(
            self.model, examples, self.outputs, row_room(body), self.at_once
        )
        names = self.outputs.names
        for row in given.tolist():
            prediction: Prediction = {"outputs": row}
            if self.outputs.kind == "amount":
                prediction["amount"] = row[0]
            elif self.outputs.kind == "several":
                prediction["labels"] = [n for n, p in zip(names, row, strict=True) if p >= 0.5]
            else:
                prediction["label"] = names[int(np.argmax(row))]
            if self.outputs.kind != "amount":
                prediction["probabilities"] = dict(zip(names, row, strict=True))
            yield prediction

    def read(self, found: Sequence[Record], *, answered: bool) -> Completions:
        """Records as this model's prompts and, with `answered`, its answers."""
        limit = length_limit(self.writer, self.settings)
        made = read_examples(
            found,
            self.reading(found),
            self.tokenizer,
            self.start_id,
            limit,
            training=False,
            format=self.format,
            answered=answered,
        )
        _tell_of_cuts(made.cut, len(found), limit)
        return made

    def texts(self, found: Sequence[Record], *, labelled: bool) -> list[TaggedText]:
        """Records as texts to tag, with their tags if `labelled`."""
        columns = find_tag_columns(found, self.reading(found), labelled=labelled)
        return tagged_texts(found, columns)

    def tagged(self, texts: Sequence[TaggedText]) -> tuple[list[Prediction], list[float]]:
        """A prediction for each text, and a loss where its tags are known, else none."""
        assert isinstance(self.model, Tagger) and self.start_id is not None
        limit = length_limit(self.model.transformer, self.settings)
        given = tag_probabilities(
            self.model, texts, self.tokenizer, limit, self.start_id, self.at_once
        )
        pairs = list(zip(texts, given, strict=True))
        predictions = [tag_prediction(text, rows, self.tags) for text, rows in pairs]
        known = all(text.tags for text in texts)
        wanted = [numbered(text, self.tags) for text in texts] if known else []
        return predictions, tag_losses(given, wanted) if known else []

    def questions(self, found: Sequence[Record], *, answered: bool) -> Questions:
        """Records as questions to find the answers of."""
        assert isinstance(self.model, SpanFinder) and self.start_id is not None
        body = self.model.transformer
        return read_questions(
            found,
            self.reading(found),
            self.tokenizer,
            self.start_id,
            length_limit(body, self.settings),
            causal=body.config.causal,
            training=False,
            format=self.spans,
            answered=answered,
        )

    def _answers(self, made: Completions) -> list[str]:
        prompts = [example.prompt for example in made.examples]
        answers = []
        for first in range(0, len(prompts), self.at_once):
            answers += write_answers(
                self.writer,
                self.tokenizer,
                prompts[first : first + self.at_once],
                max(made.format.answer_tokens, 1),
                made.end_ids,
                beams=self.settings.beams,
            )
        return answers


def _tell_of_cuts(cut: int, count: int, limit: int) -> None:
    if cut:
        warn(
            f"{cut:,} of {count:,} texts do not fit into {limit:,} tokens: a part of them is not "
            "read (--max-length)"
        )


def _with_losses(predictions: Sequence[Prediction], losses: Sequence[float]) -> list[Prediction]:
    return [given | {"loss": loss} for given, loss in zip(predictions, losses, strict=True)]


def write_predictions(path: Path, found: Sequence[Record], predictions: list[Prediction]) -> None:
    """JSON lines: each record's own fields, and under "prediction" what is said of it. Raises
    UserError where the file cannot be written."""
    lines = [
        json.dumps(
            dict(record.values)
            | {"prediction": {n: v for n, v in predicted.items() if n != "outputs"}},
            ensure_ascii=False,
            default=str,
        )
        for record, predicted in zip(found, predictions, strict=True)
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, "\n".join(lines) + "\n")
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=path, mend="choose another --out"
        ) from None
