"""How fine-tuning validates its model; what it logs, says of the model, saves, and measures at its
end."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.evaluation.contamination import find_duplicates
from nextword.evaluation.metrics import Estimate, estimate
from nextword.files import write_atomically, write_json
from nextword.hub.adapter import save_adapter
from nextword.hub.model_files import find_directory
from nextword.models.heads import ModelWithHead
from nextword.models.sizes import flops_per_pair, flops_per_token
from nextword.runs.record import EVALUATION, HELD_OUT
from nextword.settings import FinetuneSettings
from nextword.tasks.dataset import Dataset, Encoded, resampler_of
from nextword.tasks.opening import AnyTask
from nextword.terminal import count_of, duration, quantity
from nextword.training.parallel import Group, Interrupt
from nextword.training.schedule import FinetunePlan
from nextword.training.state import State, Validation
from nextword.training.trainer import LogValues

MOST_TALKS = 50  # conversations answered at the end of a run, which are not scored but read
GiveUp = Callable[[State], str]  # after a validation: why a run is to end, "" for going on


@dataclass
class FinetuneHooks:
    """What is logged of fine-tuning, said of its model, and saved. `peak` is in FLOP/s."""

    run: Path
    start: str
    task: AnyTask
    encoded: Encoded[Any]
    plan: FinetunePlan
    settings: FinetuneSettings
    peak: float
    trial: GiveUp | None = None

    def __post_init__(self) -> None:
        self._work = work_per_target(self.task, self.encoded)

    def log_values(self, state: State, loss: float, targets_per_second: float) -> LogValues:
        """Return examples, words or tokens a second, and the share of the matmul peak."""
        unit = self.task.unit
        values = {
            f"{unit}_per_second": targets_per_second,
            "matmul_share": min(targets_per_second * self._work / self.peak, 1.0),
        }
        return LogValues(values, quantity(targets_per_second, f"{unit}/s"))

    def describe(self, state: State) -> str:
        """Say what the model learned from, and how good it is."""
        began = f"{self.start}, fine-tuned"
        if self.settings.from_scratch:
            began = (
                f"The architecture and tokenizer of {self.start}, its weights drawn anew from seed "
                f"{self.settings.seed} and trained"
            )
        story = (
            f"{began} by nextword for the task {self.settings.task} on "
            f"{count_of(len(self.encoded.items), 'example')}: {state.step:,} steps of "
            f"{self.plan.batch_size} in {duration(state.seconds)}."
        )
        if state.best_loss is None:
            return f"{story} No examples were held out to measure it on."
        metrics = {"loss": state.best_loss} | state.best_metrics
        values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
        return f"{story} Of step {state.best_step:,}; on examples held out: {values}."

    def save_model(self, directory: Path, card: str) -> None:
        """Write the model, and its low-rank updates by themselves before it: a model that is there
        means that both are."""
        if self.settings.lora:
            is_local = Path(self.start).is_dir()
            start = str(find_directory(self.start)) if is_local else self.start
            save_adapter(self.run / "adapter", self.task.model, start)
        self.task.save(directory, card)

    def give_up(self, state: State) -> str:
        """Return why a trial ends early, "" for going on."""
        return self.trial(state) if self.trial else ""


class TaskValidator:
    """A training loop's validator for any task; `metric` decides which model is the best."""

    def __init__(
        self,
        task: AnyTask,
        encoded: Encoded[Any] | None,
        dataset: Dataset[Any],
        metric: str,
    ) -> None:
        """`encoded` is None where nothing is held out."""
        self._task, self._encoded, self._dataset = task, encoded, dataset
        self._metric = metric

    @property
    def is_empty(self) -> bool:
        return self._encoded is None

    @property
    def can_sample(self) -> bool:
        """Whether the task writes something that can be shown."""
        return self._encoded is not None and self._task.unit == "tokens"

    def measure(self, model: Any, group: Group, interrupt: Interrupt) -> Validation | None:
        """Return the loss and the task's metrics; None when a stop was asked for."""
        assert self._encoded is not None
        if interrupt.requested and group.size == 1:
            return None
        outputs, dataset = self._task.validate(self._encoded, self._dataset)
        metrics = self._task.metrics(outputs, dataset)
        values = {name: metric.value for name, metric in metrics.items()}
        loss = outputs.loss.value
        decisive = ({"loss": loss} | values)[self._metric]
        lower = self._task.directions[self._metric] == "lower"
        enough = self._task.converged(outputs, dataset)
        return Validation(loss, -decisive if lower else decisive, values, enough)

    def sample(self, model: Any) -> tuple[str, str]:
        """Return the first held-out prompt and what the model writes after it."""
        assert self._encoded is not None
        sample = self._task.sample(self._encoded)
        assert sample is not None, f"{self._task.name} writes nothing"
        return sample


def work_per_target(task: AnyTask, encoded: Encoded[Any]) -> float:
    """Return multiplications and additions for each token, word or example of the loss."""
    config, count, read = task.body.config, len(encoded.items), sum(encoded.lengths)
    if config.decoder_layers:
        source, target = (read - encoded.targets) / count, encoded.targets / count
        return flops_per_pair(config, source, target) / target
    scored = encoded.targets / read if task.unit == "tokens" else 1.0
    if isinstance(task.model, ModelWithHead):
        scored = 0.0  # a head of a few outputs in the vocabulary's place
    return flops_per_token(config, read // count, scored) * read / encoded.targets


def evaluate_held_out(
    run: Path, task: AnyTask, train: Dataset[Any], val: Dataset[Any], step: int
) -> dict[str, Estimate]:
    """Measure the best model on all that was held out, into RUN/evaluation.json and
    RUN/held_out.jsonl."""
    encoded = task.encode(val)
    outputs = task.measure(encoded, val)
    estimates = estimate(task.all_metrics(outputs, val), resampler_of(val, task.settings.seed))
    values = {name: found.to_json() for name, found in estimates.items()}
    kept = {"step": step, "task": task.name, "examples": len(val), "metrics": values}
    if task.name != "text":
        if not outputs.predictions:
            val = val.select(range(min(len(val), MOST_TALKS)))
            encoded = task.encode(val)
            outputs = task.predict(encoded, val)
        _write_held_out(run, task.held_out_rows(outputs, encoded, val), train, val)
    write_json(run / EVALUATION, kept)
    return estimates


def _write_held_out(
    run: Path, rows: list[dict[str, Any]], train: Dataset[Any], val: Dataset[Any]
) -> None:
    """Write each held-out example beside what the best model predicts, one JSON object a line, with
    its "twin": the same example, or nearly, of the training data; null where it has none."""
    duplicates = find_duplicates(train.inputs, train.places, val.inputs)
    lines = [
        json.dumps(row | {"twin": found and found.to_json()}, ensure_ascii=False)
        for row, found in zip(rows, duplicates, strict=True)
    ]
    write_atomically(run / HELD_OUT, "\n".join(lines) + "\n")
