"""What a run directory says about how it was made, and what may change when it goes on.

RUN/config.yaml   the data and every setting, to repeat the run with `--config RUN/config.yaml`
RUN/run.json      what was asked for and what was decided: plan, precision, environment
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError

import nextword
from nextword.errors import UserError
from nextword.files import PARTIAL, read_json, write_atomically, write_json
from nextword.registry import TASK_FILE
from nextword.settings import FinetuneSettings, PretrainSettings, resolve
from nextword.training.machine import Precision
from nextword.training.planning import PretrainPlan
from nextword.training.schedule import FinetunePlan

FILE = "run.json"
LENGTH = ("steps", "epochs", "budget")
FREE_ON_RESUME = {"resume", "threads", "keep_checkpoints", "log_to", "on_nonfinite", "shard"}
FREE_WHILE_PRETRAINING = {*FREE_ON_RESUME, "change_length", "workers", "cluster", *LENGTH}
# Settings that a model's config and a plan have under the same names.
SHAPE = ["family", "layers", "width", "heads", "kv_heads", "mlp_width", "context_length", "tied"]
PLANNED = ("batch_size", "micro_batch", "learning_rate", "eval_every", "save_every")
PLANNED_TO_PRETRAIN = ("weight_decay", "momentum", "eval_tokens", "sample_every")
SEEDS = "seeds.json"  # in a run directory of several seeds
SEARCH = "search.json"  # in one of several trials
STORE = "store"  # of a pretraining run, with the text it was given


@dataclass
class Configuration:
    """What RUN/run.json holds of any run; `settings` are those that a person set."""

    data: list[str]
    settings: dict[str, Any]
    precision: Precision
    environment: dict[str, Any]


@dataclass
class PretrainConfiguration(Configuration):
    """`store` is its path from the run directory, `store_tokenizer` a SHA-256."""

    plan: PretrainPlan
    store: str
    store_tokenizer: str
    store_sums: dict[str, Any]

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting with the value it took, so that these alone repeat the run."""
        settings = resolve(PretrainSettings, self.settings)
        plan = self.plan
        chosen = {name: plan.model[name] for name in SHAPE}
        chosen |= {name: getattr(plan, name) for name in (*PLANNED, *PLANNED_TO_PRETRAIN)}
        chosen |= {"warmup": float(plan.schedule.warmup), "precision": self.precision.name}
        chosen |= {"compile": "yes" if plan.compile else "no"}
        chosen |= _threads(self.precision)
        everything = settings.model_dump(exclude={"resume", "change_length", "size", "epochs"})
        if settings.budget is None or settings.steps or settings.epochs:
            chosen["steps"] = plan.schedule.steps
            everything.pop("budget")
        return {name: v for name, v in (everything | chosen).items() if v is not None}


@dataclass
class FinetuneConfiguration(Configuration):
    """`model` is the one that the run began from, `fingerprints` digests of its data;
    `pretrained_on` is the path, from the run directory, of the store that its model was pretrained
    on, None where that is not known."""

    plan: FinetunePlan
    model: str
    fingerprints: dict[str, str]
    pretrained_on: str | None = None

    @property
    def resolved(self) -> dict[str, Any]:
        """Every setting with the value it took, so that these alone repeat the run."""
        settings = resolve(FinetuneSettings, self.settings)
        everything = settings.model_dump(mode="json", exclude={"resume", "epochs"})
        chosen = {name: getattr(self.plan, name) for name in PLANNED}
        chosen |= {"steps": self.plan.schedule.steps, "precision": self.precision.name}
        chosen |= _threads(self.precision)
        return {name: v for name, v in (everything | chosen).items() if v is not None}


def _threads(precision: Precision) -> dict[str, int]:
    return {"threads": precision.threads} if precision.threads else {}


C = TypeVar("C", PretrainConfiguration, FinetuneConfiguration)
S = TypeVar("S", PretrainSettings, FinetuneSettings)


def write(run: Path, configuration: PretrainConfiguration | FinetuneConfiguration) -> None:
    """Write RUN/config.yaml and RUN/run.json."""
    inputs: dict[str, Any] = {"data": configuration.data}
    if isinstance(configuration, FinetuneConfiguration):
        inputs = {"model": configuration.model} | inputs
    write_yaml(run, inputs | configuration.resolved)
    write_json(run / FILE, asdict(configuration))


def write_yaml(run: Path, values: Mapping[str, Any]) -> None:
    """Write RUN/config.yaml, which repeats the run."""
    import yaml

    verb = "finetune" if "model" in values else "pretrain"
    run.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
    header = f"# Repeat this run: nextword {verb} --config {run}/config.yaml --out ANOTHER_RUN\n"
    write_atomically(run / "config.yaml", (header + text).encode())


