from __future__ import annotations

import itertools
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from nextword.errors import UserError
from nextword.settings import MaskSettings
from nextword.tokens.control_tokens import MASKED
from nextword.tokens.loader import IGNORE_INDEX, Batch, BlockLoader
from nextword.tokens.masking import MaskedLoader, Masking, masking_for, word_boundaries
from nextword.tokens.store import Split
from nextword.tokens.tokenizer_training import byte_tokenizer, train_bpe

END, CLS, SEP, MASK, VOCABULARY = 995, 996, 997, 998, 1000
MASKING = Masking(0.3, 0.1, 0.1, CLS, SEP, MASK, np.arange(990))


def make_split(documents: int = 200, longest: int = 50) -> Split:
    """Documents whose tokens count up from their number, so that each can be told."""
    rng = np.random.default_rng(0)
    texts = [[(n + k) % 990 for k in range(rng.integers(1, longest))] for n in range(documents)]
    tokens = np.array([id for text in texts for id in [*text, END]], np.uint16)
    starts = np.cumsum([0, *(len(text) + 1 for text in texts)])
    return Split("train", tokens, starts, END, VOCABULARY)


def loader(split: Split | None = None, context: int = 64, **changes: object) -> MaskedLoader:
    return MaskedLoader(split or make_split(), context, 7, replace(MASKING, **changes))


def whole(batch: Batch) -> torch.Tensor:
    """The tokens before any was hidden."""
    return torch.where(batch.targets == IGNORE_INDEX, batch.tokens, batch.targets)


def test_nothing_but_what_is_hidden_is_a_target_and_nothing_else_is_changed() -> None:
    batches, nothing = loader(), loader(rate=1e-9)
    hidden, shown = batches.batch(0, 50), nothing.batch(0, 50)
    assert torch.equal(whole(hidden), whole(shown))
    assert int((shown.targets != IGNORE_INDEX).sum()) == 50, "a row always has one target"


def test_rows_and_documents_stand_between_cls_and_sep_and_know_their_positions() -> None:
    split = make_split()
    batch = loader(split).batch(0, 60)
    documents = [split.tokens[a:b].tolist() for a, b in itertools.pairwise(split.starts)]
    assert batch.documents is not None and batch.positions is not None
    for row, numbers, positions in zip(whole(batch), batch.documents, batch.positions, strict=True):
        assert row[0] == CLS and row[-1] == SEP
        for number in numbers.unique():
            piece = row[numbers == number].tolist()
            assert positions[numbers == number].tolist() == list(range(len(piece)))
            if len(piece) > 1:
                assert piece[0] == CLS and piece.count(CLS) == piece.count(SEP) == 1
                inner = str(piece[1:-1])[1:-1]
                assert piece[-1] == SEP and any(inner in str(text) for text in documents)
            else:
                assert piece[0] in (CLS, SEP)


def test_every_token_of_the_text_comes_once_an_epoch() -> None:
    split = make_split()
    batches = loader(split, rate=1 - 1e-9)
    epoch = batches.batch(0, batches.blocks)
    seen = np.bincount(epoch.targets[epoch.targets != IGNORE_INDEX].numpy(), minlength=VOCABULARY)
    expected = np.bincount(split.tokens[split.tokens != END], minlength=VOCABULARY)
    assert (seen == expected).all()


def test_control_tokens_are_never_hidden_nor_drawn() -> None:
    batch = loader(random=1.0, keep=0.0, rate=0.9).batch(0, 200)
    assert int(batch.targets.max()) < 990
    assert int(batch.tokens[batch.targets != IGNORE_INDEX].max()) < 990


@pytest.mark.parametrize("rate", [0.15, 0.3])
def test_shares_are_those_asked_for(rate: float) -> None:
    batch = loader(rate=rate, keep=0.2, random=0.3).batch(0, 400)
    text = whole(batch) < 990
    hidden = batch.targets != IGNORE_INDEX
    shown, targets = batch.tokens[hidden], batch.targets[hidden]
    share = float(hidden.sum() / text.sum())
    spread = 3 * (rate * (1 - rate) / int(text.sum())) ** 0.5
    assert share == pytest.approx(rate, abs=spread)
    masked, kept = shown == MASK, shown == targets
    spread = 3 * 0.5 / len(shown) ** 0.5
    assert float(masked.float().mean()) == pytest.approx(0.5, abs=spread)
    assert float(kept.float().mean()) == pytest.approx(0.2, abs=spread)
    assert float((~masked & ~kept).float().mean()) == pytest.approx(0.3, abs=spread)


