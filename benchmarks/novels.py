"""A language model of your own text in ten minutes: nextword, nanoGPT and transformers' Trainer.

    python benchmarks/novels.py NOVELS --nanogpt CHECKOUT [--minutes 10] [--sides nextword ...]

NOVELS is a folder of text. nextword prepares it, and what it holds out is held out by all; the
others get the same cleaned text with a tokenizer of their own: letters, or byte pairs trained as
their tutorials do. nextword chooses everything itself. Of each peer three sensible settings are
tried, in bf16 where some steps say that it is the faster, and with freed memory kept, as nextword
keeps it, for as many minutes of training: what they do before and after is not counted, while
nextword's minutes begin with its command. All are measured alike, in bits per byte of the held-out
text, in windows of each model's context.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import peers
from common import publish, python, ran
from numpy.typing import NDArray

TRIED, STEPS = 4.0, 12  # seconds or steps in each number format, after a first trial
WARM_UP = 0.02  # of a run
ROWS = 16  # windows that are measured at once
OURS = "nextword"


@dataclass(frozen=True)
class Setting:
    """A peer's model and step; `vocabulary` is 0 for letters."""

    peer: Literal["nanoGPT", "Trainer"]
    vocabulary: int
    layers: int
    width: int
    heads: int
    context: int
    rows: int
    rate: float
    family: Literal["gpt2", "llama"] = "gpt2"

    def __str__(self) -> str:
        tokens = f"{self.vocabulary:,} byte pairs" if self.vocabulary else "letters"
        shape = f"{self.layers} × {self.width}, {self.rows} × {self.context}"
        return f"{self.peer}, {self.family}, {tokens}, {shape}"


SETTINGS = {
    "nanogpt-cpu": Setting("nanoGPT", 0, 4, 128, 4, 64, 12, 1e-3),  # its recipe for a CPU
    "nanogpt-wide": Setting("nanoGPT", 0, 6, 256, 4, 256, 16, 1e-3),
    "nanogpt-pairs": Setting("nanoGPT", 4096, 4, 256, 4, 256, 16, 1e-3),
    "trainer-small": Setting("Trainer", 8192, 4, 256, 4, 256, 16, 1e-3),
    "trainer-wide": Setting("Trainer", 8192, 6, 384, 6, 256, 16, 6e-4),
    "trainer-llama": Setting("Trainer", 4096, 4, 256, 4, 256, 16, 1e-3, "llama"),
}


def texts_of(store: Path) -> dict[str, list[str]]:
    """The documents of a store, by its splits, as text."""
    from nextword.tokens.store import Store

    opened = Store.open(store)
    return {
        split.name: [
            opened.tokenizer.decode([int(token) for token in split.tokens[first : last - 1]])
            for first, last in zip(split.starts[:-1], split.starts[1:], strict=True)
        ]
        for split in (opened.train, opened.val)
    }


def encoded(setting: Setting, texts: dict[str, list[str]]) -> tuple[dict[str, Any], int]:
    """Ids of both splits, one document after another, and how many ids there are."""
    joined = {name: "\n\n".join(documents) for name, documents in texts.items()}
    if not setting.vocabulary:
        letters = sorted(set(joined["train"] + joined["val"]))
        number = {letter: index for index, letter in enumerate(letters)}
        ids = {name: [number[letter] for letter in text] for name, text in joined.items()}
        return {name: np.array(found, np.int64) for name, found in ids.items()}, len(letters)
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts["train"], vocab_size=setting.vocabulary)
    ids = {name: tokenizer.encode(text).ids for name, text in joined.items()}
    return {name: np.array(found, np.int64) for name, found in ids.items()}, setting.vocabulary


def network(setting: Setting, vocabulary: int) -> Any:
    """The peer's model."""
    size = peers.Size(
        setting.layers, setting.width, setting.heads, vocabulary, setting.rows, setting.context
    )
    if setting.peer == "nanoGPT":
        return peers.nanogpt_model(size)
    if setting.family == "gpt2":
        return peers.gpt2_model(size)
    import transformers

    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=setting.width,
            intermediate_size=int(setting.width * 8 / 3) // 32 * 32,
            num_hidden_layers=setting.layers,
            num_attention_heads=setting.heads,
            max_position_embeddings=setting.context,
            tie_word_embeddings=True,
        )
    )


def train_nanogpt(
    setting: Setting, model: Any, ids: NDArray[np.int64], bf16: bool, seconds: float
) -> int:
    """Train as nanoGPT's loop does: random windows, AdamW as it sets it up, a cosine to a tenth,
    here over the time there is. Returns the number of steps."""
    import torch

    optimizer = model.configure_optimizers(0.1, setting.rate, (0.9, 0.99), "cpu")
    stream, generator = torch.from_numpy(ids), torch.Generator().manual_seed(1337)
    began, steps = time.perf_counter(), 0
    while (share := (time.perf_counter() - began) / seconds) < 1:
        falling = 0.1 + 0.45 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = setting.rate * falling * min(1.0, share / WARM_UP)
        at = torch.randint(len(ids) - setting.context - 1, (setting.rows,), generator=generator)
        rows = stream[at[:, None] + torch.arange(setting.context + 1)]
        with torch.autocast("cpu", torch.bfloat16) if bf16 else contextlib.nullcontext():
            loss = model(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())[1]
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
    return steps


