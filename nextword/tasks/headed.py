"""What tasks share whose model has a head of its own on a Transformer."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self, TypeVar

from nextword.hub.heads import Head, Outputs
from nextword.hub.model_files import find_directory
from nextword.hub.reading import load_headed, start_headed
from nextword.hub.writing import save_headed
from nextword.inference.loading import boundary_ids
from nextword.models.transformer import Transformer
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks import base
from nextword.tasks.base import Opening, Task, TaskFile
from nextword.tasks.dataset import Dataset, ExampleReader
from nextword.tasks.records import Record, fit_settings, read_alike, whole

E = TypeVar("E")
I = TypeVar("I")  # noqa: E741
O = TypeVar("O", bound=base.Outputs)  # noqa: E741


@dataclass
class HeadTask(Task[E, I, O]):
    """`head` is the row of the table of heads, `outputs` what the head's outputs mean."""

    head: ClassVar[Head[Any]]

    outputs: Outputs = field(kw_only=True)

    @classmethod
    @abstractmethod
    def outputs_of(cls, train: Dataset[E], settings: FinetuneSettings) -> Outputs:
        """Return what a head that learns from a data set predicts."""

    @classmethod
    @abstractmethod
    def reader(
        cls,
        records: Sequence[Record],
        settings: TaskSettings,
        *,
        labelled: bool,
        outputs: Outputs | None = None,
    ) -> ExampleReader[E]:
        """Return what reads these records, as a task does; `outputs` are what a head predicts of
        them, where that is known already."""

    @classmethod
    def read_val(
        cls, records: Sequence[Record], settings: FinetuneSettings, train: Dataset[E]
    ) -> Dataset[E]:
        fitted = read_alike(settings, train.columns, records)
        outputs = cls.outputs_of(train, settings)
        reader = cls.reader(whole(records), fitted, labelled=True, outputs=outputs)
        return reader.read_all(records)

    def read_more(
        self, records: Sequence[Record], *, labelled: bool, keep_going: bool = False
    ) -> Dataset[E]:
        settings = fit_settings(self.settings, records, self.asked)
        records = whole(records, keep_going=keep_going)
        reader = self.reader(records, settings, labelled=labelled, outputs=self.outputs)
        return reader.read_all(records, keep_going=keep_going)

    @classmethod
    def start(cls, place: str, train: Dataset[E], settings: FinetuneSettings) -> Self:
        outputs = cls.outputs_of(train, settings)
        model, tokenizer = start_headed(place, cls.head, outputs, settings.seed)
        if settings.from_scratch:
            body = Transformer(model.transformer.config, settings.seed)
            model = cls.head.build(body, len(outputs.names), settings.seed)
        start_id, _ = boundary_ids(find_directory(place), tokenizer)
        return cls(place, model, tokenizer, settings, start_id=start_id, outputs=outputs)

    @classmethod
    def open(cls, directory: Path, saved: TaskFile | None, base: Opening) -> Self:
        model, tokenizer, outputs = load_headed(directory, cls.head)
        start_id, _ = boundary_ids(directory, tokenizer)
        return cls(
            model=model, tokenizer=tokenizer, outputs=outputs, start_id=start_id, **vars(base)
        )

    def save(self, directory: Path, card: str) -> None:
        save_headed(directory, self.model, self.tokenizer, self.outputs, card)
