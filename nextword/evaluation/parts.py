"""Parts of a split, and how many bytes of text their tokens stand for, so that information is
counted a byte of the text itself, whatever the tokenizer.

A token of a byte-level vocabulary tells its bytes. Others do not: unknown ones stand for anything,
"##ing" for three bytes, and spaces and accents are dropped. There the bytes that a document has are
shared out among its tokens, so that they add up to the document.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nextword.terminal import warn
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Told:
    """What a vocabulary tells of the bytes of text: those of each token, [vocabulary], how many of
    space it adds before a text, and which token may stand for anything."""

    sizes: Ints
    space: int
    unknown_id: int | None

    @classmethod
    def by(cls, tokenizer: Tokenizer) -> Told:
        """Return what a tokenizer's vocabulary tells."""
        return cls(tokenizer.bytes_per_id(), tokenizer.frame().space, tokenizer.unknown_id)


@dataclass(frozen=True)
class Part:
    """Some tokens of a split, as a split of their own.

    `documents` [documents] are the numbers of those they stand in; `begins` where among the tokens
    a document begins with its own first one; `places` [tokens] where they stand in that split.
    """

    split: Split
    documents: NDArray[np.int64]
    begins: NDArray[np.int64]
    places: NDArray[np.int64]


def part_of(split: Split, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> Part:
    """The tokens of the stretches from `starts` to `stops`, each [stretches], in order."""
    lengths = stops - starts
    before = np.cumsum(lengths) - lengths
    places = np.arange(lengths.sum()) + np.repeat(starts - before, lengths)
    cuts = np.searchsorted(places, split.starts)
    documents = np.flatnonzero(np.diff(cuts))
    begins = cuts[documents]
    tokens = split.tokens[:] if len(places) == len(split) else split.tokens[places]
    part = replace(split, tokens=tokens, starts=np.append(begins, len(places)), sizes=None)
    return Part(part, documents, begins[places[begins] == split.starts[documents]], places)


def bytes_of_tokens(whole: Split, part: Part, tokenizer: Tokenizer) -> Ints:
    """Return how many bytes of text each token of a part of a split stands for, [tokens].

    All are 0 where neither the split nor the vocabulary tells.
    """
    told, firsts = Told.by(tokenizer), part.split.starts
    sizes = told.sizes[part.split.tokens[:]]
    sizes[part.begins] -= np.minimum(told.space, sizes[part.begins])
    if whole.sizes is None:
        if tokenizer.tells_bytes:
            return sizes
        warn("this store does not say how many bytes its documents are: prepare the text again")
        return np.zeros_like(sizes)
    is_cut = np.diff(firsts) != np.diff(whole.starts)[part.documents]
    differs = np.add.reduceat(sizes, firsts[:-1]) != whole.sizes[part.documents]
    for number in np.flatnonzero(is_cut | differs):
        document, inside = part.documents[number], slice(firsts[number], firsts[number + 1])
        shared = bytes_in_document(whole, document, told)
        sizes[inside] = shared[part.places[inside] - whole.starts[document]]
    return sizes


def bytes_in_document(split: Split, document: int, told: Told) -> Ints:
    """Return how many bytes of a document each of its tokens stands for, [tokens].

    What unknown tokens stand for is what the others leave; anything else that is left over is
    spread in proportion.
    """
    assert split.sizes is not None
    size = int(split.sizes[document])
    ids = split.tokens[split.starts[document] : split.starts[document + 1]]
    sizes = told.sizes[ids]
    sizes[:1] -= np.minimum(told.space, sizes[:1])
    if sizes.sum() == size:
        return sizes
    weights = sizes.astype(np.float64)
    unknown = ids == told.unknown_id
    if unknown.any():
        weights[unknown] = max(1.0, (size - sizes.sum()) / np.count_nonzero(unknown))
    if not weights.any():
        weights[:] = 1.0
    ends = np.rint(np.cumsum(weights) * (size / weights.sum()))
    ends[-1] = size
    return np.diff(ends, prepend=0.0).astype(np.int64)


def first_tokens(split: Split, count: int | None, tokenizer: Tokenizer) -> Split:
    """Return all of a split up to a number of tokens; its last document may be cut short."""
    if count is None or count >= len(split.tokens):
        return split
    starts = np.append(split.starts[split.starts < count], count)
    sizes = None
    if split.sizes is not None:
        last = len(starts) - 2
        inside = bytes_in_document(split, last, Told.by(tokenizer))
        sizes = split.sizes[: last + 1].copy()
        sizes[last] = inside[: count - starts[last]].sum()
    return replace(split, tokens=split.tokens[:count], starts=starts, sizes=sizes)
