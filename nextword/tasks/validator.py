"""Measures a model on held-out examples while it learns a task."""

from __future__ import annotations

from typing import Any

from nextword.evaluation.metrics import Metric
from nextword.tasks.base import Dataset, Encoded, Outputs, Task
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.training.state import Validation


def all_metrics(
    task: Task[Any, Any, Any], outputs: Outputs, dataset: Dataset[Any]
) -> dict[str, Metric]:
    """Return the task's metrics, and the loss."""
    return task.metrics(outputs, dataset) | {"loss": outputs.loss}


class TaskValidator:
    """A training loop's validator for any task; `metric` decides which model is the best."""

    def __init__(
        self,
        task: Task[Any, Any, Any],
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
