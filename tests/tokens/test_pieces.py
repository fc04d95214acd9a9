"""Each token's part of the text, for tokenizers of every kind."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import tokenizers
from kinds import PROSE, random_text, sentence_piece_bpe
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from nextword.tokens.control_tokens import MASKED
from nextword.tokens.pieces import pieces_of_ids, pieces_of_text, shown
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, train_bpe


def byte_pairs() -> Tokenizer:
    return train_bpe([PROSE], 500, 10**6)


def byte_pairs_of_an_encoder() -> Tokenizer:
    return train_bpe([PROSE], 500, 10**6, MASKED)


def sentence_pieces() -> Tokenizer:
    return Tokenizer(sentence_piece_bpe().to_str(), {"eos_token": "</s>"})


def unigram() -> Tokenizer:
    """As T5's: words carry ▁, text is normalized, an end token is added."""
    backend = tokenizers.Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace("  ", " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>"
    )
    backend.train_from_iterator([PROSE], trainer)
    backend.post_processor = processors.TemplateProcessing("$A </s>", None, [("</s>", 1)])
    return Tokenizer(backend.to_str(), {"eos_token": "</s>"})


def word_pieces() -> Tokenizer:
    """As BERT's: lower case, no spaces."""
    backend = tokenizers.BertWordPieceTokenizer(lowercase=True)
    backend.train_from_iterator([PROSE], vocab_size=300, show_progress=False)
    return Tokenizer(backend.to_str(), {})


ENCODED_BY_BYTES = [byte_tokenizer, byte_pairs, byte_pairs_of_an_encoder]
KINDS = [*ENCODED_BY_BYTES, sentence_pieces, unigram, word_pieces]


@pytest.mark.parametrize("make", KINDS)
def test_the_parts_of_a_text_joined_are_the_text(make: Callable[[], Tokenizer]) -> None:
    tokenizer, drawn = make(), random.Random(3)
    texts = [PROSE[:200], "", " ", "  two  words ", "The CAFÉ ﬁne 🙂🙂 ", "天氣很好"]
    texts += [random_text(drawn, 40) for _ in range(50)]
    for text in texts:
        pieces = pieces_of_text(tokenizer, text)
        assert [piece.id for piece in pieces] == tokenizer.encode(text, template=True)
        if all(piece.special for piece in pieces):  # a tokenizer that drops what it does not know
            assert tokenizer.encode(text) == []
            continue
        assert "".join(piece.text for piece in pieces) == text
        assert all(text[piece.start : piece.end] == piece.text for piece in pieces)
        assert not any(piece.special and piece.text for piece in pieces)


@pytest.mark.parametrize("make", ENCODED_BY_BYTES)
def test_the_bytes_of_tokens_joined_are_those_of_the_text(make: Callable[[], Tokenizer]) -> None:
    tokenizer, drawn = make(), random.Random(4)
    for text in (PROSE[:300], *(random_text(drawn, 40) for _ in range(50))):
        pieces = pieces_of_text(tokenizer, text)
        assert b"".join(piece.bytes or b"" for piece in pieces) == text.encode()
        again = pieces_of_ids(tokenizer, [piece.id for piece in pieces])
        assert "".join(piece.text for piece in again) == text


def test_a_character_belongs_to_its_last_token() -> None:
    pieces = pieces_of_text(byte_tokenizer(), "a🙂")
    assert [piece.text for piece in pieces] == ["a", "", "", "", "🙂"]
    assert [piece.text for piece in pieces_of_ids(byte_tokenizer(), [97, *"🙂".encode()])] == [
        *("a", "", "", "", "🙂")
    ]
    assert shown(byte_tokenizer(), "é".encode()[0]) == "\ufffd"


def test_words_keep_the_case_that_the_tokenizer_does_not_see() -> None:
    pieces = pieces_of_text(word_pieces(), "The CAFÉ was closed")
    assert [piece.text for piece in pieces if piece.name in ("the", "was")] == ["The", " was"]


def test_the_mask_is_its_token_only_where_that_is_asked_for() -> None:
    tokenizer = byte_pairs_of_an_encoder()
    masked = pieces_of_text(tokenizer, "The [MASK] was closed.", masked=True)
    assert [piece.text for piece in masked if piece.id == tokenizer.mask_id] == [" [MASK]"]
    assert "".join(piece.text for piece in masked) == "The [MASK] was closed."
    plain = pieces_of_text(tokenizer, "The [MASK] was closed.")
    assert tokenizer.mask_id not in [piece.id for piece in plain]
