"""The starters' models on SST-2 beside transformers' Trainer: accuracy, and the time it takes.

    python benchmarks/starters.py SST2 minilm-l6
    python benchmarks/starters.py SST2 minilm-l6 --our-epochs 1
    python benchmarks/starters.py SST2 smollm2-135m-instruct --epochs 1 --learning-rate 3e-5

SST2 is a folder with train.tsv and test.tsv, lines of a sentence, a tab and its class. Both sides
begin with the same weights and a new head, and take the same number of AdamW steps over the same
examples in batches of 32 with the same rate, warm-up, linear schedule, clipping and weight decay,
without dropout; with `--our-epochs` nextword goes over them less often, which says what it has
learned in a part of the Trainer's time. The Trainer has what suits it best: examples of similar
length side by side, padded to the longest of a batch, and bf16 where a few steps say that it is the
faster. Time is that from sentences to a trained model, without imports. Both results are measured
by transformers in fp32.

Each run has its own process, side after side, seed after seed. On a machine that does other things
too, `--clock processor` counts the time that a process had a core, of one thread each.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from common import publish, python, ran
from finetune import difference, sentences, told_right

BATCH, TRIED = 32, 10  # examples; steps in each number format
SIDES = ("nextword", "Trainer")
CLOCKS: dict[str, Callable[[], float]] = {
    "wall": time.perf_counter,
    "processor": time.process_time,
}


def start(model: str, folder: Path) -> str:
    """The directory of a starter's weights; those of a GGUF file are written as a directory."""
    from nextword.hub.model_files import find_directory
    from nextword.hub.reading import load
    from nextword.hub.tensor_files import SINGLE
    from nextword.hub.writing import save

    found = find_directory(model)
    if (found / SINGLE).is_file():
        return str(found)
    save(folder / "start", *load(model))
    return str(folder / "start")


def steps_of(given: argparse.Namespace, count: int) -> int:
    return round(given.epochs * count / BATCH)


def epochs_of(given: argparse.Namespace, side: str) -> float:
    epochs: float = given.our_epochs if side == "nextword" and given.our_epochs else given.epochs
    return epochs


def some(given: argparse.Namespace) -> tuple[list[str], list[int]]:
    texts, labels = sentences(given.data / "train.tsv")
    return texts[: given.examples], labels[: given.examples]


def run_nextword(given: argparse.Namespace, out: Path) -> float:
    import nextword

    texts, labels = some(given)
    rows = [f"{text}\t{label}\n" for text, label in zip(texts, labels, strict=True)]
    (out / "train.tsv").write_text("".join(rows), encoding="utf-8")
    clock = CLOCKS[given.clock]
    began = clock()
    nextword.finetune(
        given.model,
        out / "train.tsv",
        out / "run",
        task="classify",
        val_fraction=0.0,
        batch_size=BATCH,
        steps=steps_of(given, len(texts)),
        learning_rate=given.learning_rate,
        weight_decay=0.01,
        save_every=10**6,
        seed=given.seed,
        **({"threads": given.threads} if given.threads else {}),
    )
    return clock() - began


def trainer(given: argparse.Namespace, out: Path, rows: Any, tokenizer: Any, **more: Any) -> Any:
    import transformers

    config = transformers.AutoConfig.from_pretrained(given.model)
    rates = {key: 0.0 for key in config.to_dict() if key.endswith(("dropout", "dropout_prob"))}
    network = transformers.AutoModelForSequenceClassification.from_pretrained(
        given.model, num_labels=2, pad_token_id=tokenizer.pad_token_id, **rates
    )
    return transformers.Trainer(
        network,
        transformers.TrainingArguments(
            output_dir=str(out / "trainer"),
            per_device_train_batch_size=BATCH,
            learning_rate=given.learning_rate,
            weight_decay=0.01,
            max_grad_norm=1.0,
            lr_scheduler_type="linear",
            train_sampling_strategy="group_by_length",
            save_strategy="no",
            report_to=[],
            logging_steps=10**6,
            disable_tqdm=True,
            use_cpu=True,
            seed=given.seed,
            **more,
        ),
        train_dataset=rows,
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
    )


