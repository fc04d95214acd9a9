"""`finetune`: a model and labelled data in, a run directory with a model for that task out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextword.settings import FinetuneSettings, resolve
from nextword.tasks.adapt import Finetuned, adapt
from nextword.training import session


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
    items = [str(item) for item in ([data] if isinstance(data, str | Path) else data)]
    run = Path(out)
    started = time.monotonic()
    return session.supervised(
        run,
        lambda group, interrupt: adapt(str(model), items, run, settings, group, interrupt),
        lambda number: Finetuned(
            str(run), settings.task, seconds=round(time.monotonic() - started, 2), signal=number
        ),
        smaller="give a smaller --micro-batch or --max-length, or --lora",
    )
