from __future__ import annotations

import numpy as np
import pytest
import torch

from nextword.errors import UserError
from nextword.settings import MaskSettings
from nextword.tokens.control_tokens import DENOISE
from nextword.tokens.loader import IGNORE_INDEX, ShuffledBlocks
from nextword.tokens.span_corruption import (
    DenoisingLoader,
    SpanCorruption,
    corrupt,
    noise_mask,
    span_corruption_for,
    uncorrupted_length,
)
from nextword.tokens.store import Split
from nextword.tokens.tokenizer_training import byte_tokenizer

PAD, END, FIRST, VOCABULARY = 898, 899, 900, 1000
SENTINELS = np.arange(FIRST, VOCABULARY)
T5 = SpanCorruption(0.15, 3.0, SENTINELS, END, PAD)


def make_split(documents: int = 60, longest: int = 90) -> Split:
    rng = np.random.default_rng(1)
    texts = [rng.integers(0, PAD, rng.integers(0, longest)).tolist() for _ in range(documents)]
    tokens = np.array([id for text in texts for id in [*text, END]], np.uint16)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Split("train", tokens, starts, END, VOCABULARY)


def restored(read: list[int], written: list[int]) -> list[int]:
    """Each sentinel of what is read replaced by what follows it in what is written."""
    assert read[-1] == written[-1] == END
    spans: dict[int, list[int]] = {}
    for id in written[:-1]:
        if id >= FIRST:
            spans[id] = []
        else:
            spans[list(spans)[-1]].append(id)
    assert list(spans) == list(range(FIRST, FIRST + len(spans))), "sentinels are in order"
    assert all(spans.values()), "no span is empty"
    assert [id for id in read if id >= FIRST] == list(spans)
    return [kept for id in read[:-1] for kept in (spans[id] if id >= FIRST else [id])]


@pytest.mark.parametrize("length", [*range(2, 40), 100, 568, 1500, 3000])
@pytest.mark.parametrize("rate, span", [(0.15, 3.0), (0.5, 8.0), (0.15, 1.0), (0.9, 2.0)])
def test_noise_has_the_share_and_the_spans_of_the_paper(
    length: int, rate: float, span: float
) -> None:
    corruption = SpanCorruption(rate, span, SENTINELS, END, PAD)
    rng = np.random.default_rng(length)
    ids = rng.integers(0, PAD, length)
    noise = min(max(round(length * rate), 1), length - 1)
    for _ in range(3):
        mask = noise_mask(length, corruption, rng.random((2, length)))
        read, written = corrupt(ids, mask, corruption)
        assert restored(read.tolist(), written.tolist()) == ids.tolist()
        assert int(mask.sum()) == noise
        spans = min(max(round(noise / span), 1), length - noise, 100)
        assert int((read >= FIRST).sum()) == spans
        assert len(read) == length - noise + spans + 1 and len(written) == noise + spans + 1
        assert not mask[0] and mask[-1]


def test_every_way_to_cut_is_equally_likely() -> None:
    corruption = SpanCorruption(
        0.5, 2.0, SENTINELS, END, PAD
    )  # 4 of 8 tokens in 2 spans: 3 × 3 ways
    rng = np.random.default_rng(0)
    masks = [tuple(noise_mask(8, corruption, rng.random((2, 8)))) for _ in range(4500)]
    counts = [masks.count(mask) for mask in set(masks)]
    assert len(counts) == 9
    assert min(counts) > 400 and max(counts) < 600


def test_t5s_lengths() -> None:
    """512 tokens of source come of 568 of text, with 114 of target (Raffel et al. 2020, 3.1.4)."""
    assert uncorrupted_length(512, T5) == 568
    mask = noise_mask(568, T5, np.random.default_rng(0).random((2, 568)))
    read, written = corrupt(np.zeros(568, np.int64), mask, T5)
    assert (len(read), len(written)) == (512, 114)


def test_rows_hold_documents_that_restore_their_own_text() -> None:
    split = make_split()
    batches = DenoisingLoader(split, 128, 3, T5)
    blocks = batches.blocks
    batch = batches.batch(0, blocks)
    found: list[int] = []
    for row in range(blocks):
        assert set(batch.source_documents[row].tolist()) >= set(
            batch.documents[row][batch.documents[row] > 0].tolist()
        )
        for number in batch.documents[row].unique().tolist():
            here, there = batch.documents[row] == number, batch.source_documents[row] == number
            written = batch.targets[row][here].tolist()
            if number == 0:  # padding
                assert set(written) == {IGNORE_INDEX}
                continue
            assert batch.tokens[row][here].tolist() == [PAD, *written[:-1]]
            assert batch.positions[row][here].tolist() == list(range(len(written)))
            read = batch.source[row][there].tolist()
            assert batch.source_positions[row][there].tolist() == list(range(len(read)))
            found += restored(read, written)
    text = split.tokens[split.tokens != END]
    assert sorted(found) == sorted(text.tolist()), "each token comes once an epoch"


def test_spans_are_drawn_anew_each_epoch_and_found_again_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batches = DenoisingLoader(make_split(), 128, 3, T5)
    together, alone = batches.batch(5, 4), DenoisingLoader(make_split(), 128, 3, T5).batch(7, 1)
    for name in ("source", "tokens", "targets"):
        wide, narrow = getattr(together, name)[2], getattr(alone, name)[0]
        assert torch.equal(wide[: len(narrow)], narrow)
    ids = np.array([*range(140), END], np.uint16)
    single = DenoisingLoader(Split("train", ids, np.array([0, 141]), END, VOCABULARY), 128, 3, T5)
    start = np.zeros(1, np.int64), np.zeros(1, np.int64)
    monkeypatch.setattr(ShuffledBlocks, "places", lambda *_: start)  # the same text in each epoch
    assert (
        len({tuple(sorted(single.batch(epoch, 1).targets[0].tolist())) for epoch in range(9)}) == 9
    )


def test_a_tokenizer_without_sentinels_is_refused_with_what_mends_it() -> None:
    with pytest.raises(UserError, match=r"<extra_id_0>.*prepare the text again with --objective"):
        span_corruption_for(byte_tokenizer(), MaskSettings())
    corruption = span_corruption_for(byte_tokenizer(DENOISE), MaskSettings(mask_rate=0.2))
    assert (corruption.rate, len(corruption.sentinels)) == (0.2, 100)