def read(run: Path, kind: type[C]) -> C:
    """Read RUN/run.json. Raises UserError where it does not say what was decided."""
    where = run / FILE
    content = read_json(where)
    try:
        configuration: C = TypeAdapter(kind).validate_json(json.dumps(content), strict=True)
        _ = configuration.resolved
        if isinstance(configuration, PretrainConfiguration):
            _ = configuration.plan.config
    except (ValidationError, UserError, TypeError, ValueError, KeyError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            reason = ".".join(map(str, error.errors()[0]["loc"])) or "it is not an object"
        raise UserError(
            f"does not say what was decided for this run ({reason})",
            where=where,
            mend="put the file back as it was, or start another run",
        ) from None
    return configuration


def settings_to_resume(
    run: Path,
    own: S,
    asked: S,
    resolved: Mapping[str, Any],
    free: Collection[str] = FREE_ON_RESUME,
) -> S:
    """Return a run's own settings with those that may change, the `free` ones, as they are asked
    for now. Raises UserError where another one is asked for with another value than the run's own
    or the one it was `resolved` to."""
    changes = {}
    for name, value in asked.model_dump(exclude_unset=True).items():
        if name in free:
            changes[name] = value
        elif value not in (getattr(own, name), resolved.get(name)):
            raise UserError(
                f"{name} is {getattr(own, name)!r} in this run, not {value!r}",
                where=run,
                mend="leave the flag out to go on, or choose another --out",
            )
    kept = own.model_dump(exclude_unset=True)
    return resolve(type(own), kept | changes)


def pretrain_settings_to_resume(
    run: Path, configuration: PretrainConfiguration, data: list[str], asked: PretrainSettings
) -> PretrainSettings:
    """Return a pretraining run's settings to go on with. Raises UserError where other data, another
    setting, or without --change-length another length is asked for."""
    if data and data != configuration.data:
        raise UserError(
            f"this run was started on {' '.join(configuration.data)}, not {' '.join(data)}",
            where=run,
            mend="give the same data or none, or choose another --out",
        )
    own, resolved = resolve(PretrainSettings, configuration.settings), configuration.resolved
    lengths = asked.model_dump(exclude_unset=True, include=set(LENGTH))
    for name, value in lengths.items():
        if not asked.change_length and value not in (getattr(own, name), resolved.get(name)):
            raise UserError(
                f"--{name} {value} is another length than the run's own, and would bend its "
                "learning-rate schedule",
                where=run,
                mend="add --change-length if that is meant, or leave the flag out",
            )
    settings = settings_to_resume(run, own, asked, resolved, FREE_WHILE_PRETRAINING)
    if not asked.change_length:
        return settings
    given = settings.model_dump(exclude_unset=True) | dict.fromkeys(LENGTH)
    return resolve(PretrainSettings, given | lengths)


def environment() -> dict[str, Any]:
    """Return the facts of this machine and of the software, for RUN/run.json."""
    return {
        "nextword": nextword.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "command": " ".join(["nextword", *sys.argv[1:]]),
    }


def _processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or "unknown"


def check_new(run: Path, settings: FinetuneSettings) -> None:
    """Raise UserError unless a new run can be written there, before anything costs time."""
    begun = {
        *("config.yaml", TASK_FILE),
        *(f".{name}{PARTIAL}" for name in ("run.json", "config.yaml", SEEDS, SEARCH)),
    }
    if (run / SEARCH).is_file():  # its best trial's files, before the runs of several seeds
        begun |= {path.name for path in run.iterdir()}
    present = _present(run)
    is_free = not present or (settings.resume and present <= begun)
    refuse_to_overwrite(run, not is_free and has_begun(run))
    run.mkdir(parents=True, exist_ok=True)


def refuse_to_overwrite(run: Path, has_begun: bool) -> None:
    """Raise UserError where a new run would replace a file, or a run that has begun."""
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    if has_begun:
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )


def has_begun(run: Path) -> bool:
    """Whether there is more than what was asked for: nothing is where the data was at fault."""
    asked_for = {"config.yaml", SEEDS, SEARCH}
    places = [run / name for name in _present(run)]
    files = [path for place in places for path in (place, *place.rglob("*")) if path.is_file()]
    return any(path.name not in asked_for for path in files)


def has_begun_to_pretrain(run: Path) -> bool:
    """Whether there is more than text that was prepared: a store that is of the same text and
    settings is used again, and another one refused when it is opened."""
    return bool(_present(run) - {STORE})


def _present(run: Path) -> set[str]:
    """Return the names of what is in a run's directory, without what a stopped `prepare` left:
    the next one goes on with it or clears it away."""
    names = {path.name for path in run.iterdir()} if run.is_dir() else set()
    return {name for name in names if not name.startswith(f".{STORE}.")}


def seed_runs(place: Path) -> list[Path]:
    """Return the runs behind a run of several seeds that is over, the one whose model it holds
    first; none behind others."""
    if not (place / SEEDS).is_file():
        return []
    content = read_json(place / SEEDS)
    if "best" not in content:
        return []
    return [
        place / name for name in sorted(content["runs"], key=lambda name: name != content["best"])
    ]
