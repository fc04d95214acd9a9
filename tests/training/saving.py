"""Save a checkpoint and a model while the disk fails: run with faults.so preloaded.

saving.py FOLDER faults|kills|torn|full [apart]    (apart: as where no two names can be swapped)

Every trial is a process of its own, forked here; one line of JSON says how many there were.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
from pathlib import Path

import torch

from nextword import files
from nextword.errors import UserError
from nextword.settings import PretrainSettings
from nextword.training import checkpoint
from nextword.training.checkpoint import Checkpoint
from nextword.training.parallel import Group, Interrupt
from nextword.verbs.pretrain_run import PretrainRun

OFFSETS = 25
library = ctypes.CDLL(None)


def save(run: Path, step: int) -> None:
    """What a run does at a step: a better model is kept, then the checkpoint saved."""
    with checkpoint.saving("the model", 1, run), files.whole_directory(run / "model") as aside:
        (aside / "config.json").write_text(str(step))
        (aside / "weights").write_bytes(bytes([step]) * 5000)
    tensors = {
        "model": {"weight": torch.full((64, 64), float(step))},
        "optimizer": {"0.momentum": torch.full((64, 64), float(-step))},
    }
    checkpoint.save(run / "checkpoints", Checkpoint(step, tensors, {"step": step}), keep=1)


def go_on(run: Path) -> None:
    """What a run that goes on does first, before it misses the data that it is not given here."""
    resumed = PretrainRun(run, [], PretrainSettings(resume=True), Group(), Interrupt(), 0.0)
    try:
        resumed.prepare()
    except UserError as error:
        assert "no data was given" in str(error), error
    else:
        raise AssertionError("a run went on without data")


def check(run: Path, steps: set[int], recovered: bool) -> None:
    """What is there is whole, and of one of the steps."""
    if not recovered and files.exchange is not apart:  # a reader sees a whole model at any time
        check_model(run, steps)
    go_on(run)
    found = checkpoint.load_newest(run / "checkpoints")
    assert found is not None and found.step in steps, found
    assert bool((found.tensors["model"]["weight"] == found.step).all())
    assert bool((found.tensors["optimizer"]["0.momentum"] == -found.step).all())
    check_model(run, steps)


def check_model(run: Path, steps: set[int]) -> None:
    step = int((run / "model" / "config.json").read_text())
    assert step in steps
    assert (run / "model" / "weights").read_bytes() == bytes([step]) * 5000


def trial(run: Path, number: int, mode: int, limit: int, step: int) -> tuple[int, bool]:
    """(how the process ended: 0 saved, 3 said why not, -9 killed; whether the fault came)."""
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    save(run, 1)
    reached, tell = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        library.fault_arm(number, mode, ctypes.c_long(limit))
        try:
            save(run, step)
            code = 0
        except UserError as error:
            said = str(error)
            code = 3 if "bytes" in said and "--resume" in said else 4
        finally:
            os.write(tell, b"x" if library.fault_calls() >= number else b"")
            os._exit(code)
    os.close(tell)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with open(reached, "rb") as pipe:
        came = bool(pipe.read()) or code == -9
    return code, came


def apart(first: Path, second: Path) -> bool:
    return False


def main(folder: Path, kind: str) -> None:
    trials = 0
    if kind == "full":
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        library.fault_arm(0, 0, ctypes.c_long(-1))
        save(folder, 1)
        library.fault_calls()
        size = library.fault_bytes()
        for part in range(OFFSETS):
            code, _ = trial(folder, -1, 0, size * part // OFFSETS, 2)
            assert code == 3, (part, code)
            check(folder, {1, 2}, recovered=False)
            trials += 1
    else:
        mode = {"faults": 1, "kills": 2, "torn": 3}[kind]
        for step in (2, 1):  # 1: the same checkpoint once more
            for number in range(1, 1000):
                code, came = trial(folder, number, mode, -1, step)
                if not came:
                    break
                trials += 1
                assert code in ((0, 3) if mode == 1 else (-9,)), (step, number, code)
                check(folder, {1, step}, recovered=False)
                if code == 0:
                    check(folder, {step}, recovered=True)
                save(folder, 3)  # and the run goes on
                check(folder, {3}, recovered=True)
    print(json.dumps({"trials": trials}))


if __name__ == "__main__":
    if "apart" in sys.argv:
        files.exchange = apart
    main(Path(sys.argv[1]), sys.argv[2])
