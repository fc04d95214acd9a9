"""A folder of small runs that have learned something, in seconds."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import nextword as nw
from nextword.serving.app import make_app
from nextword.serving.server import Running, address_of, listen, open_models
from nextword.settings import ServeSettings

DATA = Path(__file__).parents[2] / "examples" / "data"
WHO = ("the cat", "a dog", "the old king", "a small bird", "the queen", "my uncle", "the miller")
DID = ("sat on", "looked at", "ran to", "sang for", "slept by", "walked around")
WHAT = ("the mat", "the river", "a tree", "the hill", "an open door", "the wall", "a warm fire")
SIZE: dict[str, Any] = {
    **{"layers": 2, "heads": 4, "context_length": 128, "vocab_size": 400},
    **{"batch_size": 8, "precision": "fp32", "deduplicate": "none", "workers": 1},
}


def tales(count: int = 60) -> list[str]:
    """Tales of thirty sentences each, no two alike."""
    chance = random.Random(1)

    def sentence() -> str:
        who, did, what = (chance.choice(words) for words in (WHO, DID, WHAT))
        return f"{who.capitalize()} {did} {what}."

    return [" ".join(sentence() for _ in range(30)) for _ in range(count)]


def write_tales(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, tale in enumerate(tales()):
        (folder / f"tale-{number:02}.txt").write_text(tale + "\n", encoding="utf-8")
    return folder


def make_runs(folder: Path) -> Path:
    """Train the runs: `tales` and `tales-small`, an encoder `gaps`, and from `tales` a classifier
    `reviews`, a tagger `entities`, one that points at answers `qa`, and `chat`."""
    text, runs = write_tales(folder / "tales"), folder / "runs"
    nw.pretrain(
        text, out=runs / "tales", width=32, steps=60, eval_every=20, sample_every=20, **SIZE
    )
    nw.pretrain(text, out=runs / "tales-small", width=16, steps=30, eval_every=15, **SIZE)
    nw.pretrain(text, out=runs / "gaps", objective="masked", width=32, steps=30, **SIZE)
    for name, data, settings in (
        ("reviews", "classify.csv", {"task": "classify", "steps": 24}),
        ("entities", "entities.conll", {"task": "tag", "steps": 16}),
        ("qa", "qa.json", {"task": "qa", "extract": True, "steps": 8}),
        ("chat", "chat.jsonl", {"task": "chat", "steps": 8}),
    ):
        steps = settings["steps"]
        nw.finetune(runs / "tales", DATA / data, out=runs / name, eval_every=steps, **settings)
    return runs


@contextmanager
def served_runs(folder: Path, **settings: Any) -> Iterator[str]:
    """A server of a run, or of a folder of runs, on a free port: its address."""
    torch.set_num_threads(1)
    chosen = ServeSettings(**{"port": 0, **settings})
    listening = listen(chosen)
    models, shelf = open_models(folder, chosen)
    running = Running(make_app(models, chosen, shelf))
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield address_of(listening)
    finally:
        running.stop()
        thread.join(20)
        models.close()
        assert not thread.is_alive()
