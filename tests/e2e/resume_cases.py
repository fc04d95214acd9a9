"""The kinds of runs that test_resume_contract.py stops: between them every objective, task, head
and optimizer, and every option that draws random numbers or keeps something between steps."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from small_models import ARGUMENTS, DATA, first_examples, our_encoder_decoder, ours, their_encoder

from nextword.files import sha256
from nextword.runs.record import read_run
from nextword.tokens.prepare import prepare
from nextword.verbs.finetune import Finetuned, finetune
from nextword.verbs.pretrain import RunSummary, measure, run_pretraining

Ended = Finetuned | RunSummary
# A checkpoint, a validation and the last step fall apart, so that a run that dies goes on from
# nothing, from a step that it has validated since and from one it has saved itself.
COMMON: dict[str, Any] = {"precision": "fp32", "eval_every": 2, "save_every": 3, "steps": 4}
PRETRAIN: dict[str, Any] = {
    **COMMON,
    **{"layers": 2, "width": 32, "heads": 2, "context_length": 32, "eval_tokens": 512},
    **{"batch_size": 4, "micro_batch": 2, "sample_every": 0},
}
FINETUNE: dict[str, Any] = {**COMMON, "batch_size": 4, "learning_rate": 2e-3, "val_fraction": 0.25}
EXAMPLES = 12


@dataclass(frozen=True)
class Kind:
    """A kind of run: pretraining, or fine-tuning of a `base` on the first examples of `files`."""

    settings: dict[str, Any]
    base: str = ""
    files: tuple[str, ...] = ()


# What is pretrained, beside PRETRAIN.
PRETRAINED: dict[str, dict[str, Any]] = {
    "decoder, muon, wsd, averaged weights": {"ema": 0.5, "dropout": 0.1, "sample_every": 2},
    "decoder, adamw, cosine": {"family": "gpt2", "optimizer": "adamw", "schedule": "cosine"},
    "decoder, sgd, linear": {
        **{"family": "llama", "optimizer": "sgd", "momentum": 0.9, "schedule": "linear"},
        **{"kv_heads": 1, "tied": False},
    },
    "decoder, sgd without momentum, constant": {
        **{"optimizer": "sgd", "momentum": 0.0, "schedule": "constant", "ema": 0.5},
    },
    "decoder that fills in the middle": {"fim_rate": 0.5, "optimizer": "adamw"},
    "encoder": {"objective": "masked", "dropout": 0.1},
    "encoder, whole words": {"objective": "masked", "family": "bert", "whole_words": True},
    "encoder–decoder": {"objective": "denoise", "dropout": 0.1},
}
# What is fine-tuned, beside FINETUNE: the base, the data and the settings.
LORA = {"lora": True, "lora_dropout": 0.2}
FINETUNED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "classes": ("decoder", "single", {"dropout": 0.2}),
    "classes, low-rank updates": ("decoder", "single", LORA),
    "classes, from scratch": ("decoder", "single", {"from_scratch": True, "optimizer": "sgd"}),
    "classes, balanced": ("encoder", "single", {"class_weights": "balanced", "freeze": 1}),
    "classes of pairs": ("encoder", "pair", {"layer_decay": 0.8, "schedule": "cosine"}),
    "several labels": ("encoder", "several", {"schedule": "wsd", "metric": "loss"}),
    "amounts": ("decoder", "amount", {"optimizer": "muon"}),
    "tags": ("encoder", "tag", {"dropout": 0.1}),
    "tags, low-rank updates": ("decoder", "tag in Chinese", LORA),
    "answers pointed at": ("encoder", "qa, pointed at", {"dropout": 0.1}),
    "answers pointed at by a decoder": ("decoder", "qa in Chinese, pointed at", {}),
    "answers": ("decoder", "qa", {"optimizer": "muon"}),
    "summaries": ("encoder–decoder", "summarize", {"dropout": 0.2}),
    "translations by an encoder–decoder": (
        *("encoder–decoder", "translate"),
        {"lora": True, "optimizer": "muon"},
    ),
    "translations": ("decoder", "translate", {"from_scratch": True, "dropout": 0.1}),
    "translations, low-rank updates": ("decoder", "aligned files", LORA),
    "chat": ("decoder", "chat", {"dropout": 0.1}),
    "texts": ("decoder", "text", {"dropout": 0.1}),
    "preferences": ("decoder", "preferences", {"beta": 0.2, "dropout": 0.1}),
    "preferences, low-rank updates": ("decoder", "preferences", LORA),
    "several seeds": ("decoder", "single", {"seeds": 2, "steps": 2, "dropout": 0.1}),
    "a search and then seeds": ("decoder", "single", {"search": 3, "seeds": 2, "steps": 2}),
}
PREFERENCES = ("preferences.jsonl",)
DATA_SETS = ARGUMENTS | {"preferences": ([*PREFERENCES], {"task": "prefer"})}
KINDS: dict[str, Kind] = {name: Kind(PRETRAIN | own) for name, own in PRETRAINED.items()} | {
    name: Kind(FINETUNE | DATA_SETS[data][1] | own, base, tuple(DATA_SETS[data][0]))
    for name, (base, data, own) in FINETUNED.items()
}
BASES: dict[str, Callable[[Path], Path]] = {
    "decoder": functools.partial(ours, width=32),
    "encoder": functools.partial(their_encoder, family="bert"),
    "encoder–decoder": functools.partial(our_encoder_decoder, width=32),
}


class Workshop:
    """Carries out runs of every kind; stores, bases and data are made once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def carry_out(self, kind: Kind, run: Path, **more: Any) -> Ended:
        """Carry out a run as its kind says, or go on with it."""
        return self._start(kind, run, kind.settings | {"resume": True} | more)

    def go_on(self, kind: Kind, run: Path) -> Ended:
        """Go on with a run in as few words as there may be: it remembers what was set."""
        said = {"task": kind.settings["task"]} if kind.base else {}
        return self._start(kind, run, {**said, "resume": True})

    def command(self, kind: Kind, run: Path) -> list[str]:
        """Return the words of the command line that carry out a run."""
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in kind.settings.items()]
        return [*map(str, self._sources(kind)), "--out", str(run), *flags]

    def _start(self, kind: Kind, run: Path, settings: dict[str, Any]) -> Ended:
        if kind.base:
            base, *examples = self._sources(kind)
            return finetune(base, examples, run, **settings)
        ended = run_pretraining(self._sources(kind), run, **settings)
        if ended.finished:
            measure(read_run(run))
        return ended

    def _sources(self, kind: Kind) -> list[Path]:
        """A store; or a base and the files of the examples."""
        if kind.base:
            return [self._base(kind.base), *self._examples(kind.files)]
        objective = kind.settings.get("objective", "causal")
        return [self._store(objective, kind.settings.get("fim_rate", 0.0))]

    def _store(self, objective: str, fim_rate: float) -> Path:
        path = self._folder / f"{objective} {fim_rate}"
        if not path.exists():
            own = {"objective": objective, "fim_rate": fim_rate}
            prepare(DATA / "reader.txt", path, vocab_size=400, workers=1, **own)
        return path

    def _base(self, name: str) -> Path:
        path = self._folder / name
        return path if path.exists() else BASES[name](path)

    def _examples(self, files: tuple[str, ...]) -> list[Path]:
        paths = first_examples([*files], self._folder / "examples", EXAMPLES)
        if files == PREFERENCES:  # a sandbox for each shape of a talk would take seconds
            lines = (DATA / files[0]).read_text(encoding="utf-8").splitlines()
            plain = [line for line in lines if isinstance(json.loads(line)["prompt"], str)]
            paths[0].write_text("\n".join(plain[:EXAMPLES]) + "\n", encoding="utf-8")
        return paths


