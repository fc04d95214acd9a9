"""How good a run will be, before it is made."""

from __future__ import annotations

import numpy as np

from nextword.tokens.store import Split
from nextword.training.workload import worth

COUNTED = 4_000_000  # tokens whose frequencies are counted, at most
# Fitted to runs on English novels (subwords) and Shakespeare (letters): docs/recipe.md has them.
FLOOR = 0.38  # share of the unigram entropy that is left in the end
SLOW = 10.0  # tokens per entry of the vocabulary until anything is learned
POWER = 0.195
METHOD = (
    "the entropy of the text's token frequencies, times a share that falls the oftener each token "
    "is seen, as fitted to other runs: right to about a tenth, for a model that suits the time"
)


def expected_bits_per_byte(split: Split, tokens_seen: float) -> float | None:
    """Return about how many bits per byte a model of a fitting size needs on held-out text, after
    so many tokens, repeats included; None for a store that does not know its text's bytes.

    It is the unigram entropy of this text times a share that falls with a power of how often each
    entry of the vocabulary was seen; repeats count as Muennighoff et al. 2023 measured them.
    """
    if split.sizes is None:
        return None
    often = worth(tokens_seen, len(split.tokens)) / split.vocab_size
    share = FLOOR + (1 - FLOOR) * (1 + often / SLOW) ** -POWER
    return unigram_entropy(split) * len(split.tokens) / max(1, int(split.sizes.sum())) * share


def unigram_entropy(split: Split) -> float:
    """Return the bits per token of a model that knows nothing but how frequent each token is."""
    tokens = np.asarray(split.tokens[:COUNTED])
    counts = np.bincount(tokens)
    shares = counts[counts > 0] / len(tokens)
    return float(-(shares * np.log2(shares)).sum())
