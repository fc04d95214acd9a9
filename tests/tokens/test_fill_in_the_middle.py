from __future__ import annotations

import numpy as np
import pytest
import torch

from nextword.errors import UserError
from nextword.tokens.control_tokens import CAUSAL_WITH_FIM
from nextword.tokens.fill_in_the_middle import (
    FillInTheMiddle,
    FillInTheMiddleLoader,
    fill_in_the_middle_for,
)
from nextword.tokens.loader import IGNORE_INDEX, Batch, BlockLoader
from nextword.tokens.store import Split
from nextword.tokens.tokenizer_training import byte_tokenizer

PREFIX, MIDDLE, SUFFIX, END, VOCABULARY = 996, 997, 998, 999, 1000


def make_split(documents: int = 80, longest: int = 60) -> Split:
    """Documents whose tokens count up from a number of their own."""
    rng = np.random.default_rng(0)
    texts = [
        [(12 * n + k) % 990 for k in range(rng.integers(1, longest))] for n in range(documents)
    ]
    tokens = np.array([id for text in texts for id in [*text, END]], np.uint16)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Split("train", tokens, starts, END, VOCABULARY)


def loader(rate: float, context: int = 256) -> FillInTheMiddleLoader:
    return FillInTheMiddleLoader(
        make_split(), context, 5, FillInTheMiddle(rate, PREFIX, MIDDLE, SUFFIX, END)
    )


def put_back(ids: list[int]) -> list[int]:
    """The text of a document whose middle is at its end."""
    middle, suffix = ids.index(MIDDLE), ids.index(SUFFIX)
    assert ids[0] == PREFIX and suffix < middle and ids[-1] == END
    return [*ids[1:suffix], *ids[middle + 1 : -1], *ids[suffix + 1 : middle]]


def documents_of(batch: Batch, row: int) -> list[tuple[list[int], list[int]]]:
    """(tokens, targets) of each document of a row."""
    assert batch.documents is not None
    found = []
    for number in batch.documents[row].unique():
        here = batch.documents[row] == number
        found.append((batch.tokens[row][here].tolist(), batch.targets[row][here].tolist()))
    return found


def test_the_parts_of_a_moved_document_restore_it() -> None:
    batch = loader(1.0).batch(0, 40)
    orders, partly_scored = [], 0
    for row in range(40):
        pieces = documents_of(batch, row)
        for tokens, targets in pieces[:-1]:  # the last may be cut off by the row's end
            if IGNORE_INDEX in targets:
                partly_scored += 1
                assert PREFIX not in targets, "what another block scored is not moved"
                continue
            assert tokens == [END, *targets[:-1]], "a document begins with the end token"
            text = put_back(targets)
            assert text == list(range(text[0], text[0] + len(text))) if text else True
            orders.append(targets[1] == SUFFIX)
    assert len(orders) > 80 and partly_scored > 2
    assert 0.3 < np.mean(orders) < 0.7, "half of them have the suffix first"


def test_a_share_of_documents_is_moved_and_the_others_are_as_they_were() -> None:
    plain = BlockLoader(make_split(), 256, 5)
    assert torch.equal(loader(0.0).batch(3, 9).tokens, plain.batch(3, 9).tokens)
    batch = loader(0.5).batch(0, 60)
    moved = [PREFIX in targets for row in range(60) for _, targets in documents_of(batch, row)]
    assert 0.4 < np.mean(moved) < 0.6
    for row in range(60):
        for tokens, targets in documents_of(batch, row):
            if PREFIX not in targets and IGNORE_INDEX not in targets:
                assert tokens[1:] == targets[:-1]


def test_batches_are_found_again_at_once_and_have_their_documents_marked() -> None:
    together, alone = loader(0.7).batch(4, 6), loader(0.7).batch(8, 1)
    assert torch.equal(together.tokens[4], alone.tokens[0])
    assert torch.equal(together.targets[4], alone.targets[0])
    assert together.documents is not None and together.positions is not None
    assert ((together.positions == 0) <= (together.tokens == END))[:, 1:].all()


def test_a_tokenizer_without_the_control_tokens_is_refused_with_what_mends_it() -> None:
    with pytest.raises(UserError, match=r"<\|fim_prefix\|>.*prepare the text again with --fim"):
        fill_in_the_middle_for(byte_tokenizer(), 0.5)
    assert fill_in_the_middle_for(byte_tokenizer(CAUSAL_WITH_FIM), 0.5).end_id == 256