def run_trainer(given: argparse.Namespace, out: Path) -> float:
    import torch
    import transformers

    if given.threads:
        torch.set_num_threads(given.threads)
    clock = CLOCKS[given.clock]
    texts, labels = some(given)

    def encoded(tokenizer: Any) -> list[dict[str, Any]]:
        told = tokenizer(texts, truncation=True)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": label}
            for ids, mask, label in zip(
                told["input_ids"], told["attention_mask"], labels, strict=True
            )
        ]

    tokenizer = transformers.AutoTokenizer.from_pretrained(given.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    rows, seconds = encoded(tokenizer), {}
    for bf16 in (False, True):
        transformers.set_seed(given.seed)
        trial = trainer(given, out, rows, tokenizer, max_steps=TRIED, bf16=bf16)
        began = clock()
        trial.train()
        seconds[bf16] = clock() - began
    bf16 = seconds[True] < seconds[False]
    print(f"Trainer in {'bf16' if bf16 else 'fp32'}: {seconds}", file=sys.stderr)
    transformers.set_seed(given.seed)
    began = clock()
    steps = steps_of(given, len(texts))
    run = trainer(
        given,
        out,
        encoded(tokenizer),
        tokenizer,
        max_steps=steps,
        warmup_steps=round(0.06 * steps),
        bf16=bf16,
    )
    run.train()
    run.save_model(str(out / "run" / "model"))
    taken = clock() - began
    tokenizer.save_pretrained(out / "run" / "model")
    return taken


def compare(given: argparse.Namespace) -> None:
    import numpy as np

    right: dict[str, list[list[bool]]] = {side: [] for side in SIDES}
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    name = given.model
    with tempfile.TemporaryDirectory() as folder:
        place = start(name, Path(folder))
        for seed in range(1, given.seeds + 1):
            for side in SIDES:
                arguments = [str(given.data), place, "--one", side, "--seed", str(seed)]
                arguments += ["--epochs", str(epochs_of(given, side))]
                for key in ("learning_rate", "clock", "threads", "examples"):
                    if (value := getattr(given, key)) is not None:
                        arguments += [f"--{key.replace('_', '-')}", str(value)]
                told = json.loads(ran([python(), __file__, *arguments]).output.splitlines()[-1])
                right[side].append(told["right"])
                seconds[side].append(told["seconds"])
                share = statistics.mean(told["right"])
                print(f"{side}, seed {seed}: {share:.4f}, {told['seconds']:.0f} s", file=sys.stderr)
    told_right_by = {side: np.array(runs, np.float64) for side, runs in right.items()}
    found = difference(told_right_by["Trainer"], told_right_by["nextword"])
    low, high = found.interval
    ratios = [b / a for a, b in zip(seconds["nextword"], seconds["Trainer"], strict=True)]
    rows: list[dict[str, Any]] = []
    for side in SIDES:
        is_ours = side == "nextword"
        rows.append(
            {
                "": side,
                "epochs": epochs_of(given, side),
                "accuracy": float(told_right_by[side].mean()),
                "difference": found.difference if is_ours else None,
                "95% interval": f"{low:+.4f} to {high:+.4f}" if is_ours else None,
                f"seconds ({given.clock})": statistics.mean(seconds[side]),
                "Trainer's time, times ours": statistics.median(ratios) if is_ours else None,
            }
        )
    title = f"{name} on SST-2, {given.seeds} seeds"
    shorter = "_shorter" if given.our_epochs else ""
    publish(f"starters_{name}{shorter}", title, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("model", help="a starter, or a directory")
    parser.add_argument("--epochs", type=float, default=2)
    parser.add_argument("--our-epochs", type=float, help="nextword's, if not the Trainer's")
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--examples", type=int, help="the first so many alone")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.one:
        return compare(given)
    if given.clock == "processor":
        given.threads = 1
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        seconds = (run_nextword if given.one == "nextword" else run_trainer)(given, out)
        right = told_right(out / "run" / "model", given.data / "test.tsv")
    print(json.dumps({"seconds": seconds, "right": right}))


if __name__ == "__main__":
    main()
