"""What a task is: how its records are read, what its model learns and predicts, how that is scored.

Labelled data is read once into a data set; a model predicts once into outputs; every metric is a
function of outputs and of which examples are chosen. Training, evaluation, comparison, seeds and
reports share these three.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
from torch import Tensor

from nextword.errors import UserError
from nextword.evaluation.classification import Bin, ClassReport
from nextword.evaluation.metrics import Direction, Floats, Ints, Metric, ratio
from nextword.models.encoder_decoder import GenerativeModel
from nextword.models.heads import ModelWithHead
from nextword.settings import FinetuneSettings, TaskSettings
from nextword.tasks.dataset import Dataset, E, Encoded, ExampleReader, I
from nextword.tasks.records import Columns, Record, TextFiles, fit_settings, read_alike, whole
from nextword.terminal import warn
from nextword.tokens import losses
from nextword.tokens.packing import ROW_LENGTH
from nextword.tokens.tokenizer import Tokenizer

CONVERGED = 0.05  # nats of training loss, when nothing is left to learn if every answer is right

Prediction = dict[str, Any]
O = TypeVar("O", bound="Outputs")  # noqa: E741


@dataclass(frozen=True)
class Outputs:
    """What a model predicts, [examples]; `losses` in nats, each a sum over so many `targets`,
    empty where the right answers are not known."""

    predictions: list[Prediction]
    losses: Floats
    targets: Ints | Floats

    @property
    def mean_losses(self) -> list[float]:
        """The loss of each example, in nats a target."""
        means: list[float] = (self.losses / np.maximum(self.targets, 1)).tolist()
        return means

    @property
    def loss(self) -> Metric:
        return ratio(self.losses, self.targets)


@dataclass(frozen=True)
class TaskFile:
    """RUN/task.json: the task that a model has learned and how data is read for it.

    `columns` are those of the training data under the settings' names; `format` is what the task
    has found out about its data and its model has learned, such as the prompt.
    """

    task: str
    columns: dict[str, str] = field(default_factory=dict)
    prompt: str | None = None
    max_length: int | None = None
    num_beams: int = 1
    format: dict[str, Any] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What `evaluate` and `predict` take over, unless they are told otherwise."""
        kept = {"prompt": self.prompt, "max_length": self.max_length, "num_beams": self.num_beams}
        return self.columns | {name: value for name, value in kept.items() if value is not None}


