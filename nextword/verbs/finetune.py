"""`finetune`: a model and labelled data in, a run directory with a model for that task out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from nextword.evaluation.seed_stats import SEEDS
from nextword.settings import FinetuneSettings, resolve
from nextword.tasks import planning
from nextword.training import session
from nextword.training.interrupt import Interrupt
from nextword.training.parallel import Group
from nextword.verbs.finetune_run import Finetuned, adapt
from nextword.verbs.search import SEARCH, search
from nextword.verbs.seeds import from_seeds


def finetune(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    out: str | Path,
    settings: FinetuneSettings | None = None,
    **overrides: Any,
) -> Finetuned:
    """Adapt a model, ours or of the Hub, to labelled data; `out` becomes a run directory.

    With `resume=True` a run that was stopped goes on, bit for bit. Raises UserError where model,
    data and settings do not fit.
    """
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    settings = resolve(FinetuneSettings, given | overrides)
    planning.check(settings)
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    run = Path(out)
    started = time.monotonic()
    return session.supervised(
        run,
        lambda group, interrupt: _work(str(model), items, run, settings, group, interrupt),
        lambda number: Finetuned(
            str(run), settings.task, seconds=round(time.monotonic() - started, 2), signal=number
        ),
        smaller="give a smaller --micro-batch or --max-length, or --lora",
    )


def _work(
    model: str,
    items: list[str],
    run: Path,
    settings: FinetuneSettings,
    group: Group,
    interrupt: Interrupt,
) -> Finetuned:
    """What was asked for: a search, a run for each seed, or a single one."""

    def begun(file: str) -> bool:
        return settings.resume and (run / file).is_file()

    trials = {}
    if settings.search or begun(SEARCH):
        settings, best = search(model, items, run, settings, group, interrupt)
        if best.signal or settings.seeds == 1:
            return best
        trials = best.trials
    if settings.seeds > 1 or begun(SEEDS):
        done = from_seeds(model, items, run, settings, group, interrupt)
        return replace(done, trials=trials)
    return adapt(model, items, run, settings, group, interrupt)
