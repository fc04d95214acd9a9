from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
import torch

from nextword.errors import UserError
from nextword.tokens.loader import (
    IGNORE_INDEX,
    Batch,
    BlockLoader,
    derive_key,
    evaluation_windows,
    find_documents,
    permute,
    window_bounds,
)
from nextword.tokens.store import Split

END, VOCABULARY = 999, 1000


def make_split(documents: int = 40, longest: int = 50, seed: int = 0) -> Split:
    rng = np.random.default_rng(seed)
    texts = [rng.integers(0, END, rng.integers(1, longest)).tolist() for _ in range(documents)]
    tokens = np.array([id for text in texts for id in [*text, END]], np.uint16)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Split("train", tokens, starts, END, VOCABULARY)


def targets_of(batches: list[Batch]) -> list[int]:
    return [int(id) for batch in batches for id in batch.targets[batch.targets != IGNORE_INDEX]]


@pytest.mark.parametrize("context", [8, 13, 64, 500])
def test_every_stored_token_is_a_target_once_an_epoch(context: int) -> None:
    split = make_split()
    loader = BlockLoader(split, context, seed=1)
    for epoch in range(3):
        batch = loader.batch(epoch * loader.blocks, loader.blocks)
        assert sorted(targets_of([batch])) == sorted(split.tokens.tolist())
        assert {sample[0] for sample in batch.samples} == {epoch}


def test_the_input_of_a_target_is_the_token_before_it_in_its_document() -> None:
    split = make_split()
    stream = [END, *split.tokens.tolist()]
    pairs = set(itertools.pairwise(stream))
    batch = BlockLoader(split, 16, seed=1).batch(0, 200)
    for inputs, targets in zip(batch.tokens.tolist(), batch.targets.tolist(), strict=True):
        for before, after in zip(inputs, targets, strict=True):
            assert after == IGNORE_INDEX or (before, after) in pairs


def documents_by_hand(row: list[int]) -> tuple[list[int], list[int]]:
    """Documents and positions of a row, one token at a time."""
    documents, positions = [], []
    document, position = (1, 0) if row[0] == END else (0, 0)
    for place, token in enumerate(row):
        if place and token == END:
            document, position = document + 1, 0
        elif place:
            position += 1
        documents.append(document)
        positions.append(position)
    return documents, positions


def test_documents_and_positions_restart_at_each_end_token() -> None:
    batch = BlockLoader(make_split(), 32, seed=3).batch(0, 30)
    assert batch.documents is not None and batch.positions is not None
    for number, row in enumerate(batch.tokens.tolist()):
        documents, positions = documents_by_hand(row)
        assert batch.documents[number].tolist() == documents
        assert batch.positions[number].tolist() == positions
    assert batch.documents.dtype == torch.int32
    assert batch.positions.dtype == batch.tokens.dtype == batch.targets.dtype == torch.int64


def test_rows_of_single_documents_need_no_mask() -> None:
    tokens = np.array([*range(500), END], np.uint16)
    split = Split("train", tokens, np.array([0, 501]), END, VOCABULARY)
    batches = list(evaluation_windows(split, 50))
    assert all(batch.documents is None and batch.positions is None for batch in batches)
    assert batches[0].tokens[0, 0] == END
    assert BlockLoader(make_split(), 32, 1).batch(0, 64).documents is not None


def test_a_batch_is_the_same_however_it_is_cut_up_and_whenever_it_is_asked_for() -> None:
    split = make_split()
    whole = BlockLoader(split, 16, seed=9).batch(100, 12)
    loader = BlockLoader(split, 16, seed=9)
    parts = [loader.batch(first, 3) for first in (106, 100, 109, 103)]
    parts.sort(key=lambda part: part.samples)
    assert torch.equal(torch.cat([part.tokens for part in parts]), whole.tokens)
    assert torch.equal(torch.cat([part.targets for part in parts]), whole.targets)
    assert [s for part in parts for s in part.samples] == whole.samples


def test_epochs_differ_in_order_and_in_where_blocks_begin() -> None:
    loader = BlockLoader(make_split(200), 16, seed=1)
    first = loader.batch(0, loader.blocks).tokens.tolist()
    second = loader.batch(loader.blocks, loader.blocks).tokens.tolist()
    shared = {tuple(row) for row in first} & {tuple(row) for row in second}
    assert len(shared) < len(first) / 3
    other = BlockLoader(make_split(200), 16, seed=2).batch(0, loader.blocks).tokens.tolist()
    assert other != first


@pytest.mark.parametrize("context", [7, 40, 5000])
@pytest.mark.parametrize("stride", [None, 1, 5])
def test_windows_score_each_token_once_in_order(context: int, stride: int | None) -> None:
    split = make_split(12)
    found = [
        list(evaluation_windows(split, context, stride, batch_size=size)) for size in (1, 3, 16)
    ]
    for batches in found:
        assert targets_of(batches) == split.tokens.tolist()
    rows = [[row for batch in batches for row in batch.tokens.tolist()] for batches in found]
    assert rows[0] == rows[1] == rows[2], "windows depend on the batch size"


