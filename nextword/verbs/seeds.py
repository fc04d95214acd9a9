"""The same fine-tuning from several seeds: how much of a result is chance.

RUN/seeds.json      what was asked for, how each seed went, and the mean and deviation over them
RUN/seed-1337/ ...  a run directory a seed: other first weights of a head, another order of the
                    examples, the same examples held out
RUN/model/ and the files beside it are the best seed's, so that every command works on RUN.
"""

from __future__ import annotations

import math
import shutil
from dataclasses import asdict, replace
from pathlib import Path

from nextword.evaluation.seed_stats import SEEDS, seed_stats
from nextword.files import whole_directory, write_atomically, write_json
from nextword.runs import finetuning
from nextword.runs.record import EVALUATION
from nextword.settings import FinetuneSettings
from nextword.tasks import task_file
from nextword.tasks.kept import HELD_OUT
from nextword.terminal import say
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.verbs.finetune_run import Finetuned, adapt

PUBLISHED = ("run.json", task_file.NAME, "metrics.jsonl", EVALUATION, HELD_OUT)


def from_seeds(
    model: str,
    items: list[str],
    run: Path,
    settings: FinetuneSettings,
    group: Group,
    interrupt: Interrupt,
) -> Finetuned:
    """How the best seed did, and the spread over all. Those that are over are not done again."""
    kept, settings = finetuning.begin(run / SEEDS, model, items, settings, group)
    for seed in range(settings.seed, settings.seed + settings.seeds):
        name = f"seed-{seed}"
        if name in kept["runs"]:
            continue
        if group.leads:
            say(f"Seed {seed}, {len(kept['runs']) + 1} of {settings.seeds}", style="bold")
        own = {"seed": seed, "split_seed": settings.splits_by}
        alone = settings.model_copy(update=own | {"seeds": 1, "search": 0, "resume": True})
        done = adapt(model, items, run / name, alone, group, interrupt)
        if done.signal:
            return replace(done, run=str(run))
        kept["runs"][name] = asdict(done)
        if group.leads:
            write_json(run / SEEDS, kept)
    runs = kept["runs"]
    best = best_of(kept)
    found = seed_stats([{"loss": each["loss"], **each["figures"]} for each in runs.values()])
    if group.leads:
        publish(run / best, run)
        told = {name: asdict(spread) for name, spread in found.items()}
        write_json(run / SEEDS, kept | {"best": best, "metrics": told})
    group.wait()
    return replace(Finetuned(**runs[best]), run=str(run), seeds=found)


def best_of(kept: finetuning.Kept) -> str:
    """The name of the run that did best on the examples held out, of equal ones by its loss."""

    def order(name: str) -> tuple[float, float]:
        run = kept["runs"][name]
        return (-math.inf, 0.0) if run["score"] is None else (run["score"], -run["loss"])

    return max(kept["runs"], key=order)


def publish(best: Path, run: Path) -> None:
    """The best run's files and model as those of `run`, its model last."""
    for name in PUBLISHED:
        if (best / name).is_file():
            write_atomically(run / name, (best / name).read_bytes())
    for name in ("adapter", "model"):
        if (best / name).is_dir():
            with whole_directory(run / name) as aside:
                shutil.copytree(best / name, aside, dirs_exist_ok=True)
