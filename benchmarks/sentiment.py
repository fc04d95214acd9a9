"""What pretraining is worth: sentences of film reviews, learned by a pretrained model, by the same
architecture from random weights, and by TF-IDF with logistic regression.

    python benchmarks/sentiment.py SST2_FOLDER MODEL

The folder holds train.tsv, dev.tsv and test.tsv, a sentence and 0 or 1 a line. Settings of all
three were chosen on dev; the test set is read once, at the end.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from common import publish, python, ran
from numpy.typing import NDArray

COMMON = [
    *("--batch-size", "32", "--optimizer", "muon", "--learning-rate", "2e-3"),
    *("--schedule", "linear", "--dropout", "0.3"),
]
SIDES = {
    "pretrained": ["--epochs", "3"],
    "random weights": ["--from-scratch", "--epochs", "6"],
}
DRAWS = 2000


def read(path: Path) -> tuple[list[str], NDArray[np.int64]]:
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if row]
    rows = rows[1:] if not rows[0][1].strip().isdigit() else rows
    return [row[0] for row in rows], np.array([int(row[1]) for row in rows])


def tfidf(folder: Path) -> NDArray[np.bool_]:
    """Which test sentences the baseline gets right, its strength of regularisation from dev."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    (texts, labels), (dev, dev_labels), (test, test_labels) = (
        read(folder / f"{name}.tsv") for name in ("train", "dev", "test")
    )
    best, chosen = -1.0, None
    for grams in (1, 2):
        for strength in (0.5, 1, 2, 4, 8, 16):
            words = TfidfVectorizer(
                ngram_range=(1, grams), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"
            )
            model = make_pipeline(words, LogisticRegression(C=strength, max_iter=2000))
            accuracy = model.fit(texts, labels).score(dev, dev_labels)
            if accuracy > best:
                best, chosen = accuracy, model
    assert chosen is not None
    return chosen.predict(test) == test_labels


def finetuned(folder: Path, model: str, out: Path, seed: int, flags: list[str]) -> Any:
    """Which test sentences a fine-tuned model gets right, and the seconds that training took."""
    import nextword

    command = [python(), "-m", "nextword.cli.main", "finetune", model, str(folder / "train.tsv")]
    command += ["--task", "classify", "--val", str(folder / "dev.tsv"), "--out", str(out)]
    seconds = ran([*command, "--seed", str(seed), *COMMON, *flags]).seconds
    texts, labels = read(folder / "test.tsv")
    answers = nextword.load_task(str(out)).classify(texts)
    return np.array([int(answer["label"]) for answer in answers]) == labels, seconds


def interval(right: NDArray[Any], other: NDArray[Any] | None = None) -> str:
    """95% interval of a mean accuracy [seeds, examples], or of the difference of two, in points."""
    score = right.mean(0) - (0 if other is None else other.mean(0))
    draws = np.random.default_rng(0).integers(0, len(score), (DRAWS, len(score)))
    low, high = np.quantile(score[draws].mean(1) * 100, [0.025, 0.975])
    return f"{low:.1f} … {high:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model", help="a model pretrained by nextword")
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    sides = {}
    with tempfile.TemporaryDirectory() as place:
        for name, flags in SIDES.items():
            runs = [
                finetuned(given.folder, given.model, Path(place) / f"{name}-{seed}", seed, flags)
                for seed in range(1, given.seeds + 1)
            ]
            sides[name] = np.stack([right for right, _ in runs]), sum(s for _, s in runs)
    sides["TF-IDF, logistic regression"] = tfidf(given.folder)[None], None
    pretrained = sides["pretrained"][0]
    rows = []
    for name, (right, seconds) in sides.items():
        each = [100 * float(seed.mean()) for seed in right]
        rows.append(
            {
                "": name,
                "test accuracy": round(statistics.mean(each), 2),
                "deviation": round(statistics.stdev(each), 2) if len(each) > 1 else None,
                "95% interval": interval(right),
                "pretrained's lead": round(100 * float(pretrained.mean() - right.mean()), 2),
                "its interval": "" if right is pretrained else interval(pretrained, right),
                "seconds a run": None if seconds is None else round(seconds / len(right), 1),
            }
        )
    publish("sentiment", "SST-2 sentences: test accuracy, %", rows)


if __name__ == "__main__":
    main()
