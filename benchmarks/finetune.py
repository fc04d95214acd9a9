"""Fine-tuning beside transformers' Trainer: examples a second, and how good the models become.

    python benchmarks/finetune.py SST2                     GPT-2 124M, about two minutes a round
    python benchmarks/finetune.py SST2 --accuracy MODEL    test accuracy, several seeds a side

SST2 is a folder with train.tsv and test.tsv, lines of a sentence, a tab and its class. Speed: the
same examples for each side, in its own process, side after side, several rounds. Weights are drawn
at random and the tokenizer is made from the training sentences: neither matters to speed.

Accuracy: every side begins with the weights in MODEL (a directory or a run, of the GPT-2 family)
and a new head, and takes the same number of AdamW steps over all of train.tsv in batches of 16,
with the same rate, warm-up, linear schedule and clipping, no weight decay, no dropout, bf16
activations over fp32 weights. The order of the examples and the draw of the head differ, as they do
between seeds; and the rate, a straight line, is read at a step's middle by one and at its beginning
by the other. Both results are measured by transformers, in fp32. Two tests are made: whether other
sentences would have told the same of these very models (paired bootstrap), and whether other seeds
would (Welch's t).
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
from typing import TYPE_CHECKING, Any

from common import publish, python, ran, train_timed

if TYPE_CHECKING:
    from nextword.evaluation.significance import Difference

BATCH, WARM_UP = 16, 3  # examples, steps
VOCABULARY = 6000  # as many tokens a sentence as GPT-2's own 50,257 give
SIDES = {
    "nextword": "nextword",
    "tutorial": "Trainer as the tutorial has it: fp32, padded to the longest of all",
    "dynamic": "Trainer, bf16, padded to the longest of a batch",
    "kept": "... and with nextword's way of holding memory",
    "sorted": "Trainer, bf16, batches of equal length",
}
EPOCHS = 3


def sentences(file: Path) -> tuple[list[str], list[int]]:
    rows = [line.rsplit("\t", 1) for line in file.read_text(encoding="utf-8").splitlines()]
    return [text for text, _ in rows], [int(label) for _, label in rows]


def start(folder: Path, texts: list[str]) -> None:
    """A GPT-2 124M with random weights, as transformers writes it, and a tokenizer of the texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    torch.manual_seed(0)
    GPT2LMHeadModel(GPT2Config()).save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[end],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=end, eos_token=end
    ).save_pretrained(folder)


def trainer_for(
    model: str, texts: list[str], labels: list[int], *, everywhere: bool = False, **arguments: Any
) -> Any:
    """A Trainer with GPT2ForSequenceClassification, padding to the longest text `everywhere` or of
    each batch."""
    from transformers import (
        AutoModelForSequenceClassification,
        AutoTokenizer,
        DataCollatorWithPadding,
        Trainer,
        TrainingArguments,
    )

    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    dropout = arguments.pop("dropout", 0.0)
    network = AutoModelForSequenceClassification.from_pretrained(
        model,
        num_labels=2,
        pad_token_id=tokenizer.pad_token_id,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
    )
    encoded = tokenizer(texts, padding=everywhere, truncation=True)
    rows = [
        {"input_ids": ids, "attention_mask": mask, "labels": label}
        for ids, mask, label in zip(
            encoded["input_ids"], encoded["attention_mask"], labels, strict=True
        )
    ]
    return Trainer(
        network,
        TrainingArguments(
            per_device_train_batch_size=BATCH,
            max_grad_norm=1.0,
            weight_decay=0.0,
            save_strategy="no",
            report_to=[],
            logging_steps=10_000,
            disable_tqdm=True,
            use_cpu=True,
            **arguments,
        ),
        train_dataset=rows,
        data_collator=DataCollatorWithPadding(tokenizer),
    )


def chosen(data: Path, steps: int) -> tuple[list[str], list[int]]:
    """The examples that are timed."""
    texts, labels = sentences(data / "train.tsv")
    numbers = random.Random(0).sample(range(len(texts)), steps * BATCH)
    return [texts[number] for number in numbers], [labels[number] for number in numbers]


