"""A run directory read back: what was asked, what was measured, what came out. Opens no weights."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json

EVALUATION = "evaluation.json"  # what the best model was worth once the run was over
HELD_OUT = "held_out.jsonl"  # each held-out example beside what the best model says of it
OPENINGS = {
    "en": "Once upon a time",
    "zh": "很久以前",
    "fr": "Il était une fois",
    "de": "Es war einmal",
}

Record = dict[str, Any]


@dataclass(frozen=True)
class Weights:
    """What the headers of a directory's safetensors files say."""

    parameters: int
    types: str
    bytes: int


@dataclass(frozen=True)
class Run:
    """All that is known of a run. One that is young or was cut short leaves parts of it empty."""

    path: Path
    data: list[str]
    settings: Record  # all of them, resolved
    asked: set[str]  # the names of those that a person set
    reasons: list[str]  # why the others are what they are
    environment: Record
    precision: str
    planned_steps: int | None
    model: Record  # the model's configuration, as it was planned and as it was kept
    weights: Weights | None
    store: Path | None  # where it still is
    manifest: Record  # of that store
    train: list[Record]
    validations: list[Record]
    samples: list[Record]
    events: list[Record]
    evaluation: Record  # of the best model, once the run was over
    checkpoints: list[str]
    has_model: bool
    finished: str  # why the run is over, once it is
    seeds: Record  # mean and deviation of each figure over the seeds, where there were several
    task: str  # that it was fine-tuned for; "" where it was pretrained

    @property
    def best(self) -> Record | None:
        """The validation whose model is kept."""
        return _best(self.validations)

    @property
    def step(self) -> int:
        """The last step that anything was written down at."""
        written = (*self.train[-1:], *self.validations[-1:], *self.samples[-1:], *self.events[-1:])
        return max((int(record["step"]) for record in written), default=0)

    @property
    def seconds(self) -> float | None:
        """Spent on the run so far, over all resumes."""
        last = (*self.train[-1:], *self.validations[-1:])
        return max((r["seconds"] for r in last if "seconds" in r), default=None)

    @property
    def opening(self) -> str:
        """The beginning of a text in the language that was learned, "" for others than these."""
        languages = _mapping(_mapping(self.manifest.get("summary")).get("languages"))
        return OPENINGS.get(max(languages, key=lambda name: languages[name], default=""), "")

    @property
    def objective(self) -> str:
        return str(self.settings.get("objective", "causal"))

    @property
    def gap(self) -> str:
        """The opening with a gap for its last word."""
        words = self.opening or "Once upon a time"
        before, space, _ = words.rpartition(" ")
        return f"{before if space else words[:-1]}{space}[MASK]"

    @property
    def trial(self) -> str:
        """The command to try first."""
        if self.objective == "denoise":
            return (
                f"nextword finetune {shlex.quote(str(self.path))} DATA --task summarize --out OUT"
            )
        prompt = self.gap if self.objective == "masked" else self.opening
        verb = "fill" if self.objective == "masked" else "generate"
        quoted = f' "{prompt}"' if prompt else ""
        return f"nextword {verb} {shlex.quote(str(self.path))}{quoted}"

    @property
    def tokens_per_second(self) -> float:
        """The median speed of training; 0 where none was measured."""
        speeds = sorted(r["tokens_per_second"] for r in self.train if "tokens_per_second" in r)
        return float(speeds[len(speeds) // 2]) if speeds else 0.0

    def happened(self, event: str) -> Record | None:
        """The last event of this name."""
        return next((e for e in reversed(self.events) if e.get("event") == event), None)


def is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("run.json", "config.yaml", "metrics.jsonl"))


def read_run(path: Path) -> Run:
    """Read what a run directory holds. Raises UserError where it is not one, or is damaged."""
    if not path.is_dir():
        raise UserError("is a file, not a run" if path.exists() else "no such run", where=path)
    if not is_run(path):
        raise UserError(
            "is not a run: it has neither run.json nor metrics.jsonl",
            where=path,
            mend="name the directory that was given to --out of `nextword pretrain` or `finetune`",
        )
    resolved = _read_yaml(path / "config.yaml")
    decided = _read_object(path / "run.json")
    plan = _mapping(decided.get("plan"))
    precision = _mapping(decided.get("precision"))
    records: dict[str, list[Record]] = {"train": [], "validation": [], "sample": [], "event": []}
    for record in _read_metrics(path / "metrics.jsonl"):
        kind = str(record.get("kind"))
        if kind in records and (kind in ("sample", "event") or "loss" in record):
            records[kind].append(record)
    several = _read_object(path / "seeds.json") or _read_object(path / "search.json")
    best = _mapping(_mapping(several.get("runs")).get(str(several.get("best"))))
    model, store = path / "model", _store(path, decided.get("store"))
    return Run(
        path=path,
        data=_texts(resolved.pop("data", decided.get("data"))),
        settings=resolved,
        asked=set(_mapping(decided.get("settings"))),
        reasons=_texts(plan.get("reasons")) + _precision(precision),
        environment=_mapping(decided.get("environment")),
        precision=str(precision.get("name", "")),
        planned_steps=_mapping(plan.get("schedule")).get("steps"),
        model=_mapping(plan.get("model")) | _read_object(model / "config.json"),
        weights=read_weights(model),
        store=store,
        manifest=_read_object(store / "manifest.json") if store else {},
        train=records["train"],
        validations=records["validation"],
        samples=records["sample"],
        events=records["event"],
        evaluation=_evaluation(path / EVALUATION, records["validation"]),
        checkpoints=sorted(p.name for p in path.glob("checkpoints/step-*") if p.is_dir()),
        has_model=(model / "config.json").is_file(),
        finished=_finished(path) or str(best.get("finished") or ""),
        seeds=_mapping(several.get("metrics")),
        task=str(_read_object(path / "task.json").get("task") or ""),
    )


def read_weights(model: Path) -> Weights | None:
    """What the headers of safetensors files say; None where there are none."""
    from safetensors import SafetensorError, safe_open

    files = sorted(model.glob("*.safetensors"))
    parameters, types = 0, set()
    for file in files:
        try:
            file.open("rb").close()  # safetensors calls all that cannot be opened missing
            with safe_open(file, framework="np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a dict)
                    tensor = tensors.get_slice(name)
                    parameters += prod(tensor.get_shape())
                    types.add(str(tensor.get_dtype()))
        except PermissionError:
            raise
        except (SafetensorError, OSError) as error:
            raise UserError(f"is not a sound safetensors file ({error})", where=file) from None
    size = sum(file.stat().st_size for file in files)
    return Weights(parameters, ", ".join(sorted(types)), size) if files else None


def _best(validations: list[Record]) -> Record | None:
    """The last that was the best so far: by the loss, or by the metric of a task."""
    said = [record for record in validations if record.get("best") is True]
    if said:
        return said[-1]
    return min(validations, key=lambda record: _number(record, "loss"), default=None)


def _evaluation(path: Path, validations: list[Record]) -> Record:
    """What was measured at the end, unless the run went on to a better model since."""
    found, best = _read_object(path), _best(validations)
    return found if best and found.get("step") == best["step"] else {}


def _read_metrics(path: Path) -> Iterator[Record]:
    """The records of metrics.jsonl; a last line without its end was cut off by a crash."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                if not isinstance(record, dict):
                    raise ValueError("not an object")
                for name in {"step", "loss"} & {"step", *record}:
                    _number(record, name)
            except (ValueError, RecursionError):
                if not line.endswith(b"\n"):
                    return
                raise UserError(
                    "is not a record of metrics (a JSON object with a step)",
                    where=f"{path}:{number}",
                    mend="remove the line",
                ) from None
            yield record


def _number(record: Record, name: str) -> float:
    value = record.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} is not a number")
    return float("inf") if value != value else float(value)


def _read_yaml(path: Path) -> Record:
    import yaml

    if not path.is_file():
        return {}
    try:
        value = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"is not valid YAML ({error.problem})", where=f"{path}:{line}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"is not UTF-8 at byte {error.start}", where=path) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"is not valid YAML ({error})", where=path) from None
    return _mapping(value)


def _read_object(path: Path) -> Record:
    """A JSON file's object; empty where there is no such file."""
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("expected a JSON object", where=path)
    return value


def _store(run: Path, named: Any) -> Path | None:
    """The store a run learned from, where it still is."""
    place = run / (named if isinstance(named, str) and named else "store")
    return place if (place / "manifest.json").is_file() else None


def _finished(run: Path) -> str:
    """Why a run is over, as its last checkpoint says; empty while it is not."""
    for state in sorted(run.glob("checkpoints/step-*/state.json"), reverse=True)[:1]:
        with contextlib.suppress(UserError):  # damaged: --resume will say so
            return str(_mapping(read_json(state)).get("finished") or "")
    return ""


def _precision(measured: Record) -> list[str]:
    known = {"name", "reason"} <= set(measured)
    return [f"{measured['name']}: {measured['reason']}"] if known else []


def _texts(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value]) if item]


def _mapping(value: Any) -> Record:
    return value if isinstance(value, dict) else {}
