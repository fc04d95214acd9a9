"""The command line as a person runs it: pretrain with each objective, generate, fine-tune."""

from __future__ import annotations

import importlib.util
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from gpu.section import Section
from nextword.tokens.control_tokens import CAUSAL, DENOISE, MASKED, ControlTokens
from nextword.tokens.shards import ShardWriter, shard_name
from nextword.tokens.store import write_manifest
from nextword.tokens.tokenizer_training import byte_tokenizer

WORDS = [
    *("the", "of", "and", "river", "house", "cat", "walked", "old"),
    *("red", "night", "she", "said", "to", "in", "was"),
]
OBJECTIVES = {"causal": CAUSAL, "masked": MASKED, "denoise": DENOISE}
FLAGS = [
    *("--layers", "2", "--width", "64", "--context-length", "64", "--dropout", "0.1"),
    *("--eval-tokens", "4096", "--seed", "1"),
]
FALL = 0.9  # of the first loss that is logged, to which the last one has to fall


def commands(section: Section) -> None:
    """Train, write and classify with commands in their own processes."""
    steps = 12 if section.small else 200
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for objective, controls in OBJECTIVES.items():
            if section.has_time(objective, 10):
                with section.part(objective):
                    _pretrain(section, place, objective, controls, steps)
            if section.small:
                break
        run = place / "causal-run"
        if (run / "model").is_dir() and section.has_time("generate", 5):
            with section.part("generate"):
                flags = ["--max-new-tokens", "40", "--seed", "1"]
                text = _nextword("generate", str(run), "the ", *flags).strip()
                section.check("generate writes", len(text) > 0, text[:200])
        if (run / "model").is_dir() and not section.small and section.has_time("finetune", 10):
            with section.part("finetune"):
                _finetune(section, run, place)


def _pretrain(
    section: Section, place: Path, objective: str, controls: ControlTokens, steps: int
) -> None:
    store, run = place / f"{objective}-store", place / f"{objective}-run"
    write_store(store, objective, controls, documents=60 if section.small else 2000)
    flags = [*FLAGS, "--objective", objective, "--steps", str(steps), "--batch-size", "32"]
    flags += ["--eval-every", str(steps // 2)]
    started = time.perf_counter()
    _nextword("pretrain", str(store), "--out", str(run), *flags)
    section.note(f"{objective}: s", time.perf_counter() - started)
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    events = [json.loads(line) for line in lines]
    losses = [event["loss"] for event in events if event["kind"] == "train"]
    found = {"first": losses[0], "last": losses[-1], "kinds": sorted({e["kind"] for e in events})}
    section.check(f"{objective}: the loss falls", losses[-1] < FALL * losses[0], found)


def _finetune(section: Section, run: Path, place: Path) -> None:
    """Texts of two classes that one word tells apart."""
    draw, file = random.Random(0), place / "texts.csv"
    rows = ["text,label"]
    for number in range(200):
        words = [draw.choice(WORDS) for _ in range(6)]
        words[draw.randrange(6)] = ("sun", "rain")[number % 2]
        rows.append(f"{' '.join(words)},{('dry', 'wet')[number % 2]}")
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    classifier, answers = str(place / "classifier"), place / "answers.jsonl"
    flags = ["--task", "classify", "--steps", "60", "--out", classifier, "--json"]
    if importlib.util.find_spec("rensa") is None:  # looks for what was held out in what is learned
        flags += ["--val-fraction", "0"]
        section.note("finetune", "nothing is held out: there is no rensa")
    found = json.loads(_nextword("finetune", str(run), str(file), *flags))
    section.note("finetune: loss and metrics", {"loss": found["loss"], **found["metrics"]})
    _nextword("predict", classifier, str(file), "--out", str(answers))
    count = len(answers.read_text(encoding="utf-8").splitlines())
    section.check("predict answers all", count == len(rows) - 1, count)


def _nextword(*arguments: str) -> str:
    """Return what a command prints. Raises RuntimeError with its last lines if it fails."""
    command = [sys.executable, "-m", "nextword.cli.main", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments[:2])}: {ended.stderr[-2000:]}")
    return ended.stdout


def write_store(path: Path, objective: str, controls: ControlTokens, documents: int) -> None:
    """Write a store of bytes of random sentences: `nextword prepare` needs more packages than
    training does."""
    tokenizer, draw = byte_tokenizer(controls), random.Random(0)
    path.mkdir()
    splits: dict[str, dict[str, Any]] = {}
    for name, count in (("train", documents), ("val", documents // 10)):
        texts = [" ".join(draw.choice(WORDS) for _ in range(40)) + "." for _ in range(count)]
        encoded = [np.array([*tokenizer.encode(text), tokenizer.end_id]) for text in texts]
        lengths = np.array(list(map(len, encoded)))
        shard = shard_name(name, 0)
        with ShardWriter(path, shard, tokenizer.vocab_size, tokenizer.end_id) as writer:
            writer.append(np.concatenate(encoded), lengths, [f"text {n}" for n in range(count)])
        letters = sum(map(len, texts))
        splits[name] = {"documents": count, "tokens": int(lengths.sum())}
        splits[name] |= {"characters": letters, "bytes": letters}
        splits[name]["shards"] = [{"name": shard} | writer.counts]
    tokenizer.save(path / "tokenizer")
    content = {"data": ["random sentences"], "settings": {"objective": objective}}
    write_manifest(path, tokenizer, content | {"splits": splits, "summary": {}}, "bytes")
