"""A main process that takes longer than collectives may: a helper of test_ranks.py.

rank_waits.py OUT [fail]    under torchrun
"""

from __future__ import annotations

import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import distributed

from nextword.training import parallel

LIMIT, LONGER = 2.0, 5.0  # seconds
real = distributed.init_process_group


def short_lived(*arguments: Any, **named: Any) -> None:
    real(*arguments, **named, timeout=timedelta(seconds=LIMIT))


def main(out: Path, fails: bool) -> None:
    distributed.init_process_group = short_lived

    def prepare() -> None:
        time.sleep(LONGER)
        if fails:
            raise ValueError("no text")
        (out / "prepared").write_text("all of it")

    with parallel.processes(prepare) as group:
        assert (out / "prepared").read_text() == "all of it"
        (out / f"rank-{group.rank}").write_text(str(group.total(1.0)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), "fail" in sys.argv)