# Of a checkpoint's state.json, with its digest; of metrics.jsonl; of a result; and of run.json.
CLOCK = {
    *("began", "validating", "saving", "resting", "metrics_bytes", "state.json"),
    *(
        "seconds",
        "unlogged_seconds",
        "matmul_share",
        "tokens_per_second",
        "words_per_second",
        "examples_per_second",
    ),
    "pairs_per_second",
    *("precision", "environment", "expected_seconds", "reasons"),
}


def outcome(run: Path) -> dict[str, Any]:
    """What must be the same, by file: all that a run has written but what speaks of the clock."""
    found: dict[str, Any] = {}
    for file in (path for path in sorted(run.rglob("*")) if path.is_file()):
        name = file.relative_to(run).as_posix()
        if file.suffix == ".safetensors":
            found[name] = sha256(file)
        elif file.suffix == ".json":
            found[name] = _timeless(json.loads(file.read_text()), run)
        elif file.suffix == ".jsonl":
            records = [json.loads(line) for line in file.read_text().splitlines()]
            found[name] = [_timeless(r, run) for r in records if r.get("event") != "resume"]
        else:  # pages for people, which say how long it took
            found[name] = "is there"
    return found


def _timeless(value: Any, run: Path) -> Any:
    """A value without what depends on the clock or on where the run lies."""
    if isinstance(value, dict):
        return {name: _timeless(item, run) for name, item in value.items() if name not in CLOCK}
    if isinstance(value, list):
        return [_timeless(item, run) for item in value]
    return value.replace(str(run), "RUN") if isinstance(value, str) else value
