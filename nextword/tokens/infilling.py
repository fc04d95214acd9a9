"""Fill in the middle (Bavarian et al. 2022): some texts are learnt with their middle at the end, so
that a decoder learns to write what stands between two texts.

A text is cut at two random tokens, and reads <|fim_prefix|> prefix <|fim_suffix|> suffix
<|fim_middle|> middle, or, for half of them, <|fim_prefix|> <|fim_suffix|> suffix <|fim_middle|>
prefix middle. The cuts are made within each document of a block.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from nextword.tokens.loader import IGNORE, Batch, BlockLoader, documents_and_positions
from nextword.tokens.permutation import key, uniform
from nextword.tokens.specials import FIM, check_controls
from nextword.tokens.store import Split
from nextword.tokens.tokenizer import Tokenizer

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Infilling:
    """`rate` of the texts are learnt so. The ids are of the control tokens."""

    rate: float
    prefix_id: int
    middle_id: int
    suffix_id: int
    end_id: int


def infilling_of(tokenizer: Tokenizer, rate: float, mend: str = "", asked: str = "") -> Infilling:
    """Raises UserError where the tokenizer lacks the control tokens that it takes, for what is
    `asked`."""
    check_controls(tokenizer, "causal", rate or 1.0, mend, asked)
    ids = (tokenizer.special_id(name) for name in FIM)
    prefix, middle, suffix = (id for id in ids if id is not None)
    return Infilling(rate, prefix, middle, suffix, tokenizer.end_id)


def around_middle(infilling: Infilling, prefix: list[int], suffix: list[int]) -> list[int]:
    """The beginning of a document whose middle is to follow, as documents are learnt."""
    begin = [infilling.end_id, infilling.prefix_id, *prefix]
    return [*begin, infilling.suffix_id, *suffix, infilling.middle_id]


class InfillingLoader(BlockLoader):
    """A BlockLoader's blocks, some of their documents with the middle at the end.

    Blocks keep their length: what the control tokens push over their end is not learnt this epoch.
    """

    def __init__(self, split: Split, context_length: int, seed: int, infilling: Infilling) -> None:
        super().__init__(split, context_length, seed)
        self.infilling = infilling

    def batch(self, first: int, count: int) -> Batch:
        """`count` rows: the samples numbered from `first`, counted on through the epochs."""
        plain = super().batch(first, count)
        keys = [key(self.seed, epoch, index, "infilling") for epoch, index in plain.samples]
        draws = uniform(keys, 4 * self.context_length).reshape(count, -1, 4)
        tokens, targets = plain.tokens.numpy(), plain.targets.numpy()
        begins = np.zeros(tokens.shape, np.bool_)
        begins[:, 0] = True
        if plain.positions is not None:
            begins |= plain.positions.numpy() == 0
        for row in range(count):
            tokens[row], targets[row], begins[row] = self._row(
                tokens[row], targets[row], begins[row], draws[row]
            )
        return Batch(
            torch.from_numpy(tokens),
            torch.from_numpy(targets),
            *documents_and_positions(begins),
            plain.samples,
        )

    def _row(
        self, tokens: Ids, targets: Ids, begins: NDArray[np.bool_], draws: NDArray[np.float64]
    ) -> tuple[Ids, Ids, NDArray[np.bool_]]:
        """All [time] but draws, [time, 4]; documents that are moved begin with the end token."""
        read, wanted, starts = [], [], []
        cuts = [*np.flatnonzero(begins), len(tokens)]
        for begin, stop in itertools.pairwise(cuts):
            before, ids = tokens[begin:stop], targets[begin:stop]
            chance, *where, order = draws[begin]
            if chance < self.infilling.rate and ids[0] != IGNORE:
                ids = self._moved(ids, sorted(where), order < 0.5)
                before = np.append(self.infilling.end_id, ids[:-1])
            read.append(before)
            wanted.append(ids)
            starts.append(np.arange(len(ids)) == 0)
        length = len(tokens)
        joined = (np.concatenate(parts)[:length] for parts in (read, wanted, starts))
        new_tokens, new_targets, new_begins = joined
        return new_tokens, new_targets, new_begins

    def _moved(self, ids: Ids, where: list[float], suffix_first: bool) -> Ids:
        """A document with its middle at the end, and the end token after that."""
        fim = self.infilling
        text = ids[: len(ids) - (ids[-1] == fim.end_id)]
        prefix, middle, suffix = np.split(text, [int(cut * (len(text) + 1)) for cut in where])
        marks = [[fim.prefix_id], [fim.suffix_id], [fim.middle_id], [fim.end_id]]
        if suffix_first:
            parts = [marks[0], marks[1], suffix, marks[2], prefix, middle, marks[3]]
        else:
            parts = [marks[0], prefix, marks[1], suffix, marks[2], middle, marks[3]]
        return np.concatenate([np.asarray(part, np.int64) for part in parts])
