"""English to German from nothing but 29,000 pairs of captions: a decoder and an encoder–decoder.

    python benchmarks/translation.py MULTI30K_FOLDER [decoder] [encoder-decoder]

The folder holds train, val and test_2016_flickr, each as .en and .de. Each model is first
pretrained on the two training files as they are, then fine-tuned on their pairs; what it writes of
the test set, with a beam of five, is measured by sacrebleu.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from common import publish, python, ran

PRETRAIN = "--width 192 --heads 6 --vocab-size 8000 --context-length 128 --epochs 4 --dropout 0.1"
FINETUNE = (
    "--epochs 14 --batch-size 64 --optimizer muon --schedule wsd --dropout 0.2 --weight-decay 0.05"
)
KINDS = {  # flags of pretraining, and of fine-tuning
    "decoder": ("--layers 4", "--learning-rate 4e-3"),
    "encoder-decoder": (
        "--objective denoise --layers 3 --learning-rate 2e-3",
        "--learning-rate 2e-3",
    ),
}


def translated(folder: Path, kind: str, out: Path, beams: int) -> dict[str, Any]:
    """One row: pretrain, fine-tune, measure."""
    nextword = [python(), "-m", "nextword.cli.main"]
    train, val, test = (
        [str(folder / f"{name}.{language}") for language in ("en", "de")]
        for name in ("train", "val", "test_2016_flickr")
    )
    base, run = str(out / "base"), str(out / "run")
    of_pretraining, of_finetuning = KINDS[kind]
    flags = f"{PRETRAIN} {of_pretraining}".split()
    first = ran([*nextword, "pretrain", *train, "--out", base, *flags])
    task = ["--task", "translate", "--val", *val, "--out", run]
    second = ran(
        [*nextword, "finetune", base, *train, *task, *f"{FINETUNE} {of_finetuning}".split()]
    )
    measured = ran([*nextword, "evaluate", run, *test, "--num-beams", str(beams), "--json"])
    found = json.loads(measured.output)["metrics"]
    described = json.loads(ran([*nextword, "info", run, "--json"]).output)
    row = {"": kind, "parameters": described["model"]["parameters"]}
    row |= {"pretraining, s": first.seconds, "fine-tuning, s": second.seconds}
    for name in ("BLEU", "chrF"):
        metric = found[name]
        low, high = metric["interval"]
        row |= {name: metric["value"], f"{name}, 95%": f"{low:.1f} … {high:.1f}"}
    return row | {"signature": found["BLEU"]["signature"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND")
    parser.add_argument("--num-beams", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        rows = [
            translated(given.folder, kind, Path(place) / kind, given.num_beams)
            for kind in given.kinds
        ]
    publish("translation", "Multi30k, English to German, test2016", rows)


if __name__ == "__main__":
    main()
