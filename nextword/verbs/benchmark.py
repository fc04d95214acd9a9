"""`evaluate --benchmark`: the benchmarks that people quote, measured by lm-eval on our model."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from nextword.errors import UserError, nearest
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.settings import EvaluateSettings, with_overrides

NORMAL_95 = 1.96  # standard errors on either side of a mean, for a 95% interval
MEND_MISSING = 'install it with `pip install "nextword[benchmarks]"`'


@dataclass(frozen=True)
class Score:
    """One metric of one task. `name` is lm-eval's, `filter` what was done to the answers before
    (`none` for nothing); the interval is that of the mean over examples, None where lm-eval gives
    no standard error."""

    task: str
    name: str
    filter: str
    value: float
    interval: tuple[float, float] | None
    examples: int
    shots: int


@dataclass(frozen=True)
class BenchmarkResult:
    """All scores of a model, and the version of lm-eval that asked the questions."""

    model: str
    lm_eval: str
    scores: list[Score]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def benchmark(
    model: str | Path | LanguageModel,
    tasks: str | Sequence[str],
    settings: EvaluateSettings | None = None,
    **overrides: Any,
) -> BenchmarkResult:
    """Measure a model on tasks of lm-eval, the harness that published figures are made with.

    A task is a name it knows (`hellaswag`), or a file of its format (`my_task.yaml`), whose data
    may be local. Raises UserError where lm-eval is not installed, a task is unknown, or its data
    cannot be had.
    """
    settings = with_overrides(EvaluateSettings, settings, overrides)
    lm_eval = _lm_eval()
    from lm_eval.tasks import TaskManager

    from nextword.evaluation.harness import HarnessModel

    wanted = tasks.split(",") if isinstance(tasks, str) else list(tasks)
    files = {name: Path(name) for name in wanted if Path(name).suffix in (".yaml", ".yml")}
    names = [_task_name(files[name]) if name in files else name.strip() for name in wanted]
    folders = sorted({str(file.parent) for file in files.values()})
    is_local = len(files) == len(wanted)  # to list lm-eval's own tasks takes seconds
    manager = TaskManager(include_path=folders or None, include_defaults=not is_local)
    for name in names:
        if not name or name not in manager.all_tasks:
            raise UserError(
                f"lm-eval has no task {name!r}", mend=nearest(name, list(manager.all_tasks))
            )
    if not isinstance(model, LanguageModel):
        model = load_language_model(model, precision=settings.precision)
    with _data_errors(names):
        found = lm_eval.simple_evaluate(
            model=HarnessModel(model, settings.batch_size),
            tasks=names,
            num_fewshot=settings.shots,
            limit=settings.max_examples,
            task_manager=manager,
            log_samples=False,
            random_seed=settings.seed,
            fewshot_random_seed=settings.seed,
        )
    return BenchmarkResult(model.name, lm_eval.__version__, list(_scores(found)))


def _scores(found: dict[str, Any]) -> Iterator[Score]:
    """Read lm-eval's table: `acc,none` beside `acc_stderr,none`."""
    for task, values in found["results"].items():
        for key, value in values.items():
            name, comma, kind = key.partition(",")
            if not comma or name.endswith("_stderr") or not isinstance(value, int | float):
                continue
            error = values.get(f"{name}_stderr,{kind}")
            interval = None
            if isinstance(error, int | float):
                spread = NORMAL_95 * error
                interval = (value - spread, value + spread)
            examples = found.get("n-samples", {}).get(task, {}).get("effective", 0)
            shots = found.get("n-shot", {}).get(task) or 0
            yield Score(task, name, kind, float(value), interval, int(examples), int(shots))


def _lm_eval() -> Any:
    os.environ.setdefault("TQDM_DISABLE", "1")  # its bars; ours are shown
    try:
        import lm_eval
    except ModuleNotFoundError:
        raise UserError("benchmarks need the package lm-eval", mend=MEND_MISSING) from None
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    return lm_eval


def _task_name(file: Path) -> str:
    """Return the name that a task's file gives it; its functions are not loaded for that."""
    try:
        node = yaml.compose(file.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=file) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"is not YAML ({str(error).splitlines()[0]})", where=file) from None
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    named = {str(key.value): str(value.value) for key, value in pairs}
    if "task" not in named:
        raise UserError("has no `task:`, the name of the benchmark", where=file)
    return named["task"]


@contextmanager
def _data_errors(names: list[str]) -> Iterator[None]:
    """Turn what the harness raises where data cannot be had into one sentence."""
    try:
        yield
    except UserError:
        raise
    except (OSError, ValueError, KeyError, ConnectionError) as error:
        brief = " ".join(str(error).split())[:200]
        raise UserError(
            f"the benchmark cannot be measured: {type(error).__name__}: {brief}",
            where=",".join(names),
            mend="without the Hub, give a task file whose data is local (docs/benchmarks.md)",
        ) from None