def test_a_sliding_window_gives_each_token_at_least_its_share_of_context() -> None:
    split = make_split(1, 3000)
    for batch in evaluation_windows(split, 32, stride=8):
        for sample, row in zip(batch.samples, batch.targets.tolist(), strict=True):
            scored = [place for place, id in enumerate(row) if id != IGNORE_INDEX]
            assert sample == (0, 0) or scored[0] >= 32 - 8


@pytest.mark.parametrize("stride", [None, 5])
@pytest.mark.parametrize("most", [7, 16, 50, 333, 990])
def test_max_tokens_measures_windows_at_equal_distances(stride: int | None, most: int) -> None:
    split = make_split(40, 60)
    starts, stops = window_bounds(len(split), 16, stride, most)
    found = targets_of(list(evaluation_windows(split, 16, stride, max_tokens=most)))
    assert found == [id for a, b in zip(starts, stops, strict=True) for id in split.tokens[a:b]]
    assert most - 2 * 16 < len(found) <= most  # the text's last window may be a short one
    assert np.ptp(np.diff(starts)) <= 16 if len(starts) > 1 else True
    assert abs(starts.mean() - len(split) / 2) < 24


def test_the_documents_of_a_batch_are_those_its_tokens_stand_in() -> None:
    split = make_split()
    loader = BlockLoader(split, 24, seed=4)
    for sample in range(20):
        batch = loader.batch(sample, 1)
        text = " ".join(map(str, batch.targets[0].tolist()))
        named = [int(name.removeprefix("train document ")) for name in loader.documents(sample, 1)]
        for number in named:
            document = split.tokens[split.starts[number] : split.starts[number + 1]].tolist()
            assert set(document) & set(batch.targets[0].tolist())
        assert all(str(int(token)) in text for token in batch.targets[0])


def test_too_little_text_says_how_much_is_needed_and_the_flag_that_mends_it() -> None:
    split = make_split(2, 20)
    message = f"needs at least 512 tokens, has {len(split)}; add text, or lower --context-length"
    with pytest.raises(UserError, match=re.escape(message)):
        BlockLoader(split, 512, seed=1)
    empty = Split("val", np.empty(0, np.uint16), np.array([0]), END, VOCABULARY)
    with pytest.raises(UserError, match="no held-out text"):
        list(evaluation_windows(empty, 8))


def test_an_id_outside_the_vocabulary_is_an_error_not_a_crash() -> None:
    split = make_split()
    damaged = Split("train", split.tokens, split.starts, END, 500)
    with pytest.raises(UserError, match="holds id"):
        BlockLoader(damaged, 16, seed=1).batch(0, 30)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 16, 17, 100, 1000, 4097, 65_536, 100_003])
def test_every_place_is_visited_once(size: int) -> None:
    for seed in (0, 1, 2**63):
        assert sorted(permute(np.arange(size), size, seed).tolist()) == list(range(size))


def test_one_place_is_found_alone_and_far_out() -> None:
    size = 10**12 + 39
    places = np.array([0, 1, size // 2, size - 1])
    together = permute(places, size, 5)
    assert [int(permute(int(place), size, 5)) for place in places] == together.tolist()
    assert ((together >= 0) & (together < size)).all()


def test_another_seed_is_another_order_and_orders_look_random() -> None:
    size = 10_000
    first, second = permute(np.arange(size), size, 1), permute(np.arange(size), size, 2)
    assert (first == second).mean() < 0.01
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.05
    assert (np.diff(first) == 1).mean() < 0.01


def test_keys_are_the_same_on_every_machine() -> None:
    assert (
        derive_key(1337, 0, "order") == derive_key(1337, 0, "order") != derive_key(1337, 1, "order")
    )
    assert derive_key("a") == 3405396810240292928


def test_a_place_outside_is_an_error() -> None:
    with pytest.raises(IndexError):
        permute(5, 5, 0)


@pytest.mark.parametrize("seed", range(20))
def test_documents_of_rows_are_those_of_each_place(seed: int) -> None:
    """Rows go around the end; documents may be empty, longer than a row, or one token."""
    draw = np.random.default_rng(seed)
    starts = np.append(0, np.cumsum(draw.integers(0, draw.integers(1, 60), 40)))
    size = int(starts[-1]) or 1
    length = int(draw.integers(1, size + 1))
    rows = draw.integers(0, size, 5)
    for known in (starts, starts[:-1]):  # with the end, as splits have it, and without
        numbers, begins = find_documents(known, rows, length, size)
        places = (rows[:, None] + np.arange(length)) % size
        within = known[known < size]
        assert np.array_equal(numbers, np.searchsorted(within, places, side="right") - 1)
        assert np.array_equal(begins, np.isin(places, within))


def test_only_the_ends_of_rows_are_searched_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A search for each token would cost more than a step, where there are millions of documents:
    14 ms for 65,536 tokens at 300 documents, 59 ms at 30 million."""
    searched: list[int] = []
    real = np.searchsorted

    def counted(where: Any, what: Any, *arguments: Any, **named: Any) -> Any:
        searched.append(np.size(what))
        return real(where, what, *arguments, **named)

    batches = BlockLoader(make_split(), 64, seed=1)
    monkeypatch.setattr(np, "searchsorted", counted)
    batches.batch(0, 8)
    assert 0 < sum(searched) <= 4 * 8
