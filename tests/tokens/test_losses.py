"""What a tokenizer does not know is counted and named, and too much of it stops."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, trainers

from nextword.errors import UserError
from nextword.tokens.losses import Losses, check, folding
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer

KNOWN = "今天天气很好，我们一起去公园散步吧。这个问题不容易解决，但是可以试试看。"
UNKNOWN = "爨讟麤龘"
FLAGS = {"deduplicate": "none", "workers": 1}


def word_piece(folder: Path, normalizer: normalizers.Normalizer) -> Tokenizer:
    theirs = tokenizers.Tokenizer(models.WordPiece(unk_token="[UNK]"))
    theirs.normalizer = normalizer
    theirs.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=200, special_tokens=special)
    theirs.train_from_iterator([KNOWN, "a plain text of small letters"], trainer)
    folder.mkdir(exist_ok=True)
    theirs.save(str(folder / "tokenizer.json"))
    return Tokenizer.load(folder)


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return word_piece(tmp_path / "tokenizer", normalizers.BertNormalizer())


def write(tmp_path: Path, unknown: int) -> Path:
    """Text with about so many unknown characters in a thousand."""
    lines = [KNOWN * 30 for _ in range(20)]
    size = sum(map(len, lines))
    lines += [UNKNOWN] * (size * unknown // 1000 // len(UNKNOWN))
    (tmp_path / "text.jsonl").write_text("\n".join(json.dumps({"text": t}) for t in lines))
    return tmp_path / "text.jsonl"


@pytest.mark.parametrize("way", ["encode", "encode_batch", "types", "offsets"])
def test_every_way_of_encoding_counts(tokenizer: Tokenizer, way: str) -> None:
    text = "这个龘问题 爨，龘"
    if way == "encode":
        ids = tokenizer.encode(text)
    elif way == "encode_batch":
        ids = tokenizer.encode_batch([text])[0].tolist()
    elif way == "types":
        ids = tokenizer.encode_with_types(text)[0]
    else:
        ids = tokenizer.encode_with_offsets(text)[0]
    assert ids.count(tokenizer.unknown_id) == 3
    losses = tokenizer.take_losses()
    assert (losses.unknown, losses.tokens) == (3, 8)
    assert losses.characters == {"龘": 2, "爨": 1}
    assert tokenizer.take_losses() == Losses()


def test_what_is_dropped_without_a_token_counts_as_unknown(tmp_path: Path) -> None:
    theirs = tokenizers.Tokenizer(models.BPE())
    theirs.pre_tokenizer = pre_tokenizers.Whitespace()
    theirs.train_from_iterator([KNOWN], trainers.BpeTrainer(special_tokens=["</s>"]))
    theirs.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path / "tokenizer.json")
    ids, _ = tokenizer.encode_batch([f"{UNKNOWN} {KNOWN} 龘"])
    losses = tokenizer.take_losses()
    assert (losses.unknown, losses.tokens) == (5, len(ids) + 5)
    assert losses.characters == {"爨": 1, "讟": 1, "麤": 1, "龘": 2}


def test_a_word_of_known_characters_is_named_as_a_word(tokenizer: Tokenizer) -> None:
    tokenizer.encode("a " + "pl" * 60)  # too long a word for BERT
    assert list(tokenizer.take_losses().characters) == ["pl" * 60]


def test_a_tokenizer_of_bytes_loses_nothing() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.encode(UNKNOWN)
    assert tokenizer.unknown_id is None and tokenizer.take_losses().unknown == 0


def test_prepare_warns_and_keeps_the_share(
    tokenizer: Tokenizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare(
        write(tmp_path, 20), tmp_path / "store", tokenizer=str(tokenizer.where), **FLAGS
    )
    lost = Store.open(store.path).manifest["unknown_tokens"]
    ids = [id for split in (store.train, store.val) for id in split.tokens.tolist()]
    assert lost["unknown"] == ids.count(tokenizer.unknown_id) > 0
    assert lost["tokens"] == len(ids) - ids.count(tokenizer.end_id)
    assert lost["share"] == lost["unknown"] / lost["tokens"]
    assert set(lost["characters"]) == set(UNKNOWN)
    said = capsys.readouterr().err
    assert f"warning: {lost['share']:.2%} of the text's tokens are unknown" in said
    assert "turns capitals into small letters and drops accents" in said


def test_prepare_stops_where_too_much_is_unknown(tokenizer: Tokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokens are unknown .*龘.*leave out --tokenizer"):
        prepare(write(tmp_path, 500), tmp_path / "store", tokenizer=str(tokenizer.where), **FLAGS)
    assert not (tmp_path / "store").exists()


def test_a_store_whose_text_is_all_known_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepare(write(tmp_path, 20), tmp_path / "store", tokenizer="bytes", **FLAGS)
    lost = store.manifest["unknown_tokens"]
    assert lost["share"] == lost["unknown"] == 0 < lost["tokens"]
    assert "unknown" not in capsys.readouterr().err


def test_a_few_unknown_tokens_are_no_news(capsys: pytest.CaptureFixture[str]) -> None:
    check(Losses(100_000, 100))
    assert capsys.readouterr().err == ""
    check(Losses(100_000, 101))
    assert "warning" in capsys.readouterr().err
    with pytest.raises(UserError, match="take a model whose tokenizer knows this language"):
        check(Losses(100_000, 20_001))


def test_what_is_folded_is_told_by_what_a_tokenizer_does(tmp_path: Path) -> None:
    names = {
        "": normalizers.NFC(),
        "turns capitals into small letters": normalizers.Lowercase(),
        "drops accents": normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
        "turns capitals into small letters and drops accents": normalizers.BertNormalizer(),
    }
    for number, (expected, normalizer) in enumerate(names.items()):
        assert folding(word_piece(tmp_path / str(number), normalizer)) == expected
    assert folding(byte_tokenizer()) == ""
