"""A run directory read back: what was asked, what was measured, what came out. Opens no weights."""

from __future__ import annotations

import contextlib
import json
import math
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from statistics import median_high
from typing import Any, NamedTuple

from nextword.errors import UserError
from nextword.files import read_json, yaml_errors
from nextword.terminal import command_name

EVALUATION = "evaluation.json"  # what the best model was worth once the run was over
HELD_OUT = "held_out.jsonl"  # each held-out example beside what the best model says of it
OPENINGS = {
    "en": "Once upon a time",
    "zh": "很久以前",
    "fr": "Il était une fois",
    "de": "Es war einmal",
}

Record = dict[str, Any]


class Weights(NamedTuple):
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
    best: Record | None  # the validation whose model is kept
    samples: list[Record]
    events: list[Record]
    evaluation: Record  # of the best model, once the run was over
    checkpoints: list[str]
    has_model: bool
    finished: str  # why the run is over, once it is
    seeds: Record  # mean and deviation of each figure over the seeds, where there were several
    task: str  # that it was fine-tuned for; "" where it was pretrained

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
        return opening_of(self.manifest)

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
        path = shlex.quote(str(self.path))
        if self.objective == "denoise":
            return f"{command_name()} finetune {path} DATA --task summarize --out OUT"
        verb, prompt = "generate", self.opening
        if self.objective == "masked":
            verb, prompt = "fill", self.gap
        return f"{command_name()} {verb} {path}" + (f' "{prompt}"' if prompt else "")

    @property
    def tokens_per_second(self) -> float:
        """The median speed of training; 0 where none was measured."""
        speeds = [r["tokens_per_second"] for r in self.train if "tokens_per_second" in r]
        return float(median_high(speeds)) if speeds else 0.0

    def happened(self, event: str) -> Record | None:
        """The last event of this name."""
        return next((e for e in reversed(self.events) if e.get("event") == event), None)


def is_run(path: Path) -> bool:
    return any((path / name).is_file() for name in ("run.json", "config.yaml", "metrics.jsonl"))


def read_run(path: Path) -> Run:
    """Read what a run directory holds. Raises UserError where it is not one, or is damaged."""
    import yaml

    if not path.is_dir():
        raise UserError("is a file, not a run" if path.exists() else "no such run", where=path)
    if not is_run(path):
        raise UserError(
            "is not a run: it has neither run.json nor metrics.jsonl",
            where=path,
            mend="name the directory that was given to --out of `nextword pretrain` or `finetune`",
        )
    settings, decided = {}, read_object(path / "run.json")
    if (configuration := path / "config.yaml").is_file():
        with yaml_errors(configuration):
            settings = mapping(yaml.safe_load(configuration.read_text(encoding="utf-8")))
    plan, precision = mapping(decided.get("plan")), mapping(decided.get("precision"))
    reasons = _texts(plan.get("reasons"))
    if {"name", "reason"} <= set(precision):
        reasons.append(f"{precision['name']}: {precision['reason']}")
    records: dict[str, list[Record]] = {"train": [], "validation": [], "sample": [], "event": []}
    for record in _read_metrics(path / "metrics.jsonl"):
        kind = str(record.get("kind"))
        if kind in records and (kind in ("sample", "event") or "loss" in record):
            records[kind].append(record)
    best, evaluation = _best(records["validation"]), read_object(path / EVALUATION)
    is_of_best = best is not None and evaluation.get("step") == best["step"]
    several = read_object(path / "seeds.json") or read_object(path / "search.json")
    best_of_several = mapping(mapping(several.get("runs")).get(str(several.get("best"))))
    model, named = path / "model", decided.get("store")
    store = path / (named if isinstance(named, str) and named else "store")
    has_store = (store / "manifest.json").is_file()
    return Run(
        path=path,
        data=_texts(settings.pop("data", decided.get("data"))),
        settings=settings,
        asked=set(mapping(decided.get("settings"))),
        reasons=reasons,
        environment=mapping(decided.get("environment")),
        precision=str(precision.get("name", "")),
        planned_steps=mapping(plan.get("schedule")).get("steps"),
        model=mapping(plan.get("model")) | read_object(model / "config.json"),
        weights=read_weights(model),
        store=store if has_store else None,
        manifest=read_object(store / "manifest.json"),
        train=records["train"],
        validations=records["validation"],
        best=best,
        samples=records["sample"],
        events=records["event"],
        evaluation=evaluation if is_of_best else {},
        checkpoints=sorted(p.name for p in path.glob("checkpoints/step-*") if p.is_dir()),
        has_model=(model / "config.json").is_file(),
        finished=_finished(path) or str(best_of_several.get("finished") or ""),
        seeds=mapping(several.get("metrics")),
        task=str(read_object(path / "task.json").get("task") or ""),
    )


def opening_of(manifest: Record) -> str:
    """Return the beginning of a text in the language that most of a store is in, "" for others than
    those of OPENINGS."""
    languages = mapping(mapping(manifest.get("summary")).get("languages"))
    return OPENINGS.get(max(languages, key=lambda name: languages[name], default=""), "")


def read_object(path: Path) -> Record:
    """Read a JSON file's object, an empty one where there is no such file. Raises UserError where
    it holds something else."""
    if not path.is_file():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise UserError("expected a JSON object", where=path)
    return value


def mapping(value: Any) -> Record:
    """Return a value that is a mapping, else an empty one."""
    return value if isinstance(value, dict) else {}


def read_weights(model: Path) -> Weights | None:
    """What the headers of safetensors files say, or the table of a GGUF file; None where there are
    none."""
    from safetensors import SafetensorError, safe_open

    if (model / "weights.table.json").is_file():
        from nextword.hub.stand_ins import described, read_table

        if (table := read_table(model)) is not None:
            return Weights(*described(table))
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
    if marked := [record for record in validations if record.get("best") is True]:
        return marked[-1]
    return min(validations, key=lambda r: (math.isnan(r["loss"]), r["loss"]), default=None)


def _read_metrics(path: Path) -> Iterator[Record]:
    """The records of metrics.jsonl; a last line without its end was cut off by a crash."""
    if not path.exists():
        return
    with open(path, "rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                record = json.loads(line)
                if not all(map(_is_number, (record["step"], record.get("loss", 0.0)))):
                    raise ValueError("step or loss is not a number")
            except (ValueError, KeyError, TypeError, RecursionError):
                if not line.endswith(b"\n"):
                    return
                raise UserError(
                    "is not a record of metrics (a JSON object with a step)",
                    where=f"{path}:{number}",
                    mend="remove the line",
                ) from None
            yield record


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finished(run: Path) -> str:
    """Why a run is over, as its last checkpoint says; empty while it is not."""
    for state in sorted(run.glob("checkpoints/step-*/state.json"), reverse=True)[:1]:
        with contextlib.suppress(UserError):  # damaged: --resume will say so
            return str(mapping(read_json(state)).get("finished") or "")
    return ""


def _texts(value: Any) -> list[str]:
    return [str(item) for item in (value if isinstance(value, list) else [value]) if item]
