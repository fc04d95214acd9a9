"""Bits per byte are per byte of the text, whatever its tokenizer tells of it."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from nextword.evaluation.held_out import open_held_out, read_text
from nextword.evaluation.language_model import Windows, token_losses
from nextword.evaluation.parts import bytes_of_tokens, first_tokens, part_of
from nextword.hub.writing import save
from nextword.inference.language_model import load_language_model
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Split, Store
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import train_bpe
from nextword.verbs.evaluate import evaluate

CONTEXT = 16
KNOWN = ["It was a dark night, and the lamp burned low.", "今天天气很好，我们去公园。"]
DOCUMENTS = [
    "It was a Dark night — the lämp burned  low…",
    "今天天氣很好，麤龘鱻，我們去公園。",
    "x",
    "龘龘龘",
    "the lamp, the lamp; and night after night a lamp burned low in the house of ﬁre. " * 4,
]
SIZES = [len(document.encode()) for document in DOCUMENTS]


def trained(theirs: tokenizers.Tokenizer, trainer: trainers.Trainer) -> tokenizers.Tokenizer:
    theirs.train_from_iterator(KNOWN * 20, trainer)
    return theirs


def word_piece() -> tokenizers.Tokenizer:
    """As BERT has it: lower case, no accents, words in pieces, [UNK]."""
    theirs = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer = normalizers.BertNormalizer(lowercase=True)
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    theirs.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained(theirs, trainers.WordPieceTrainer(vocab_size=120, special_tokens=special))
    theirs.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return theirs


def unigram() -> tokenizers.Tokenizer:
    """As SentencePiece's first models: NFKC, a space before each text, <unk>."""
    theirs = tokenizers.Tokenizer(models.Unigram())
    theirs.normalizer = normalizers.NFKC()
    theirs.pre_tokenizer = pre_tokenizers.Metaspace()
    theirs.decoder = decoders.Metaspace()
    special = ["<unk>", "<s>", "</s>"]
    trainer = trainers.UnigramTrainer(
        vocab_size=90, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    return trained(theirs, trainer)


def byte_fallback() -> tokenizers.Tokenizer:
    """As Llama 2: characters that are not known are spelled in bytes."""
    theirs = tokenizers.Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    theirs.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    theirs.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback()])
    special = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=special, show_progress=False)
    definition = json.loads(trained(theirs, trainer).to_str())
    definition["added_tokens"] = definition["added_tokens"][:3]
    return tokenizers.Tokenizer.from_str(json.dumps(definition))


def byte_level() -> tokenizers.Tokenizer:
    return tokenizers.Tokenizer.from_str(train_bpe(KNOWN * 20, 300, 10**6).definition)


