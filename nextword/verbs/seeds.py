"""The same fine-tuning from several seeds: how much of a result is chance.

RUN/seeds.json      what was asked for, how each seed went, and the mean and deviation over them
RUN/seed-1337/ ...  a run directory a seed: other first weights of a head, another order of the
                    examples, the same examples held out
RUN/model/ and the files beside it are the best seed's, so that every command works on RUN.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nextword.errors import UserError
from nextword.evaluation.bootstrap import seed_stats
from nextword.files import read_json, whole_directory, write_atomically, write_json
from nextword.registry import TASK_FILE
from nextword.runs import configuration
from nextword.runs.configuration import SEEDS, check_new, has_begun
from nextword.runs.record import EVALUATION, HELD_OUT
from nextword.settings import FinetuneSettings, resolve
from nextword.terminal import say
from nextword.verbs.finetune_run import Finetuned, Work, check_same_start, finetune_once

PUBLISHED = (configuration.FILE, TASK_FILE, "metrics.jsonl", EVALUATION, HELD_OUT)


@dataclass
class Sweep:
    """Several runs of one command: `content` is what seeds.json or search.json holds, the runs that
    are over by their folders."""

    file: Path
    settings: FinetuneSettings
    content: dict[str, Any]

    @classmethod
    def open(cls, file: Path, work: Work, asked: FinetuneSettings) -> Sweep:
        """Open the runs to go on with, or begin new ones. Raises UserError as for a single run, and
        where no examples are held out to choose by."""
        run = file.parent
        if asked.resume and file.is_file() and has_begun(run):
            content = read_json(file)
            try:
                own = resolve(FinetuneSettings, content["settings"])
                _ = content["model"], content["data"], content["runs"].items()
            except (TypeError, KeyError, AttributeError, UserError):
                raise UserError(
                    "does not say what was asked for",
                    where=file,
                    mend="put the file back as it was, or start another run",
                ) from None
            check_same_start(run, content["model"], content["data"], work)
            return cls(file, configuration.settings_to_resume(run, own, asked, {}), content)
        if not (asked.val or asked.val_fraction):
            raise UserError(
                "nothing is held out to choose the best run by",
                mend="leave --val-fraction 0 out, or name a file with --val",
            )
        check_new(run, asked)
        work.group.barrier()
        settings = asked.model_dump(mode="json", exclude_unset=True, exclude={"resume"})
        content = {"model": work.model, "data": work.items, "settings": settings, "runs": {}}
        if work.group.is_main:
            everything = asked.model_dump(mode="json", exclude={"resume"}, exclude_none=True)
            start = {"model": work.model, "data": work.items}
            configuration.write_yaml(run, start | everything)
            write_json(file, content)
        work.group.barrier()
        return cls(file, asked, content)

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        runs: dict[str, dict[str, Any]] = self.content["runs"]
        return runs

    @property
    def best(self) -> str:
        """The name of the run that did best on the examples held out, of equal ones by its loss."""

        def order(name: str) -> tuple[float, float]:
            run = self.runs[name]
            return (-math.inf, 0.0) if run["score"] is None else (run["score"], -run["loss"])

        return max(self.runs, key=order)

    def write(self, **more: Any) -> None:
        """Write the file as it is now, with more keys."""
        write_json(self.file, self.content | more)


def finetune_seeds(work: Work, run: Path, settings: FinetuneSettings) -> Finetuned:
    """Carry out a run for each seed that is not over yet; return the best one's result, with the
    statistics over all."""
    sweep = Sweep.open(run / SEEDS, work, settings)
    settings = sweep.settings
    for seed in range(settings.seed, settings.seed + settings.seeds):
        name = f"seed-{seed}"
        if name in sweep.runs:
            continue
        if work.group.is_main:
            say(f"Seed {seed}, {len(sweep.runs) + 1} of {settings.seeds}", style="bold")
        own = {"seed": seed, "split_seed": settings.splits_by}
        alone = settings.model_copy(update=own | {"seeds": 1, "search": 0, "resume": True})
        done = finetune_once(work, run / name, alone)
        if done.signal:
            return replace(done, run=str(run))
        sweep.runs[name] = asdict(done)
        if work.group.is_main:
            sweep.write()
    best = sweep.best
    statistics = seed_stats(
        [{"loss": each["loss"], **each["metrics"]} for each in sweep.runs.values()]
    )
    if work.group.is_main:
        publish(run / best, run)
        sweep.write(best=best, metrics={name: asdict(s) for name, s in statistics.items()})
    work.group.barrier()
    return replace(Finetuned(**sweep.runs[best]), run=str(run), seeds=statistics)


def publish(best: Path, run: Path) -> None:
    """Make the best run's files and model those of `run`, its model last."""
    for name in PUBLISHED:
        if (best / name).is_file():
            write_atomically(run / name, (best / name).read_bytes())
    for name in ("adapter", "model"):
        if (best / name).is_dir():
            with whole_directory(run / name) as aside:
                shutil.copytree(best / name, aside, dirs_exist_ok=True)
