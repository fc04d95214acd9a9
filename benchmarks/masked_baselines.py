"""How many hidden tokens counting finds: what an encoder has to beat.

    python benchmarks/masked_baselines.py STORE [RUN ...] [--mask-rate 0.3] [--tokens 200000]

STORE was made by `nextword prepare --objective masked`; a RUN was trained on it. All see the same
hidden places of the same held-out text. The unigram gives the most frequent token of the training
text, always. The trigram of both sides gives the token that stood most often between these two
neighbours; where they were never seen together, the likelier of those that most often followed the
left one and preceded the right one; a neighbour that is hidden itself tells nothing.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import publish
from numpy.typing import NDArray

from nextword.hub.model_files import find_directory
from nextword.hub.reading import load
from nextword.models.transformer import Transformer
from nextword.objectives import language_modeling
from nextword.settings import MaskSettings
from nextword.tokens.loader import IGNORE_INDEX, Batch
from nextword.tokens.masking import MaskedRows, masking_for
from nextword.tokens.store import Store
from nextword.training.masked_validator import MaskedValidator

Ids = NDArray[np.int64]
CONTEXT, SEED = 256, 1337


class Likeliest:
    """Of each context that was seen, the token that came with it most often."""

    def __init__(self, contexts: Ids, tokens: Ids, vocab_size: int) -> None:
        both, counts = np.unique(contexts * vocab_size + tokens, return_counts=True)
        of, token = both // vocab_size, both % vocab_size
        order = np.lexsort((counts, of))
        last = np.append(np.diff(of[order]) > 0, True)
        self.contexts, self.tokens = of[order][last], token[order][last]
        starts = np.append(0, np.flatnonzero(last)[:-1] + 1)
        self.shares = counts[order][last] / np.add.reduceat(counts[order], starts)

    def __call__(self, contexts: Ids, known: NDArray[np.bool_]) -> tuple[Ids, NDArray[Any]]:
        """A token, and the share of times it came, for each; -1 and 0 where nothing is known."""
        place = np.searchsorted(self.contexts, contexts).clip(max=len(self.contexts) - 1)
        seen = known & (self.contexts[place] == contexts)
        return np.where(seen, self.tokens[place], -1), np.where(seen, self.shares[place], 0.0)


class Trigram:
    """The token between two others, with what each says alone to fall back on."""

    def __init__(self, rows: Ids, vocab_size: int) -> None:
        left, middle, right = (rows[:, n : n - 2 or None].ravel() for n in range(3))
        self.size = vocab_size
        self.unigram = int(np.bincount(middle, minlength=vocab_size).argmax())
        self.between = Likeliest(left * vocab_size + right, middle, vocab_size)
        self.after = Likeliest(left, middle, vocab_size)
        self.before = Likeliest(right, middle, vocab_size)

    def guess(self, batch: Batch) -> Ids:
        """For each hidden place, in order."""
        tokens, hidden = batch.tokens.numpy(), batch.targets.numpy() != IGNORE_INDEX
        places = np.nonzero(hidden)
        at_left, at_right = (places[0], places[1] - 1), (places[0], places[1] + 1)
        left, right = tokens[at_left], tokens[at_right]
        knows_left, knows_right = ~hidden[at_left], ~hidden[at_right]
        both, _ = self.between(left * self.size + right, knows_left & knows_right)
        after, after_share = self.after(left, knows_left)
        before, before_share = self.before(right, knows_right)
        one = np.where(after_share >= before_share, after, before)
        return np.where(both >= 0, both, np.where(one >= 0, one, self.unigram))


def encoder(run: Path) -> Transformer:
    model, _ = load(find_directory(run))
    if not isinstance(model, Transformer):
        raise SystemExit(f"{run}: is not an encoder")
    return model.eval()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("runs", type=Path, nargs="*")
    parser.add_argument("--mask-rate", type=float, default=0.3)
    parser.add_argument("--tokens", type=int, default=200_000, help="of held-out text, at most")
    given = parser.parse_args()
    store = Store.open(given.store)
    tokenizer = store.tokenizer
    masking = masking_for(tokenizer, MaskSettings(mask_rate=given.mask_rate))
    validator = MaskedValidator(
        store.val,
        tokenizer,
        masking,
        context_length=CONTEXT,
        batch_size=16,
        max_tokens=given.tokens,
        seed=SEED,
    )
    trained = MaskedRows(store.train, CONTEXT, masking)
    text, _ = trained.framed(np.arange(0, trained.size, trained.stretch))
    trigram = Trigram(text, tokenizer.vocab_size)
    models = {run: encoder(run) for run in given.runs}
    right: dict[str, list[NDArray[np.bool_]]] = {}
    for batch in validator.batches():
        targets = batch.targets[batch.targets != IGNORE_INDEX].numpy()
        right.setdefault("unigram", []).append(targets == trigram.unigram)
        right.setdefault("trigram, both sides", []).append(targets == trigram.guess(batch))
        for run, model in models.items():
            with torch.no_grad():
                right.setdefault(str(run), []).append(
                    language_modeling.score_hidden_tokens(model, batch)[1].numpy()
                )
    rows = []
    for name, parts in right.items():
        found = np.concatenate(parts)
        share = float(found.mean())
        spread = 1.96 * (share * (1 - share) / len(found)) ** 0.5
        rows.append({"": name, "accuracy": share, "±": spread, "hidden tokens": len(found)})
    publish("masked_baselines", "Hidden tokens found in held-out text", rows)


if __name__ == "__main__":
    main()
