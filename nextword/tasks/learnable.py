"""What each task gives the training loop: a model, batches, a loss and a measure of success."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from nextword.errors import UserError
from nextword.hub.directory import load, save, save_classifier, start_classifier
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.language_model import boundaries, check_writes
from nextword.models.encoder_decoder import Writer, writer
from nextword.models.heads import Classifier, Headed, without_padding
from nextword.models.transformer import Transformer
from nextword.objectives import causal, labels
from nextword.objectives.labels import LabelBatch
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.chat import with_template
from nextword.tasks.classify import (
    LabelledText,
    Labels,
    find_columns,
    labelled_texts,
    labels_of,
)
from nextword.tasks.completion import Completions, marked, read_examples
from nextword.tasks.measuring import AnswerValidator, LabelValidator, deciding
from nextword.tasks.records import Record
from nextword.tasks.task_file import AnyColumns, TaskFile, fitting, names_of
from nextword.tokens.loader import Batch
from nextword.tokens.packing import ROW, Example, ExampleLoader, completions, pack
from nextword.tokens.pairs import PairBatch
from nextword.tokens.tokenizer import Tokenizer
from nextword.training.state import Validator

LARGE_AMOUNT = 30.0
MOST_OF_THE_DATA = 0.8


@dataclass
class Learnable:
    """`loss` takes the model and a batch, and gives the sum of its losses over so many `unit`s.

    `shown` is an example for people, `remarks` what they should know of the data; `kept` says how
    data is read for this model from now on.
    """

    model: Writer | Headed
    loss: Callable[[Any, Any], Tensor]
    unit: str
    targets: int  # of that unit, in all examples
    sources: list[str]  # of the examples learnt from
    lengths: list[int]  # in tokens
    collate: Callable[[list[int], list[tuple[int, int]]], Any]
    validator: Validator
    metric: str  # that decides which model is the best
    save: Callable[[Path, str], None]
    shown: str
    remarks: list[str]
    kept: TaskFile

    def loader(self, seed: int) -> ExampleLoader:
        return ExampleLoader(self.sources, seed, self.collate)

    @property
    def body(self) -> Writer:
        return self.model.transformer if isinstance(self.model, Headed) else self.model


def learnable(
    model: str, train: Sequence[Record], val: Sequence[Record], settings: FinetuneSettings
) -> Learnable:
    """Raises UserError where model and data do not fit the task."""
    if settings.task == "classify":
        return _classifier(model, train, val, settings)
    if settings.task == "tag":
        from nextword.tasks.tag_model import start_tags

        return start_tags(model, train, val, settings)
    if settings.extract:
        from nextword.tasks.span_model import start_spans

        return start_spans(model, train, val, settings)
    return _writer(model, train, val, settings)


def _classifier(
    place: str, train: Sequence[Record], val: Sequence[Record], settings: FinetuneSettings
) -> Learnable:
    columns = find_columns(train, settings, labelled=True)
    texts = labelled_texts(train, columns)
    held_out = (
        labelled_texts(val, find_columns(val, like(columns, val, settings), labelled=True))
        if val
        else []
    )
    outputs = labels_of(texts, settings.labels)
    model, tokenizer = start_classifier(place, outputs, settings.seed)
    if settings.random_weights:
        body = Transformer(model.transformer.config, settings.seed)
        model = Classifier(body, len(outputs.names), settings.seed)
    limit = length_limit(model.transformer, settings)
    targets = [outputs.encode(text.label, text.place) for text in texts]
    joined = model.transformer.config.causal
    examples, longer = encode_texts(texts, tokenizer, limit, joined=joined)
    weights = None
    if settings.class_weights == "balanced":
        weights = balanced(targets, outputs)
    remarks = label_remarks(targets, outputs)
    to_validate, longer_ones = encode_texts(held_out, tokenizer, limit, joined=joined)
    if longer or longer_ones:
        remarks.append(
            f"{longer:,} texts, and {longer_ones:,} held out, are cut at {limit:,} tokens "
            "(--max-length)"
        )

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> LabelBatch:
        chosen = [examples[number] for number in numbers]
        return label_batch(
            chosen, [targets[number] for number in numbers], samples, row_room(model.transformer)
        )

    return Learnable(
        model=model,
        loss=lambda model, batch: labels.loss(model, batch, weights),
        unit="examples",
        targets=len(texts),
        sources=[text.place for text in texts],
        lengths=[example.inputs for example in examples],
        collate=collate,
        validator=LabelValidator(
            to_validate,
            [outputs.encode(text.label, text.place) for text in held_out],
            outputs,
            label_batch,
            settings,
        ),
        metric=deciding(settings.metric, outputs.kind),
        save=lambda folder, card: save_classifier(folder, model, tokenizer, outputs, card),
        shown=f"{tokenizer.decode(examples[0].ids.tolist(), skip_special=False)}  →  "
        f"{texts[0].label}",
        remarks=remarks,
        kept=TaskFile("classify", names_of(columns), max_length=limit),
    )


def _writer(
    place: str, train: Sequence[Record], val: Sequence[Record], settings: FinetuneSettings
) -> Learnable:
    model, tokenizer = load(place)
    check_writes(model, place, settings.task)
    if settings.random_weights:
        model = writer(model.config, settings.seed)
    limit = length_limit(model, settings)
    begin, _ = boundaries(find_directory(place), tokenizer)
    start = begin if model.config.start_id is None else None
    made = read_examples(train, settings, tokenizer, start, limit, training=True)
    if not made.examples:
        raise UserError("no example is left to learn from", mend="raise --max-length")
    held_out = Completions([], made.format, made.end_ids)
    if val:
        alike = like(made.columns, val, settings)
        held_out = read_examples(
            val, alike, tokenizer, start, limit, training=False, format=made.format
        )
    if settings.task == "chat":
        tokenizer = with_template(tokenizer, made.format.template)
    examples = [example.example for example in made.examples]

    def collate(numbers: list[int], samples: list[tuple[int, int]]) -> Batch | PairBatch:
        chosen = [examples[number] for number in numbers]
        return completions(chosen, samples, row_room(model), model.config.start_id)

    return Learnable(
        model=model,
        loss=causal.loss,
        unit="tokens",
        targets=sum(int(example.scored[1:].sum()) for example in examples),
        sources=[example.source for example in examples],
        lengths=[example.inputs for example in examples],
        collate=collate,
        validator=AnswerValidator(held_out, tokenizer, row_room(model), settings),
        metric=deciding(settings.metric, settings.task),
        save=lambda folder, card: save(folder, model, tokenizer, card=card, start_id=start),
        shown=marked(examples[0], tokenizer),
        remarks=_fit_remarks(made, held_out, limit),
        kept=TaskFile(
            settings.task,
            names_of(made.columns),
            settings.prompt,
            limit,
            settings.beams,
            made.format,
        ),
    )


def like(
    columns: AnyColumns, other: Sequence[Record], settings: FinetuneSettings
) -> FinetuneSettings:
    """Settings that read other data by the columns of the training data, where it has them."""
    named = names_of(columns)
    asked = {name for name in named if getattr(settings, name) is not None}
    return cast(FinetuneSettings, fitting(settings.model_copy(update=named), other, asked))


def _fit_remarks(made: Completions, held_out: Completions, limit: int) -> list[str]:
    remarks = [f"{count:,} examples are left out: {what}" for what, count in made.dropped.items()]
    if made.cut or held_out.cut:
        remarks.append(
            f"{made.cut:,} examples, and {held_out.cut:,} held out, are cut to {limit:,} tokens "
            "(--max-length)"
        )
    return remarks


def length_limit(model: Writer, settings: TaskSettings) -> int:
    context = model.config.context_length
    if settings.max_length is not None and settings.max_length > model.config.most_tokens:
        raise UserError(
            f"--max-length {settings.max_length} is more than the {context:,} tokens that the "
            "model sees at once",
            mend=f"let it be at most {context}",
        )
    return settings.max_length or context


def row_room(model: Writer) -> int:
    return min(ROW, model.config.context_length)


def encode_texts(
    texts: Sequence[LabelledText], tokenizer: Tokenizer, limit: int, *, joined: bool = True
) -> tuple[list[Example], int]:
    """Texts as a classifier reads them: as transformers' tokenizer gives them, cut at `limit`; and
    how many were cut. An encoder reads a pair as its template sets it, not `joined` to one text."""
    examples, longer = [], 0
    for text in texts:
        parts = (text.joined, None) if joined else (text.text, text.pair)
        ids, types = tokenizer.encode_texts(*parts)
        if len(ids) > limit:
            longer += 1
            ids, types = tokenizer.encode_texts(*parts, limit)
        kept = np.array(without_padding(ids or [tokenizer.end_id], tokenizer.pad_id), np.int64)
        of_kept = np.array([*types, 0][: len(kept)], np.int64)
        examples.append(Example(kept, np.zeros(len(kept), np.bool_), text.place, of_kept))
    return examples, longer


def label_batch(
    examples: Sequence[Example], targets: Sequence[Any], samples: list[tuple[int, int]], room: int
) -> LabelBatch:
    packed = pack(examples, room)
    begins = torch.tensor(packed.places) @ torch.tensor([packed.tokens.shape[1], 1])
    lengths = torch.tensor([example.inputs for example in examples])
    if isinstance(targets[0], np.ndarray):
        wanted = torch.from_numpy(np.stack(targets))
    else:
        wanted = torch.tensor(list(targets), dtype=torch.int64)
    return LabelBatch(
        packed.tokens,
        packed.documents,
        packed.positions,
        packed.types,
        begins,
        begins + lengths - 1,
        wanted,
        samples,
    )


def balanced(targets: Sequence[Any], outputs: Labels) -> Tensor:
    """Weights [classes] with which every class counts as much as any other."""
    if outputs.kind != "single":
        raise UserError("--class-weights balanced is for one class an example")
    counts = np.bincount(np.array(targets), minlength=len(outputs.names))
    return torch.tensor(len(targets) / (len(counts) * np.maximum(counts, 1)), dtype=torch.float32)


def label_remarks(targets: Sequence[Any], outputs: Labels) -> list[str]:
    """How often each class occurs, and what is told if one of them hides the others."""
    if outputs.kind == "amount":
        amounts = np.stack(targets)[:, 0]
        remarks = [
            f"amounts from {amounts.min():g} to {amounts.max():g}, {amounts.mean():g} on average"
        ]
        if np.abs(amounts).max() > LARGE_AMOUNT:
            remarks.append("amounts this large are learnt slowly: divide them, by 100 say")
        return remarks
    if outputs.kind == "several":
        shares = np.stack(targets).mean(0)
        found = [f"{outputs.names[i]} {shares[i]:.0%}" for i in np.argsort(-shares)[:8]]
        return [f"{len(outputs.names)} labels, several at once: {', '.join(found)}"]
    counts = np.bincount(np.array(targets), minlength=len(outputs.names))
    order = np.argsort(-counts)[:8]
    shares = ", ".join(f"{outputs.names[i]} {counts[i] / len(targets):.0%}" for i in order)
    remarks = [f"{len(outputs.names)} classes: {shares}"]
    if counts.max() > MOST_OF_THE_DATA * len(targets):
        remarks.append(
            "one class is most of the data: look at macro F1, and try --class-weights balanced"
        )
    return remarks
