"""Letters of Shakespeare: nanoGPT's recipe for a CPU, and nextword with an eighth of its time.

    python benchmarks/shakespeare.py tinyshakespeare.txt --nanogpt CHECKOUT

The checkout needs data/shakespeare_char prepared. All but the tokenizer and the split is left to
nextword, and its time is that of the whole command, from reading the text to measuring the model.
Both are measured alike: the whole held-out tenth in consecutive windows of 64 letters, each letter
predicted once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import publish, python, ran

WINDOW = 64
RECIPE = [
    "config/train_shakespeare_char.py",
    "--device=cpu",
    "--compile=False",
    "--eval_iters=20",
    "--log_interval=1000",
    "--block_size=64",
    "--batch_size=12",
    "--n_layer=4",
    "--n_head=4",
    "--n_embd=128",
    "--max_iters=2000",
    "--lr_decay_iters=2000",
    "--dropout=0.0",
    "--eval_interval=2000",
    "--always_save_checkpoint=True",
]
OURS = [
    "--tokenizer",
    "chars",
    "--split",
    "position",
    "--val-fraction",
    "0.1",
    "--sample-every",
    "0",
]


def loss_of_nanogpt(checkout: Path, out: Path) -> float:
    import torch

    sys.path.insert(0, str(checkout))
    from model import GPT, GPTConfig

    saved = torch.load(out / "ckpt.pt", weights_only=True)
    model = GPT(GPTConfig(**saved["model_args"]))
    model.load_state_dict(saved["model"])
    model.eval()
    ids = np.fromfile(checkout / "data/shakespeare_char/val.bin", np.uint16).astype(np.int64)
    rows = (len(ids) - 1) // WINDOW
    inputs = torch.from_numpy(ids[: rows * WINDOW]).view(rows, WINDOW)
    targets = torch.from_numpy(ids[1 : rows * WINDOW + 1]).view(rows, WINDOW)
    nats = 0.0
    with torch.no_grad():
        for start in range(0, rows, 64):
            some = slice(start, start + 64)
            nats += float(model(inputs[some], targets[some])[1]) * inputs[some].numel()
    return nats / (rows * WINDOW)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--nanogpt", type=Path, required=True)
    parser.add_argument("--share", type=float, default=0.125, help="of nanoGPT's time, for us")
    parser.add_argument("flags", nargs="*", help="more flags for `nextword pretrain`, after --")
    given = parser.parse_args()
    text, checkout = given.text.resolve(), given.nanogpt.resolve()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        theirs = ran([python(), "train.py", *RECIPE, f"--out_dir={out / 'nanogpt'}"], cwd=checkout)
        budget = theirs.seconds * given.share
        command = [python(), "-m", "nextword.cli.main", "pretrain", str(text), *OURS]
        ours = ran(
            [*command, "--out", str(out / "ours"), "--budget", f"{budget:.1f}s", *given.flags]
        )

        import nextword

        loss = nextword.evaluate(str(out / "ours"), context_length=WINDOW).loss
        rows: list[dict[str, Any]] = [
            {
                "": "nanoGPT, its recipe",
                "seconds": theirs.seconds,
                "loss": loss_of_nanogpt(checkout, out / "nanogpt"),
            },
            {"": "nextword", "seconds": ours.seconds, "loss": loss},
        ]
    for row in rows:
        row["share of time"] = float(row["seconds"]) / theirs.seconds
    publish("shakespeare", "Shakespeare by letters: held-out nats a letter", rows)


if __name__ == "__main__":
    main()