@dataclass
class Task(ABC, Generic[E, I, O]):
    """A model with the task that it learns or has learned. A subclass is a task.

    `place` is where the model came from, `start_id` what a text begins with, None where the
    tokenizer's template says it; `asked` names the settings that a person gave, not the training
    data; `batch_size` examples are computed at once.
    """

    name: ClassVar[str]
    unit: ClassVar[str] = "examples"  # what the loss is a mean over
    settings_used: ClassVar[frozenset[str]] = frozenset()  # that other tasks may have no use for
    text_files: ClassVar[TextFiles | None] = None  # what files without fields hold
    rate_scale: ClassVar[float] = 1.0  # of the usual learning rates
    DIRECTIONS: ClassVar[Mapping[str, Direction]] = {}

    place: str
    model: Any
    tokenizer: Tokenizer
    settings: TaskSettings
    asked: frozenset[str] = frozenset()
    batch_size: int = 64
    start_id: int | None = None

    # How records are read

    @classmethod
    @abstractmethod
    def reader(
        cls, records: Sequence[Record], settings: TaskSettings, *, labelled: bool
    ) -> ExampleReader[E]:
        """Return what reads these records, by their columns.

        Raises UserError that lists the columns where it is not clear which is meant.
        """

    @classmethod
    def read(
        cls,
        records: Sequence[Record],
        settings: TaskSettings,
        *,
        labelled: bool = True,
        keep_going: bool = False,
    ) -> Dataset[E]:
        """Read records. Raises UserError, with the place, for what is missing or not understood;
        with `keep_going` a record that cannot be read is kept in the data set's report."""
        reader = cls.reader(whole(records, keep_going=keep_going), settings, labelled=labelled)
        return reader.read_all(records, keep_going=keep_going)

    @classmethod
    def read_val(
        cls, records: Sequence[Record], settings: FinetuneSettings, train: Dataset[E]
    ) -> Dataset[E]:
        """Read the records to validate on as those of the training data are read."""
        return cls.read(records, read_alike(settings, train.columns, records))

    @classmethod
    def label_names(cls, dataset: Dataset[E], settings: TaskSettings) -> list[list[str]]:
        """Return of each example the names that must be seen in training to be predicted."""
        return [[] for _ in dataset.examples]

    # The model

    @classmethod
    @abstractmethod
    def start(cls, place: str, train: Dataset[E], settings: FinetuneSettings) -> Self:
        """Open a model that is to learn the task from a data set."""

    @classmethod
    @abstractmethod
    def open(cls, directory: Path, saved: TaskFile | None, base: Opening) -> Self:
        """Open a model that has learned the task."""

    @abstractmethod
    def save(self, directory: Path, card: str) -> None:
        """Write the model as a Hugging Face directory."""

    def task_file(self, columns: Columns) -> TaskFile:
        """Return how data is read for this model from now on."""
        return TaskFile(self.name, columns.settings, max_length=self.max_length)

    # Training

    @abstractmethod
    def encode(self, dataset: Dataset[E], *, training: bool = False) -> Encoded[I]:
        """Encode a data set, to train on or to predict and measure."""

    @abstractmethod
    def collate(self, items: Sequence[I], samples: list[tuple[int, int]]) -> Any:
        """Return the batch of some items."""

    @abstractmethod
    def loss(self, model: Any, batch: Any) -> Tensor:
        """Return the sum of a batch's losses."""

    @classmethod
    @abstractmethod
    def present(cls, dataset: Dataset[E], index: int) -> str:
        """Return an example for people as it was read, what is learned of it in ⟦ ⟧."""

    @abstractmethod
    def shown(self, encoded: Encoded[I], dataset: Dataset[E], number: int) -> str:
        """Return an item for people as the model sees it, what is learned of it in ⟦ ⟧."""

    # Prediction

    @abstractmethod
    def predict(self, encoded: Encoded[I], dataset: Dataset[E]) -> O:
        """Return the model's outputs, and their losses where the data set is labelled."""

    def measure(self, encoded: Encoded[I], dataset: Dataset[E]) -> O:
        """Return the outputs that metrics need: without predictions where these are not scored."""
        return self.predict(encoded, dataset)

    def validate(self, encoded: Encoded[I], dataset: Dataset[E]) -> tuple[O, Dataset[E]]:
        """Return outputs while training, and the examples whose predictions they hold: not all
        where that would take too long."""
        return self.measure(encoded, dataset), dataset

    @property
    def directions(self) -> Mapping[str, Direction]:
        """The metrics by name, and whether higher or lower is better. The first one decides which
        model is the best, unless a person names another."""
        return self.DIRECTIONS

    @abstractmethod
    def metrics(self, outputs: O, dataset: Dataset[E]) -> dict[str, Metric]:
        """Return the task's metrics as functions of the examples chosen."""

    def all_metrics(self, outputs: O, dataset: Dataset[E]) -> dict[str, Metric]:
        """Return the task's metrics, and the loss."""
        return self.metrics(outputs, dataset) | {"loss": outputs.loss}

    @abstractmethod
    def converged(self, outputs: O, dataset: Dataset[E]) -> float | None:
        """Return the training loss below which nothing is left to learn, None while some answer is
        not right."""

    @abstractmethod
    def truth(self, dataset: Dataset[E]) -> list[Any]:
        """Return what is right for each example, so that two models' labels can be compared."""

    def reports(self, outputs: O, dataset: Dataset[E]) -> tuple[list[ClassReport], list[Bin]]:
        """Return the figures of each class, and the calibration, where there are such."""
        return [], []

    @abstractmethod
    def held_out_rows(
        self, outputs: O, encoded: Encoded[I], dataset: Dataset[E]
    ) -> list[dict[str, Any]]:
        """Return what RUN/held_out.jsonl says of each example: text, target and prediction."""

    def sample(self, encoded: Encoded[I]) -> tuple[str, str] | None:
        """Return a prompt and what is written after it; None for a task that writes nothing."""
        return None

    # Shared by all tasks

    def read_more(
        self, records: Sequence[Record], *, labelled: bool, keep_going: bool = False
    ) -> Dataset[E]:
        """Read other records by the columns of the training data, where they have them."""
        settings = fit_settings(self.settings, records, self.asked)
        return self.read(records, settings, labelled=labelled, keep_going=keep_going)

    def measure_more(
        self, records: Sequence[Record], *, warns: bool = True
    ) -> tuple[Dataset[E], O, dict[str, Metric]]:
        """Read other labelled records and measure the model on them; with `warns` say what is not
        read of them."""
        dataset = self.read_more(records, labelled=True)
        encoded = self.encode(dataset)
        if warns:
            for line in dataset.report.left_out_lines():
                warn(line)
            self.warn_of(encoded)
        outputs = self.measure(encoded, dataset)
        return dataset, outputs, self.all_metrics(outputs, dataset)

    def warn_of(self, encoded: Encoded[I]) -> None:
        """Warn of what is not read of the data."""
        losses.warn_of(self.tokenizer.losses)
        for note in encoded.notes:
            warn(note)

    @property
    def body(self) -> GenerativeModel:
        """The Transformer, without the head of a task."""
        return self.model.transformer if isinstance(self.model, ModelWithHead) else self.model

    @property
    def max_length(self) -> int:
        """Tokens of an example at most. Raises UserError where the model cannot see so many."""
        config = self.body.config
        asked = self.settings.max_length
        if asked is not None and asked > config.context_limit:
            raise UserError(
                f"--max-length {asked} is more than the {config.context_length:,} tokens that the "
                "model sees at once",
                mend=f"let it be at most {config.context_length}",
            )
        return asked or config.context_length

    @property
    def row_length(self) -> int:
        """Tokens of a packed row."""
        return min(ROW_LENGTH, self.body.config.context_length)


@dataclass(frozen=True)
class Opening:
    """What opening any trained model takes: see Task's fields."""

    place: str
    settings: TaskSettings
    asked: frozenset[str]
    batch_size: int