KINDS: list[Callable[[], tokenizers.Tokenizer]] = [word_piece, unigram, byte_fallback, byte_level]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.__name__)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    (tmp_path / "tokenizer").mkdir()
    request.param().save(str(tmp_path / "tokenizer" / "tokenizer.json"))
    return Tokenizer.load(tmp_path / "tokenizer")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    lines = [json.dumps({"text": document}) for document in DOCUMENTS]
    (tmp_path / "text.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path / "text.jsonl"


def sums(split: Split, tokenizer: Tokenizer) -> list[int]:
    """Bytes of each document, from those of its tokens."""
    part = part_of(split, np.array([0]), np.array([len(split)]))
    sizes = bytes_of_tokens(split, part, tokenizer)
    assert (sizes >= 0).all() and (sizes[split.starts[1:] - 1] == 0).all()  # end tokens have none
    return np.add.reduceat(sizes, split.starts[:-1]).tolist()


def test_the_bytes_of_tokens_add_up_to_the_text(tokenizer: Tokenizer, text: Path) -> None:
    assert sums(read_text([str(text)], tokenizer), tokenizer) == SIZES


def test_a_store_knows_the_bytes_of_its_documents(tokenizer: Tokenizer, tmp_path: Path) -> None:
    flags = {"deduplicate": "none", "val_fraction": 0.4, "workers": 1}
    documents = [*DOCUMENTS, *KNOWN * 5] * 4
    lines = [json.dumps({"text": document}) for document in documents]
    (tmp_path / "more.jsonl").write_text("\n".join(lines), encoding="utf-8")
    place = tmp_path / "store"
    store = prepare(tmp_path / "more.jsonl", place, tokenizer=str(tmp_path / "tokenizer"), **flags)
    for split in (store.train, store.val):
        assert split.sizes is not None
        assert sums(split, tokenizer) == split.sizes.tolist()
        assert int(split.sizes.sum()) == store.counts(split.name)["bytes"]
    total = sum(len(document.encode()) for document in documents)
    assert sum(store.counts(name)["bytes"] for name in ("train", "val")) == total


@pytest.mark.parametrize("count", [1, 7, 30, 60])
def test_a_part_and_the_rest_are_the_whole(tokenizer: Tokenizer, text: Path, count: int) -> None:
    split = read_text([str(text)], tokenizer)
    whole = bytes_of_tokens(split, part_of(split, np.array([0]), np.array([len(split)])), tokenizer)
    some = part_of(split, np.array([2, count + 3]), np.array([4, len(split) - 2]))
    expected = np.concatenate([whole[2:4], whole[count + 3 : -2]])
    assert bytes_of_tokens(split, some, tokenizer).tolist() == expected.tolist()
    first = first_tokens(split, count, tokenizer)
    assert first.sizes is not None and int(first.sizes.sum()) == int(whole[:count].sum())


def test_bits_per_byte_are_all_nats_over_all_bytes(
    tokenizer: Tokenizer, text: Path, tmp_path: Path
) -> None:
    size = ModelSettings(family="llama", layers=1, width=32, heads=4, context_length=CONTEXT)
    transformer = Transformer(config_for(size, tokenizer.vocab_size), seed=3)
    save(tmp_path / "model", transformer, tokenizer)
    result = evaluate(tmp_path / "model", text)
    split = read_text([str(text)], tokenizer)
    model = load_language_model(tmp_path / "model", precision="fp32")
    nats = token_losses(model.transformer, split, Windows(CONTEXT, CONTEXT, 4), model.start_id)
    assert result.bytes == sum(SIZES)
    expected = float(nats.sum(dtype=np.float64)) / math.log(2) / sum(SIZES)
    assert result.bits_per_byte == pytest.approx(expected, rel=1e-6)


def test_a_store_without_sizes_gives_no_wrong_bytes(
    tokenizer: Tokenizer, text: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = replace(read_text([str(text)], tokenizer), sizes=None)
    total = sum(sums(split, tokenizer))
    if tokenizer.unknown_id is None:
        assert total == sum(SIZES)
    else:
        assert total == 0 and "prepare the text again" in capsys.readouterr().err


def test_the_share_of_unknown_tokens_is_the_same_of_a_store_and_of_its_text(
    text: Path, tmp_path: Path
) -> None:
    word_piece().save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    mostly_known = [*KNOWN * 20, DOCUMENTS[1]]
    text.write_text("\n".join(json.dumps({"text": t}) for t in mostly_known), encoding="utf-8")
    flags = {"deduplicate": "none", "val_fraction": 0.999, "workers": 1}
    prepare(text, tmp_path / "store", tokenizer=str(tmp_path / "tokenizer.json"), **flags)
    store = Store.open(tmp_path / "store")
    of_store = open_held_out([], store, tokenizer).losses
    unknown = int(np.count_nonzero(store.val.tokens == tokenizer.unknown_id))
    assert of_store.unknown == unknown > 0
    of_text = open_held_out([str(text)], None, tokenizer).losses
    assert "龘" in of_text.characters and "龘" in of_store.characters
    assert of_text.share == pytest.approx(of_text.unknown / of_text.tokens)
