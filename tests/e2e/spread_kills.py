"""A run of which one rank is killed while all of them save: a helper of test_spread_runs.py.

spread_kills.py POINT RANK NUMBER ARGUMENTS...    under torchrun; POINT "" for none

The rank is killed when it comes to a point of a save for the NUMBERth time. Saves are written
beside training, as on a GPU.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from torch.distributed import checkpoint as dcp

from nextword.cli.main import main
from nextword.training import checkpoint, spread_checkpoint, trainer
from nextword.training.background import Saver

POINTS = {
    "before parts are written": (dcp, "save"),
    "before files are hashed": (spread_checkpoint, "hash_own_files"),
    "before the manifest": (checkpoint, "write_manifest"),
    "before the name": (spread_checkpoint, "put_in_place"),
    "before old ones go": (checkpoint, "prune"),
}


def kill_at(point: str, number: int) -> None:
    place, name = POINTS[point]
    real, left = getattr(place, name), number

    def killed(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **named)

    setattr(place, name, killed)


def aside(group: Any, *, spread: bool, aside: bool) -> Saver:
    return Saver(group, spread=spread, aside=True)


if __name__ == "__main__":
    point, rank, number, *arguments = sys.argv[1:]
    trainer.Saver = aside  # type: ignore[misc,assignment]
    first_life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if point and os.environ["RANK"] == rank and first_life:
        kill_at(point, int(number))
    sys.exit(main(arguments))
