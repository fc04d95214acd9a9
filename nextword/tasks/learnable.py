"""What each task gives the training loop: a model, batches, a loss and a measure of success."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor

from nextword.errors import UserError
from nextword.hub.directory import load, save
from nextword.hub.resolve import resolve as find_directory
from nextword.inference.language_model import boundaries, check_writes
from nextword.models.encoder_decoder import Writer, writer
from nextword.models.heads import Headed
from nextword.objectives import causal
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.generate.chat_template import with_template
from nextword.tasks.generate.examples import Completions, marked, read_examples
from nextword.tasks.measuring import AnswerValidator, deciding
from nextword.tasks.records import Record
from nextword.tasks.task_file import AnyColumns, TaskFile, fitting, names_of
from nextword.tokens.loader import Batch
from nextword.tokens.packing import ROW, ExampleLoader, completions
from nextword.tokens.pairs import PairBatch
from nextword.training.state import Validator


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
        from nextword.tasks.classify.task import start_labels

        return start_labels(model, train, val, settings)
    if settings.task == "tag":
        from nextword.tasks.tag.task import start_tags

        return start_tags(model, train, val, settings)
    if settings.extract:
        from nextword.tasks.extractive_qa.task import start_spans

        return start_spans(model, train, val, settings)
    return _writer(model, train, val, settings)


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
