"""Masked language modelling beside transformers' Trainer: tokens of text a second.

    python benchmarks/masked.py TEXT [-- more flags for nextword pretrain]

TEXT is a folder of .txt, whose paragraphs are the documents. All train the encoder that
`nextword pretrain` makes, the Trainer as it opens in transformers, in bf16 with AdamW, and hide as
large a share of the tokens. nextword packs documents into full rows. The Trainer gets them as its
DataCollatorForLanguageModeling pads them, and, its best setting, joined and cut into full blocks
(where a document sees its neighbours), both scoring the hidden places alone. A step is of about as
many tokens for each; padding is not counted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import publish, python, ran, train_timed

CONTEXT, BATCH, WARM_UP, MASKED = 256, 16, 3, 0.3
SIDES = {
    "nextword": "nextword",
    "padded": "Trainer, bf16, documents padded",
    "blocks": "Trainer, bf16, full blocks",
}
FLAGS = [
    *("--objective", "masked", "--layers", "6", "--width", "384", "--optimizer", "adamw"),
    *("--context-length", str(CONTEXT), "--vocab-size", "8192", "--val-fraction", "0"),
    *("--batch-size", str(BATCH), "--micro-batch", str(BATCH), "--precision", "bf16"),
    *("--sample-every", "0", "--save-every", "1000000", "--deduplicate", "none"),
]


def paragraphs(folder: Path) -> list[str]:
    texts = [file.read_text(encoding="utf-8-sig") for file in sorted(folder.glob("*.txt"))]
    found = [" ".join(part.split()) for text in texts for part in text.split("\n\n")]
    return [part for part in found if part]


def speed_of_nextword(documents: Path, run: Path, steps: int, flags: list[str]) -> float:
    command = [python(), "-m", "nextword.cli.main", "pretrain", str(documents), *FLAGS, *flags]
    ran([*command, "--steps", str(WARM_UP + steps + 1), "--out", str(run)])
    lines = (run / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    began = {event["step"]: event["seconds"] for event in events if event["kind"] == "train"}
    first, last = WARM_UP + 1, WARM_UP + steps + 1
    return steps * BATCH * CONTEXT / (began[last] - began[first])


def speed_of_trainer(side: str, documents: Path, run: Path, steps: int) -> float:
    from transformers import (
        AutoModelForMaskedLM,
        AutoTokenizer,
        DataCollatorForLanguageModeling,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    texts = [json.loads(line)["text"] for line in documents.read_text().splitlines()]
    random.Random(0).shuffle(texts)
    wanted = (WARM_UP + steps) * BATCH * CONTEXT  # tokens
    rows: list[list[int]] = []
    for start in range(0, len(texts), 1000):
        rows += tokenizer(texts[start : start + 1000], truncation=True, max_length=CONTEXT)[
            "input_ids"
        ]
        if sum(map(len, rows)) > wanted + BATCH * CONTEXT:
            break
    if side == "blocks":
        joined = [id for row in rows for id in row]
        rows = [joined[i : i + CONTEXT] for i in range(0, len(joined) - CONTEXT, CONTEXT)]
    batch = round(BATCH * CONTEXT * len(rows) / sum(map(len, rows)))
    if len(rows) < (WARM_UP + steps) * batch:
        raise SystemExit("there is too little text for so many steps")
    trainer = Trainer(
        AutoModelForMaskedLM.from_pretrained(run / "model", sparse_prediction=True),
        TrainingArguments(
            per_device_train_batch_size=batch,
            train_sampling_strategy="sequential",
            max_steps=WARM_UP + steps,
            bf16=True,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            logging_steps=10_000,
            disable_tqdm=True,
            output_dir=str(run / "trainer"),
        ),
        train_dataset=[{"input_ids": row, "attention_mask": [1] * len(row)} for row in rows],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm_probability=MASKED),
    )
    timed = rows[WARM_UP * batch : (WARM_UP + steps) * batch]
    return sum(map(len, timed)) / train_timed(trainer, WARM_UP)


def main() -> None:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # for all; nextword's command sets it too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="that are timed in a round")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("flags", nargs="*", help="more flags for `nextword pretrain`, after --")
    given = parser.parse_args()
    if given.one:  # of the Trainer's, alone in its process
        speed = speed_of_trainer(given.one, given.text, given.run, given.steps)
        return print(json.dumps(speed))
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        documents = Path(folder) / "documents.jsonl"
        lines = [json.dumps({"text": text}) + "\n" for text in paragraphs(given.text)]
        documents.write_text("".join(lines), encoding="utf-8")
        for number in range(given.rounds):
            run = Path(folder) / f"run-{number}"
            for side, of_side in speeds.items():
                if side == "nextword":
                    of_side.append(speed_of_nextword(documents, run, given.steps, given.flags))
                else:
                    command = [python(), __file__, str(documents), "--one", side]
                    command += ["--run", str(run), "--steps", str(given.steps)]
                    of_side.append(float(ran(command).output.splitlines()[-1]))
                print(f"round {number + 1}: {side} {of_side[-1]:,.0f} tokens/s", file=sys.stderr)
    rows: list[dict[str, Any]] = []
    for side, name in SIDES.items():
        ratios = [a / b for a, b in zip(speeds["nextword"], speeds[side], strict=True)]
        row = {"": name, "tokens/s": statistics.median(speeds[side])}
        row |= {"nextword, times": statistics.median(ratios), "from": min(ratios)}
        rows.append(row | {"to": max(ratios)})
    publish("masked", "Training an encoder, 6 layers of width 384, by masked words", rows)


if __name__ == "__main__":
    main()
