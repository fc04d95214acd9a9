"""What the directory of a fine-tuning run says about it, and what may change when it goes on.

RUN/config.yaml   the model, the data and every setting, to repeat the run
RUN/run.json      the same as it was asked for, and what was decided
RUN/task.json     how data is read for this model: for `evaluate` and `predict`
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.evaluation.seed_stats import SEEDS
from nextword.files import PARTIAL, read_json, write_atomically, write_json
from nextword.runs.pretraining import environment
from nextword.settings import FinetuneSettings, resolve
from nextword.tasks import task_file
from nextword.tasks.learnable import Learnable
from nextword.tasks.planning import Plan
from nextword.training.parallel import Group
from nextword.training.precision import Precision

SEARCH = "search.json"
Kept = dict[str, Any]  # of seeds.json and search.json: settings and "runs", by their folders
FREE_ON_RESUME = {"resume", "keep_checkpoints", "log_to", "on_nonfinite"}


def write(
    run: Path,
    model: str,
    items: list[str],
    settings: FinetuneSettings,
    made: Learnable,
    plan: Plan,
    measured: Precision,
    fingerprints: dict[str, str],
) -> None:
    run.mkdir(parents=True, exist_ok=True)
    write_config(run, model, items, settings, plan, measured)
    task_file.write(run, made.kept)
    write_json(
        run / "run.json",
        {
            "model": model,
            "data": items,
            "fingerprints": fingerprints,
            "settings": settings.model_dump(mode="json", exclude_unset=True),
            "plan": asdict(plan),
            "precision": asdict(measured),
            "environment": environment(),
        },
    )


def write_config(
    run: Path,
    model: str,
    items: list[str],
    settings: FinetuneSettings,
    plan: Plan | None = None,
    measured: Precision | None = None,
) -> None:
    import yaml

    everything = settings.model_dump(mode="json", exclude={"resume"})
    if plan is not None and measured is not None:
        everything |= {
            "batch_size": plan.batch_size,
            "micro_batch": plan.micro_batch,
            "learning_rate": plan.learning_rate,
            "steps": plan.schedule.steps,
            "epochs": None,
            "eval_every": plan.eval_every,
            "save_every": plan.save_every,
            "precision": measured.name,
        }
    resolved = {name: value for name, value in everything.items() if value is not None}
    text = yaml.safe_dump(
        {"model": model, "data": items} | resolved, sort_keys=False, allow_unicode=True
    )
    write_atomically(run / "config.yaml", text.encode())


def check_new(run: Path, settings: FinetuneSettings) -> None:
    """Raises UserError unless a new run can be written there, before anything costs time."""
    if run.exists() and not run.is_dir():
        raise UserError("is a file; a run needs a folder", where=run, mend="choose another --out")
    begun = {
        *("config.yaml", task_file.NAME),
        *(f".{n}{PARTIAL}" for n in ("run.json", "config.yaml", SEEDS, SEARCH)),
    }
    if (run / SEARCH).is_file():  # its best trial's files, before the runs of several seeds
        begun |= {path.name for path in run.iterdir()}
    present = {path.name for path in run.iterdir()} if run.is_dir() else set()
    if present and _has_begun(run) and not (settings.resume and present <= begun):
        raise UserError(
            "exists already", where=run, mend="--resume goes on with it; or choose another --out"
        )
    run.mkdir(parents=True, exist_ok=True)


def read(
    run: Path, model: str, items: list[str], asked: FinetuneSettings
) -> tuple[dict[str, Any], FinetuneSettings]:
    """What run.json says, and the run's settings; UserError where something else is asked for now
    or it was damaged."""
    saved = read_json(run / "run.json")
    try:
        Plan.from_json(saved["plan"])
        Precision(**saved["precision"])
        _ = saved["model"], saved["data"], saved["fingerprints"].items()
        own = resolve(FinetuneSettings, saved["settings"])
    except (TypeError, KeyError, ValueError, AttributeError, UserError):
        raise UserError(
            "does not say what was decided for this run",
            where=run / "run.json",
            mend="put the file back as it was, or start another run",
        ) from None
    return saved, unchanged(run, saved, own, model, items, asked, saved["plan"])


def unchanged(
    run: Path,
    saved: dict[str, Any],
    own: FinetuneSettings,
    model: str,
    items: list[str],
    asked: FinetuneSettings,
    plan: dict[str, Any],
) -> FinetuneSettings:
    """A run's own settings with what may change; UserError where something else is asked for."""
    if (model, items) != (saved["model"], saved["data"]):
        raise UserError(
            f"this run was started from {saved['model']} on {' '.join(saved['data'])}",
            where=run,
            mend="give the same model and data, or choose another --out",
        )
    changed = {}
    for flag, value in asked.model_dump(exclude_unset=True).items():
        if flag in FREE_ON_RESUME:
            changed[flag] = value
        elif value not in (getattr(own, flag), plan.get(flag)):
            raise UserError(
                f"{flag} is {getattr(own, flag)!r} in this run, not {value!r}",
                where=run,
                mend="leave the flag out to go on, or choose another --out",
            )
    return resolve(FinetuneSettings, saved["settings"] | changed)


def begin(
    file: Path, model: str, items: list[str], asked: FinetuneSettings, group: Group
) -> tuple[Kept, FinetuneSettings]:
    """What seeds.json or search.json says of the runs that are over, and the settings of all; a new
    file where none is gone on with. Raises UserError as for a single run, and where no examples
    are held out to choose by."""
    run = file.parent
    if asked.resume and file.is_file() and _has_begun(run):
        kept = read_json(file)
        try:
            own = resolve(FinetuneSettings, kept["settings"])
            _ = kept["model"], kept["data"], kept["runs"].items()
        except (TypeError, KeyError, AttributeError, UserError):
            raise UserError(
                "does not say what was asked for",
                where=file,
                mend="put the file back as it was, or start another run",
            ) from None
        return kept, unchanged(run, kept, own, model, items, asked, {})
    if not (asked.val or asked.val_fraction):
        raise UserError(
            "nothing is held out to choose the best run by",
            mend="leave --val-fraction 0 out, or name a file with --val",
        )
    check_new(run, asked)
    group.wait()
    settings = asked.model_dump(mode="json", exclude_unset=True, exclude={"resume"})
    kept = {"model": model, "data": items, "settings": settings, "runs": {}}
    if group.leads:
        write_config(run, model, items, asked)
        write_json(file, kept)
    group.wait()
    return kept, asked


def _has_begun(run: Path) -> bool:
    """Whether there is more than what was asked for: nothing is where the data was at fault."""
    asked_for = {"config.yaml", SEEDS, SEARCH}
    return any(path.is_file() and path.name not in asked_for for path in run.rglob("*"))


def same_data(saved: dict[str, str], now: dict[str, str], data: list[str], val: list[str]) -> None:
    """Raises UserError where what a run learns from, or is validated on, has changed."""
    for name, files, use in (("data", data, "started"), ("val", val, "validated")):
        if saved.get(name) != now[name]:
            raise UserError(
                f"is not the data that this run was {use} on",
                where=", ".join(files),
                mend="put it back as it was, or choose another --out",
            )