def speed_of_nextword(data: Path, model: str, steps: int, out: Path) -> float:
    """Two passes over the examples and one step more, of which the second pass is timed."""
    import nextword

    texts, labels = chosen(data, steps)
    rows = [f"{text}\t{label}\n" for text, label in zip(texts, labels, strict=True)]
    (out / "examples.tsv").write_text("".join(rows), encoding="utf-8")
    nextword.finetune(
        model,
        out / "examples.tsv",
        out / "run",
        task="classify",
        val_fraction=0.0,
        batch_size=BATCH,
        steps=2 * steps + 1,
        save_every=10**6,
        weight_decay=0.0,
    )
    lines = (out / "run" / "metrics.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    began = {event["step"]: event["seconds"] for event in events if event["kind"] == "train"}
    return steps * BATCH / (began[2 * steps + 1] - began[steps + 1])


def speed_of_trainer(side: str, data: Path, model: str, steps: int, out: Path) -> float:
    """Some steps, then one pass over the examples, which is timed."""
    from nextword.resources import FreedMemory

    texts, labels = chosen(data, steps)
    if side == "kept":
        FreedMemory()
    if side == "sorted":
        from transformers import AutoTokenizer

        lengths = [len(ids) for ids in AutoTokenizer.from_pretrained(model)(texts)["input_ids"]]
        order = sorted(range(len(texts)), key=lambda number: lengths[number])
        texts, labels = [texts[n] for n in order], [labels[n] for n in order]
    warm = slice(0, WARM_UP * BATCH)
    texts, labels = texts[warm] + texts, labels[warm] + labels
    if side == "tutorial":  # the others of its data set are there to be padded to
        others, more = sentences(data / "train.tsv")
        texts, labels = texts + others, labels + more
    trainer = trainer_for(
        model,
        texts,
        labels,
        everywhere=side == "tutorial",
        dropout=0.1 if side == "tutorial" else 0.0,  # GPT-2's own
        bf16=side != "tutorial",
        train_sampling_strategy="sequential",
        max_steps=WARM_UP + steps,
        output_dir=str(out),
    )
    return steps * BATCH / train_timed(trainer, WARM_UP)


def accuracy_run(side: str, data: Path, given: argparse.Namespace, out: Path) -> list[bool]:
    """Train on all of train.tsv; which sentences of test.tsv are told right?"""
    import nextword

    texts, labels = sentences(data / "train.tsv")
    steps = EPOCHS * len(texts) // BATCH
    warm_up, rate = round(0.06 * steps), given.learning_rate
    if side == "nextword":
        nextword.finetune(
            given.accuracy,
            data / "train.tsv",
            out / "run",
            task="classify",
            val_fraction=0.0,
            batch_size=BATCH,
            steps=steps,
            warmup=warm_up,
            learning_rate=rate,
            weight_decay=0.0,
            precision="bf16",
            seed=given.seed,
        )
    else:
        from transformers import set_seed

        from nextword.hub.model_files import find_directory

        set_seed(given.seed)
        trainer = trainer_for(
            str(find_directory(given.accuracy)),
            texts,
            labels,
            bf16=True,
            max_steps=steps,
            warmup_steps=warm_up,
            learning_rate=rate,
            seed=given.seed,
            output_dir=str(out),
        )
        trainer.train()
        trainer.save_model(str(out / "run" / "model"))
        trainer.data_collator.tokenizer.save_pretrained(out / "run" / "model")
    return told_right(out / "run" / "model", data / "test.tsv")


def told_right(model: Path, file: Path) -> list[bool]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    texts, labels = sentences(file)
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForSequenceClassification.from_pretrained(model).eval()
    right: list[bool] = []
    with torch.no_grad():
        for begin in range(0, len(texts), 64):
            some = slice(begin, begin + 64)
            batch = tokenizer(texts[some], padding=True, return_tensors="pt")
            told = network(**batch).logits.argmax(1).tolist()
            right += [a == b for a, b in zip(told, labels[some], strict=True)]
    return right


def measured(side: str, given: argparse.Namespace, *more: str) -> Any:
    result = ran([python(), __file__, str(given.data), "--one", side, *more])
    return json.loads(result.output.splitlines()[-1])


def compare_speed(given: argparse.Namespace) -> None:
    speeds: dict[str, list[float]] = {side: [] for side in SIDES}
    with tempfile.TemporaryDirectory() as folder:
        start(Path(folder), sentences(given.data / "train.tsv")[0])
        for number in range(given.rounds):
            for side in SIDES:
                speed = measured(side, given, "--model", folder, "--steps", str(given.steps))
                speeds[side].append(speed)
                print(f"round {number + 1}: {side} {speed:.2f} examples/s", file=sys.stderr)
    rows = []
    for side, name in SIDES.items():
        ratios = [a / b for a, b in zip(speeds["nextword"], speeds[side], strict=True)]
        row = {"": name, "examples/s": statistics.median(speeds[side])}
        row |= {"nextword, times": statistics.median(ratios), "from": min(ratios)}
        rows.append(row | {"to": max(ratios)})
    publish("finetune", f"Fine-tuning GPT-2 124M on SST-2, batch {BATCH}", rows)


def difference(first: Any, second: Any) -> Difference:
    """The difference of two accuracies, of answers that are right or wrong, [seeds, sentences]."""
    from nextword.evaluation.bootstrap import Resampler
    from nextword.evaluation.metrics import Metric
    from nextword.evaluation.significance import compare_metrics

    def accuracy(right: Any) -> dict[str, Metric]:
        return {"accuracy": Metric(right.shape[1], lambda chosen: float(right[:, chosen].mean()))}

    return compare_metrics(accuracy(first), accuracy(second), Resampler(seed=0))["accuracy"]


def compare_accuracy(given: argparse.Namespace) -> None:
    import numpy as np
    from scipy.stats import ttest_ind

    rate, right = str(given.learning_rate), {}
    for side in ("nextword", "Trainer"):
        more = ["--accuracy", given.accuracy, "--learning-rate", rate]
        runs = [
            measured(side, given, *more, "--seed", str(seed)) for seed in range(1, given.seeds + 1)
        ]
        right[side] = np.array(runs, np.float64)  # [seeds, sentences]
        print(f"{side}: {right[side].mean(1)}", file=sys.stderr)
    found = difference(right["Trainer"], right["nextword"])
    low, high = found.interval
    rows: list[dict[str, Any]] = []
    for side, of_side in right.items():
        row = {"": side, "accuracy": of_side.mean(), "deviation": of_side.mean(1).std(ddof=1)}
        rows.append(row | {"difference": None, "95% interval": None, "p": None, "p of seeds": None})
    rows[0] |= {"difference": found.difference, "p": found.p}
    of_seeds = [of_side.mean(1) for of_side in right.values()]
    rows[0]["p of seeds"] = float(ttest_ind(*of_seeds, equal_var=False).pvalue)
    rows[0]["95% interval"] = f"{low:+.4f} to {high:+.4f}"
    title = f"SST-2 test accuracy, {EPOCHS} epochs, {given.seeds} seeds"
    publish("finetune_accuracy", title, rows)


def main() -> None:
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # for all; nextword's command sets it too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12, help="that are timed in a round")
    parser.add_argument("--accuracy", metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=3e-4)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--model", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if not given.one:
        return compare_accuracy(given) if given.accuracy else compare_speed(given)
    found: Any
    with tempfile.TemporaryDirectory() as folder:
        if given.accuracy:
            found = accuracy_run(given.one, given.data, given, Path(folder))
        elif given.one == "nextword":
            found = speed_of_nextword(given.data, given.model, given.steps, Path(folder))
        else:
            found = speed_of_trainer(given.one, given.data, given.model, given.steps, Path(folder))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
