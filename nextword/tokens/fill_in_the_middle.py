"""Fill in the middle (Bavarian et al. 2022): some texts are learned with their middle at the end,
so that a decoder learns to write what stands between two texts.

A text is cut at two random tokens, and reads <|fim_prefix|> prefix <|fim_suffix|> suffix
<|fim_middle|> middle, or, for half of them, <|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|>
prefix middle. The cuts are made within each document of a block.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nextword.tokens.control_tokens import FIM_TOKENS
from nextword.tokens.loader import (
    IGNORE_INDEX,
    Batch,
    BlockLoader,
    Ids,
    read_rows,
    to_batch,
    uniform,
)
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class FillInTheMiddle:
    """The share of the texts that are rearranged, and the ids of the control tokens."""

    rate: float
    prefix_id: int
    middle_id: int
    suffix_id: int
    end_id: int

    def rearrange(self, document: Ids, cuts: list[float], suffix_first: bool) -> Ids:
        """Return a document with its middle at the end, and the end token after that.

        `cuts` are where the middle begins and ends, in order, as shares of the document.
        """
        text = document[: len(document) - (document[-1] == self.end_id)]
        prefix, middle, suffix = np.split(text, [int(cut * (len(text) + 1)) for cut in cuts])
        first, later = ([], prefix) if suffix_first else (prefix, [])
        parts = [[self.prefix_id], first, [self.suffix_id], suffix, [self.middle_id], later, middle]
        return np.concatenate([np.asarray(part, np.int64) for part in [*parts, [self.end_id]]])


def fill_in_the_middle_for(
    tokenizer: Tokenizer, rate: float, mend: str = "", asked: str = ""
) -> FillInTheMiddle:
    """Return the ids of a tokenizer's control tokens.

    Raises UserError where it lacks them, naming what needs them: `asked`, or --fim-rate.
    """
    tokenizer.require_control_tokens("causal", rate or 1.0, mend, asked)
    ids = (tokenizer.special_id(name) for name in FIM_TOKENS)
    prefix, middle, suffix = (id for id in ids if id is not None)
    return FillInTheMiddle(rate, prefix, middle, suffix, tokenizer.end_id)


def infilling_prompt(fim: FillInTheMiddle, prefix: list[int], suffix: list[int]) -> list[int]:
    """Return the beginning of a document whose middle is to follow, as documents are learned."""
    return [fim.end_id, fim.prefix_id, *prefix, fim.suffix_id, *suffix, fim.middle_id]


class FillInTheMiddleLoader(BlockLoader):
    """A BlockLoader's blocks, some of their documents with the middle at the end.

    Blocks keep their length: what the control tokens push over their end is no target this epoch.
    """

    def __init__(
        self, split: Split, context_length: int, seed: int, infilling: FillInTheMiddle
    ) -> None:
        super().__init__(split, context_length, seed)
        self.infilling = infilling

    def batch(self, first: int, count: int) -> Batch:
        """Return `count` rows: the samples numbered from `first`, counted on through the epochs."""
        samples = self.samples(first, count)
        draws = uniform(self.keys(samples, "infilling"), 4 * self.length).reshape(count, -1, 4)
        tokens, targets, begins = read_rows(self.split, *self.places(samples), self.length)
        begins[:, 0] = True  # what is left of a document is rearranged like a whole one
        for row in range(count):
            tokens[row], targets[row], begins[row] = self._rearrange_row(
                tokens[row], targets[row], begins[row], draws[row]
            )
        return to_batch(tokens, targets, begins, samples)

    def _rearrange_row(
        self, tokens: Ids, targets: Ids, begins: NDArray[np.bool_], draws: NDArray[np.float64]
    ) -> tuple[Ids, Ids, NDArray[np.bool_]]:
        """Return the arrays [time] of a row with some documents rearranged; draws [time, 4].

        Rearranged documents begin with the end token.
        """
        parts = []
        for begin, stop in itertools.pairwise([*np.flatnonzero(begins), len(tokens)]):
            inputs, ids = tokens[begin:stop], targets[begin:stop]
            draw, *cuts, order = draws[begin]
            if draw < self.infilling.rate and ids[0] != IGNORE_INDEX:
                ids = self.infilling.rearrange(ids, sorted(cuts), order < 0.5)
                inputs = np.append(self.infilling.end_id, ids[:-1])
            parts.append((inputs, ids, np.arange(len(ids)) == 0))
        new_tokens, new_targets, new_begins = map(np.concatenate, zip(*parts, strict=True))
        length = len(tokens)
        return new_tokens[:length], new_targets[:length], new_begins[:length]
