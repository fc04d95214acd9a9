"""Kill one of two ranks inside saves that are written beside training: a helper of
test_spread_runs.py.

spread_kills.py kills COUNT FOLDER ARGUMENTS...        kill so many lives of runs, compare each run
spread_kills.py at POINT RANK NUMBER ARGUMENTS...      one rank's life, under torchrun

A rank is killed when it comes to a point of a save for the NUMBERth time, or some time into it. For
`kills`, PyTorch is loaded once: both ranks of every life are processes forked here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
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
    "at some instant": (spread_checkpoint, "save"),
}
OF_THE_MAIN_RANK = ("before the manifest", "before the name", "before old ones go")
RANKS = 2
LONGEST = 0.06  # seconds into a save; it takes about as long


def kill_at(point: str, number: int, after: float = 0.0) -> None:
    """Have this process killed at the `number`th time it comes to a point, or so much later."""
    place, name = POINTS[point]
    real, left = getattr(place, name), number

    def killed(*arguments: Any, **named: Any) -> Any:
        nonlocal left
        left -= 1
        if left == 0:
            if not after:
                os.kill(os.getpid(), signal.SIGKILL)
            threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL)).start()
            real(*arguments, **named)
            time.sleep(after)  # killed at the latest when it is just written
        return real(*arguments, **named)

    setattr(place, name, killed)


def aside(group: Any, *, spread: bool, aside: bool) -> Saver:
    return Saver(group, spread=spread, aside=True)


def live(arguments: list[str], log: Path, hook: Callable[[int], None]) -> bool:
    """One life of a run, its ranks forked here; return whether it came to its end. When one rank is
    killed the others are, as torchrun does it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    children: dict[int, int] = {}
    for rank in range(RANKS):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
                place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": RANKS}
                os.environ |= {name: str(value) for name, value in place.items()}
                os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
                hook(rank)
                code = main(arguments)
            finally:
                os._exit(code)
        children[child] = rank
    codes = []
    while children:
        child, status = os.wait()
        del children[child]
        codes.append(os.waitstatus_to_exitcode(status))
        if codes[-1]:
            for other in children:
                os.kill(other, signal.SIGKILL)
    return codes == [0] * RANKS


def sums(run: Path) -> dict[str, torch.Tensor]:
    last = checkpoint.existing(run / "checkpoints")[-1]
    return {
        f"{file.name} {name}": tensor
        for file in sorted(last.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }


def kills(count: int, folder: Path, arguments: list[str]) -> dict[str, Any]:
    """Kill lives of runs that go on until each is at its end, and compare what they leave with a
    run that was never killed. Return how many were killed, at which points."""
    draw = random.Random(4)
    log = folder / "log"
    whole, run, killed = folder / "whole", folder / "run", dict.fromkeys(POINTS, 0)
    assert live([*arguments, "--out", str(whole)], log, lambda rank: None), log.read_text()
    expected, runs = sums(whole), 0
    while sum(killed.values()) < count:
        point = list(POINTS)[sum(killed.values()) % len(POINTS)]
        victim = 0 if point in OF_THE_MAIN_RANK else draw.randrange(RANKS)
        number = draw.choice([1, 2, 2, 3])
        after = draw.uniform(0.001, LONGEST) if point == "at some instant" else 0.0

        def hook(rank: int, victim: int = victim, cause: Any = (point, number, after)) -> None:
            if rank == victim:
                kill_at(*cause)

        before = checkpoint.existing(run / "checkpoints")
        ended = live([*arguments, "--out", str(run)], log, hook)
        killed[point] += not ended
        kept = checkpoint.existing(run / "checkpoints")
        assert not before or (kept and kept[-1].name >= before[-1].name), "a checkpoint was lost"
        for path in kept:
            checkpoint.verify(path)
        if ended or sum(killed.values()) == count:
            assert ended or live([*arguments, "--out", str(run)], log, lambda rank: None)
            found = sums(run)
            assert found.keys() == expected.keys()
            assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
            model = "model/model.safetensors"
            assert (run / model).read_bytes() == (whole / model).read_bytes()
            shutil.rmtree(run)
            runs += 1
    assert "Traceback" not in log.read_text()
    return {"killed": killed, "runs": runs}


if __name__ == "__main__":
    trainer.Saver = aside  # type: ignore[misc,assignment]
    if sys.argv[1] == "kills":
        count, folder, *arguments = sys.argv[2:]
        print(json.dumps(kills(int(count), Path(folder), arguments)))
        sys.exit()
    point, rank, number, *arguments = sys.argv[2:]
    first_life = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") == "0"
    if point and os.environ["RANK"] == rank and first_life:
        kill_at(point, int(number))
    sys.exit(main(arguments))