def train_trainer(
    setting: Setting, model: Any, ids: NDArray[np.int64], bf16: bool, steps: int
) -> None:
    """Take some steps of the Trainer over full blocks."""
    import transformers

    blocks = ids[: len(ids) // setting.context * setting.context].reshape(-1, setting.context)
    with tempfile.TemporaryDirectory() as folder:
        transformers.Trainer(
            model,
            transformers.TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=setting.rows,
                learning_rate=setting.rate,
                weight_decay=0.1,
                adam_beta2=0.95,
                lr_scheduler_type="cosine",
                warmup_steps=round(WARM_UP * steps),
                save_strategy="no",
                report_to=[],
                logging_steps=10**9,
                disable_tqdm=True,
                use_cpu=True,
                bf16=bf16,
            ),
            train_dataset=[{"input_ids": block, "labels": block} for block in blocks],
        ).train()


def nats_of(setting: Setting, model: Any, ids: NDArray[np.int64]) -> float:
    """The sum over all tokens but the first, in consecutive windows."""
    import torch
    import torch.nn.functional as F

    model.eval()
    stream, nats = torch.from_numpy(ids), 0.0
    with torch.no_grad():
        for start in range(0, len(ids) - 1, ROWS * setting.context):
            inputs = stream[start : start + ROWS * setting.context][: len(ids) - 1 - start]
            targets = stream[start + 1 : start + 1 + len(inputs)]
            whole = len(inputs) // setting.context * setting.context
            for part in (slice(0, whole), slice(whole, None)):
                rows, wanted = inputs[part], targets[part]
                if not len(rows):
                    continue
                rows = rows.view(-1, setting.context) if part.stop == whole else rows[None]
                if setting.peer == "nanoGPT":  # it gives all scores only where targets are given
                    logits = model(rows, rows)[0]
                else:
                    logits = model(input_ids=rows).logits
                nats += float(F.cross_entropy(logits.flatten(0, 1), wanted, reduction="sum"))
    return nats


def run_peer(setting: Setting, store: Path, seconds: float) -> dict[str, Any]:
    """Train a peer's model for so long, in the number format that is the faster; measure it."""
    import torch

    from nextword.resources import keep_freed

    keep_freed()  # as nextword does while it trains: without it every peer is slower
    texts = texts_of(store)
    ids, vocabulary = encoded(setting, texts)

    def trained(bf16: bool, seconds: float, steps: int) -> tuple[Any, int, float]:
        torch.manual_seed(1337)
        model = network(setting, vocabulary)
        began = time.perf_counter()
        if setting.peer == "nanoGPT":
            steps = train_nanogpt(setting, model, ids["train"], bf16, seconds)
        else:
            train_trainer(setting, model, ids["train"], bf16, steps)
        return model, steps, time.perf_counter() - began

    speeds = {}
    for bf16 in (False, True):
        trained(bf16, 1.0, 1)
        _, steps, taken = trained(bf16, TRIED, STEPS)
        speeds[bf16] = steps / taken
    bf16 = speeds[True] > speeds[False]
    model, steps, taken = trained(bf16, seconds, max(1, round(seconds * speeds[bf16])))
    held_out = len("\n\n".join(texts["val"]).encode())
    return {
        "": str(setting) + (", bf16" if bf16 else ", fp32"),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "steps": steps,
        "seconds": taken,
        "bits per byte": nats_of(setting, model, ids["val"]) / math.log(2) / held_out,
    }


def run_nextword(store: Path, seconds: float, out: Path) -> dict[str, Any]:
    import nextword
    from nextword.evaluation.language_model import Evaluation
    from nextword.runs.record import read_weights

    command = [python(), "-m", "nextword.cli.main", "pretrain", str(store), "--out", str(out)]
    finished = ran([*command, "--budget", f"{seconds}s", "--sample-every", "0", "--json"])
    told, weights = json.loads(finished.output), read_weights(out / "model")
    found = nextword.evaluate(str(out))  # on all of the held-out text
    assert weights is not None and isinstance(found, Evaluation)
    return {
        "": OURS,
        "parameters": weights.parameters,
        "steps": told["steps"],
        "seconds": finished.seconds,
        "bits per byte": found.bits_per_byte,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("novels", type=Path)
    parser.add_argument("--nanogpt", type=Path, help="a checkout; without one nanoGPT is left out")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--sides", nargs="+", choices=(OURS, *SETTINGS), help="only these")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.nanogpt:
        os.environ["NANOGPT"] = str(given.nanogpt)
    seconds = 60 * given.minutes
    if given.one:
        print(json.dumps(run_peer(SETTINGS[given.one], given.novels, seconds)))
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        ran(
            [python(), "-m", "nextword.cli.main", "prepare", str(given.novels), "--out", str(store)]
        )
        for side in given.sides or (OURS, *SETTINGS):
            if side == OURS:
                rows.append(run_nextword(store, seconds, Path(folder) / "run"))
            elif SETTINGS[side].peer == "nanoGPT" and not given.nanogpt:
                print(f"{SETTINGS[side]}: left out, --nanogpt names no checkout", file=sys.stderr)
            else:
                one = [str(store), "--one", side, "--minutes", str(given.minutes)]
                checkout = ["--nanogpt", str(given.nanogpt)] if given.nanogpt else []
                told = ran([python(), __file__, *one, *checkout]).output
                rows.append(json.loads(told.splitlines()[-1]))
            print(json.dumps(rows[-1:]), file=sys.stderr)
    for row in rows:
        row["to nextword's"] = row["bits per byte"] / rows[0]["bits per byte"]
    title = f"{given.novels.name}, {given.minutes:g} minutes: bits per byte of held-out text"
    publish("novels", title, rows)


if __name__ == "__main__":
    main()
