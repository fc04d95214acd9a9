"""A run directory read back: what was asked, what was measured, what came out."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.files import read_json

Record = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """Everything a report tells. A run that is young or was cut short leaves parts of it empty."""

    path: Path
    data: list[str]
    settings: Record  # all of them, resolved
    asked: set[str]  # the names of those that a person set
    reasons: list[str]  # why the others are what they are
    environment: Record
    model: Record
    manifest: Record
    train: list[Record]
    validations: list[Record]
    samples: list[Record]
    events: list[Record]
    parameters: int | None
    has_model: bool
    finished: str  # why the run is over, once it is

    @property
    def best(self) -> Record | None:
        """The validation whose model is kept."""
        return min(self.validations, key=lambda record: _number(record, "loss"), default=None)

    def happened(self, event: str) -> Record | None:
        """The last event of this name."""
        return next((e for e in reversed(self.events) if e.get("event") == event), None)


def read_run(path: Path) -> Run:
    """Read what a run directory holds. Raises UserError where it is not one, or is damaged."""
    if not path.is_dir():
        raise UserError("no such run directory", where=path)
    config, facts = path / "config.yaml", path / "run.json"
    if not config.exists() and not (path / "metrics.jsonl").exists():
        raise UserError(
            "is not a run: it has neither config.yaml nor metrics.jsonl",
            where=path,
            mend="name the directory that was given to `nextword pretrain --out`",
        )
    resolved = _read_yaml(config) if config.exists() else {}
    decided = _mapping(read_json(facts)) if facts.exists() else {}
    plan = _mapping(decided.get("plan"))
    records: dict[str, list[Record]] = {"train": [], "validation": [], "sample": [], "event": []}
    for record in _read_metrics(path / "metrics.jsonl"):
        kind = str(record.get("kind"))
        if kind in records and (kind in ("sample", "event") or "loss" in record):
            records[kind].append(record)
    model = path / "model"
    return Run(
        path=path,
        data=_texts(resolved.pop("data", decided.get("data"))),
        settings=resolved,
        asked=set(_mapping(decided.get("settings"))),
        reasons=_texts(plan.get("reasons")) + _precision(_mapping(decided.get("precision"))),
        environment=_mapping(decided.get("environment")),
        model=_mapping(plan.get("model")) | _model_config(model / "config.json"),
        manifest=_manifest(path, decided.get("store")),
        train=records["train"],
        validations=records["validation"],
        samples=records["sample"],
        events=records["event"],
        parameters=count_parameters(model),
        has_model=(model / "config.json").exists(),
        finished=_finished(path, records["event"]),
    )


def count_parameters(model: Path) -> int | None:
    """Parameters in a directory's safetensors files, read from their headers alone."""
    from safetensors import SafetensorError, safe_open

    files = sorted(model.glob("*.safetensors"))
    total = 0
    for file in files:
        try:
            with safe_open(file, framework="np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a dict)
                    size = 1
                    for length in tensors.get_slice(name).get_shape():
                        size *= length
                    total += size
        except (SafetensorError, OSError) as error:
            raise UserError(f"is not a sound safetensors file ({error})", where=file) from None
    return total if files else None


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


def _model_config(path: Path) -> Record:
    return _mapping(read_json(path)) if path.exists() else {}


def _manifest(run: Path, store: Any) -> Record:
    """The manifest of the store a run learned from, where it still is."""
    place = run / (store if isinstance(store, str) and store else "store") / "manifest.json"
    return _mapping(read_json(place)) if place.is_file() else {}


def _finished(run: Path, events: list[Record]) -> str:
    """Why a run is over, as its last event or its last checkpoint says; empty while it is not."""
    if events and events[-1].get("event") == "finished":
        return str(events[-1].get("message") or "all steps are taken")
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