def test_masks_are_drawn_anew_each_epoch_and_found_again_at_once() -> None:
    batches = loader()
    blocks = batches.blocks
    together = batches.batch(blocks - 4, 8)
    for row in (5, 0, 7):
        alone = loader().batch(blocks - 4 + row, 1)
        assert torch.equal(alone.tokens[0], together.tokens[row])
        assert torch.equal(alone.targets[0], together.targets[row])
    tokens = np.array([*range(62), END], np.uint16)  # one row, so that the epochs' are the same
    single = loader(Split("train", tokens, np.array([0, 63]), END, VOCABULARY), context=66)
    masks = [single.batch(epoch, 1).targets != IGNORE_INDEX for epoch in range(20)]
    assert len({tuple(mask.sort()[0][0].tolist()) for mask in masks}) > 5


def test_whole_words_are_hidden_whole() -> None:
    text = "unbelievable counterrevolutionaries (misunderstandings) were, naïvely, re-established "
    tokenizer = train_bpe(["a few letters only"], 300, 10**6, MASKED)
    ids = np.array([*tokenizer.encode(text * 40), tokenizer.end_id])
    split = Split("train", ids, np.array([0, len(ids)]), tokenizer.end_id, tokenizer.vocab_size)
    masking = masking_for(tokenizer, MaskSettings(whole_words=True, mask_keep=0, mask_random=0))
    assert masking.words is not None
    batch = MaskedLoader(split, 128, 1, masking).batch(0, 40)
    assert 0.2 < float((batch.targets != IGNORE_INDEX).float().mean()) < 0.4
    for row, targets in zip(whole(batch), batch.targets, strict=True):
        hidden = targets != IGNORE_INDEX
        before = b""
        for place in range(1, len(row) - 1):
            piece = tokenizer.token_bytes(int(row[place])) or b" "
            inside = piece[:1].isalpha() or piece[0] >= 0x80
            if inside and (before[-1:].isalpha() or before[-1:] >= b"\x80"):
                assert hidden[place] == hidden[place - 1], "a word is hidden in part"
            before = piece


def test_chinese_is_hidden_in_runs_of_characters() -> None:
    tokenizer = byte_tokenizer(MASKED)
    words = word_boundaries(tokenizer)
    ids = np.array([tokenizer.encode("床前明月光疑是地上霜举头望明月低头思故乡" * 20)])
    chance = np.random.default_rng(0).random(ids.shape)
    firsts = words.firsts(ids, chance)[0]
    begins = firsts == np.arange(ids.shape[1])
    assert not begins[np.arange(len(begins)) % 3 > 0].any(), "a character is cut"
    assert 1.4 < (len(begins) / 3) / begins.sum() < 2.0


def test_word_pieces_are_joined_by_their_mark() -> None:
    from tokenizers import Tokenizer as Backend
    from tokenizers import models

    from nextword.tokens.tokenizer import Tokenizer

    names = ["[UNK]", "un", "##believ", "##able", "story", ",", "床", "前"]
    model = models.WordPiece({n: i for i, n in enumerate(names)}, unk_token="[UNK]")
    words = word_boundaries(Tokenizer(Backend(model).to_str()))
    tokens = np.array([[4, 1, 2, 3, 5, 4, 4, 6, 7]])
    assert words.firsts(tokens, np.ones(tokens.shape))[0].tolist() == [0, 1, 1, 1, 4, 5, 6, 7, 8]
    assert words.firsts(tokens, np.zeros(tokens.shape))[0].tolist() == [0, 1, 1, 1, 4, 5, 6, 7, 7]


def test_a_tokenizer_without_a_mask_is_refused_with_what_mends_it() -> None:
    with pytest.raises(UserError, match=r"no cls_token.*prepare the text again with --objective"):
        masking_for(byte_tokenizer(), MaskSettings())
    with pytest.raises(UserError, match=r"prepare the text again|--context-length"):
        MaskedLoader(make_split(2, 9), 512, 1, MASKING)


def test_the_documents_of_a_batch_are_named() -> None:
    split = make_split()
    batches = loader(split)
    for sample in (0, 9):
        batch = batches.batch(sample, 1)
        named = {int(n.removeprefix("train document ")) for n in batches.documents(sample, 1)}
        text = whole(batch)[0].tolist()
        starts = {text[place + 1] for place, id in enumerate(text[1:-2], 1) if id == CLS}
        assert starts <= named | {SEP}


def test_hiding_costs_little_beside_cutting_rows_out() -> None:
    split = make_split(20_000, 60)
    loaders = {"plain": BlockLoader(split, 256, 7), "masked": loader(split, 256)}
    spent = dict.fromkeys(loaders, 0.0)
    for number in range(21):
        for name, batches in loaders.items():
            since = time.process_time()
            batches.batch(32 * number, 32)
            spent[name] += (time.process_time() - since) * bool(number)  # the first one prepares
    assert spent["masked"] < 6 * spent["plain"]
