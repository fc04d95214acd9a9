"""What a run directory says about its run, and what may change when it goes on.

RUN/config.yaml   the data and every setting, to repeat the run with `--config RUN/config.yaml`
RUN/run.json      what was decided for it: store, model, plan, precision, environment
"""

from __future__ import annotations

import json
import os
import platform
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import TypeAdapter, ValidationError

import nextword
from nextword.errors import UserError
from nextword.files import DISK_FULL, read_json, write_atomically, write_json
from nextword.settings import PretrainSettings, resolve
from nextword.tokens.store import Store
from nextword.training.planning import Plan
from nextword.training.precision import Precision

HORIZON = ("steps", "epochs", "budget")
FREE_ON_RESUME = {
    "resume",
    "new_horizon",
    "workers",
    "keep_checkpoints",
    "log_to",
    "on_nonfinite",
    *HORIZON,
}


@dataclass
class Decided:
    """What RUN/run.json holds."""

    data: list[str]
    settings: dict[str, Any]  # those that a person set
    store: str  # its path from the run directory
    store_tokenizer: str  # SHA-256
    store_sums: dict[str, Any]
    plan: Plan
    precision: Precision
    environment: dict[str, Any]


def write(
    run: Path,
    data: list[str],
    settings: PretrainSettings,
    store: Store,
    plan: Plan,
    measured: Precision,
) -> None:
    import yaml

    run.mkdir(parents=True, exist_ok=True)
    resolved = _resolved(settings, plan, measured)
    text = yaml.safe_dump({"data": data} | resolved, sort_keys=False, allow_unicode=True)
    header = f"# Repeat this run: nextword pretrain --config {run}/config.yaml --out ANOTHER_RUN\n"
    write_atomically(run / "config.yaml", (header + text).encode())
    decided = Decided(
        data=data,
        settings=settings.model_dump(exclude_unset=True),
        store=os.path.relpath(store.path, run),
        store_tokenizer=store.manifest["tokenizer"]["sha256"],
        store_sums=store.manifest["files"],
        plan=plan,
        precision=measured,
        environment=environment(),
    )
    write_json(run / "run.json", asdict(decided))


def read(run: Path) -> Decided:
    """What was decided for a run. Raises UserError where run.json does not say it."""
    where = run / "run.json"
    found = read_json(where)
    try:
        decided = TypeAdapter(Decided).validate_json(json.dumps(found), strict=True)
        _ = decided.plan.config
    except (ValidationError, TypeError, ValueError, KeyError) as error:
        reason = str(error)
        if isinstance(error, ValidationError):
            reason = ".".join(map(str, error.errors()[0]["loc"])) or "it is not an object"
        raise UserError(
            f"does not say what was decided for this run ({reason})",
            where=where,
            mend="put the file back as it was, or start another run",
        ) from None
    return decided


def _resolved(settings: PretrainSettings, plan: Plan, measured: Precision) -> dict[str, Any]:
    """Every setting with the value it took, so that the file alone repeats the run."""
    model = plan.model
    chosen = {
        "family": model["family"],
        "layers": model["layers"],
        "width": model["width"],
        "heads": model["heads"],
        "kv_heads": model["kv_heads"],
        "mlp_width": model["mlp_width"],
        "context_length": model["context_length"],
        "tied": model["tied"],
        "batch_size": plan.batch_size,
        "micro_batch": plan.micro_batch,
        "learning_rate": plan.learning_rate,
        "weight_decay": plan.weight_decay,
        "momentum": plan.momentum,
        "warmup": float(plan.schedule.warmup),
        "eval_every": plan.eval_every,
        "eval_tokens": plan.eval_tokens,
        "sample_every": plan.sample_every,
        "save_every": plan.save_every,
        "precision": measured.name,
        "compile": "yes" if plan.compile else "no",
    }
    if settings.budget is None or settings.steps or settings.epochs:
        chosen["steps"] = plan.schedule.steps
    everything = settings.model_dump(exclude={"resume", "new_horizon", "size", "epochs"})
    if "steps" in chosen:
        everything.pop("budget")
    return {name: value for name, value in (everything | chosen).items() if value is not None}


def environment() -> dict[str, Any]:
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


def settings_of(
    run: Path, data: list[str], asked: PretrainSettings
) -> tuple[list[str], PretrainSettings]:
    """A run's own data and settings; UserError where what is asked for differs from them."""
    saved = read(run)
    if data and data != saved.data:
        raise UserError(
            f"this run was started on {' '.join(saved.data)}, not {' '.join(data)}",
            where=run,
            mend="give the same data or none, or choose another --out",
        )
    own = resolve(PretrainSettings, saved.settings)
    given = asked.model_dump(exclude_unset=True)
    decided = _resolved(own, saved.plan, saved.precision)
    for name, value in given.items():
        known = {own.model_dump()[name], decided.get(name)} if _hashable(value) else None
        same = value in known if known is not None else value == own.model_dump()[name]
        if name in HORIZON and not same and not asked.new_horizon:
            raise UserError(
                f"--{name} {value} is another horizon than the run's own, and would bend its "
                "learning-rate schedule",
                where=run,
                mend="add --new-horizon if that is meant, or leave the flag out",
            )
        if name not in FREE_ON_RESUME and not same:
            raise UserError(
                f"{name} is {own.model_dump()[name]!r} in this run, not {value!r}",
                where=run,
                mend="leave the flag out to go on, or choose another --out",
            )
    changed = {name: value for name, value in given.items() if name in FREE_ON_RESUME}
    if asked.new_horizon:
        changed |= {name: given.get(name) for name in HORIZON}
    return saved.data, resolve(PretrainSettings, saved.settings | changed)


def _hashable(value: Any) -> bool:
    return not isinstance(value, list | dict)


def remedy(error: OSError) -> str:
    """What mends a run that the disk has ended; "" where that is not known."""
    full = error.errno in DISK_FULL
    return "free some space and run the same command with --resume" if full else ""
