"""Tokenizers that were SentencePiece's, as transformers saves Gemma's, XLM-RoBERTa's and mT5's."""

from __future__ import annotations

import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import tokenizers
import transformers
from kinds import PROSE, random_text, sentence_piece_bpe
from sentencepiece import sentencepiece_model_pb2

from nextword.tokens.tokenizer import Tokenizer

KINDS = ("gemma", "xlm-roberta", "mt5")
TEXTS = [
    "He said: “I haven't 1,234 reasons—only one!”",
    "  two  spaces\n\n\nand lines \t",
    "ﬁne ½ Ⅷ ｆｕｌｌ　width, naïve café 第3章：他說 🙂 \u0e33 x",
    "<table><tr><td>a <b>bold</b> cell</td></tr></table>",
    "",
    "a",
]
HTML = ["<table>", "<tr>", "<td>", "</td>", "</tr>", "</table>", "<b>", "</b>", "<s>", "</s>"]


def unigrams() -> tuple[list[tuple[str, float]], bytes]:
    """The pieces of a SentencePiece model, with their scores, and the table it normalizes with."""
    made = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(PROSE.splitlines()),
        model_writer=made,
        model_type="unigram",
        vocab_size=300,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(made.getvalue())
    pieces = [(piece.piece, piece.score) for piece in model.pieces if piece.type == 1]
    return pieces, model.normalizer_spec.precompiled_charsmap


def gemma() -> Any:
    """Byte pairs that fall back to bytes; control tokens first, then HTML and runs of newlines."""
    learned = json.loads(sentence_piece_bpe().to_str())["model"]
    first = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
    words = [*first, "\n\n", "\n\n\n", *HTML]
    names = [*words, *(name for name in learned["vocab"] if name not in words)]
    made = transformers.GemmaTokenizer(
        vocab={name: id for id, name in enumerate(names)},
        merges=[tuple(merge) for merge in learned["merges"]],
        additional_special_tokens=first[5:],
    )
    made.add_tokens([transformers.AddedToken(name, normalized=False) for name in words[7:]])
    made.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B", special_tokens=[("<bos>", 2)]
    )
    return made


def xlm_roberta() -> Any:
    pieces, charsmap = unigrams()
    first = [(name, 0.0) for name in ("<s>", "<pad>", "</s>", "<unk>")]
    return transformers.XLMRobertaTokenizer(
        vocab=[*first, *pieces, ("<mask>", 0.0)],
        _spm_precompiled_charsmap=charsmap,
        mask_token=transformers.AddedToken("<mask>", lstrip=True),
    )


def mt5() -> Any:
    pieces, charsmap = unigrams()
    first = [(name, 0.0) for name in ("<pad>", "</s>", "<unk>")]
    sentinels = [(f"<extra_id_{n}>", 0.0) for n in reversed(range(100))]
    return transformers.T5Tokenizer(
        vocab=[*first, *pieces, *sentinels], _spm_precompiled_charsmap=charsmap
    )


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folders = {}
    for kind, make in zip(KINDS, (gemma, xlm_roberta, mt5), strict=True):
        folders[kind] = tmp_path_factory.mktemp(kind)
        make().save_pretrained(folders[kind])
    return folders


@pytest.mark.parametrize("kind", KINDS)
def test_ids_and_text_are_those_of_transformers(kind: str, saved: dict[str, Path]) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(saved[kind])
    ours = Tokenizer.load(saved[kind])
    generator = random.Random(3)
    texts = TEXTS + [PROSE] + [random_text(generator, 40) for _ in range(300)]
    for text in texts:
        ids = theirs(text)["input_ids"]
        assert ours.encode(text, template=True) == ids, text
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        stream = ours.stream()
        assert "".join([*map(stream.feed, ids), stream.flush()]) == ours.decode(ids)
    batch, lengths = ours.encode_batch(TEXTS)
    plain = [theirs(text, add_special_tokens=False)["input_ids"] for text in TEXTS]
    assert batch.tolist() == [id for ids in plain for id in ids] and lengths.tolist() == list(
        map(len, plain)
    )


@pytest.mark.parametrize("kind", KINDS)
def test_control_tokens_have_their_roles_and_are_never_written(
    kind: str, saved: dict[str, Path]
) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(saved[kind])
    ours = Tokenizer.load(saved[kind])
    assert (ours.end_id, ours.pad_id) == (theirs.eos_token_id, theirs.pad_token_id)
    assert ours.bos_id == theirs.bos_token_id
    for name in theirs.all_special_tokens:
        written = set(ours.encode(f"a {name} b")) - {theirs.unk_token_id}
        assert not written & set(theirs.all_special_ids), name


def test_a_multilingual_encoder_masks_and_pairs_as_in_transformers(
    saved: dict[str, Path],
) -> None:
    theirs = transformers.AutoTokenizer.from_pretrained(saved["xlm-roberta"])
    ours = Tokenizer.load(saved["xlm-roberta"])
    prompt = "He said: <mask> reasons <mask>!"
    assert ours.encode_masked(prompt) == theirs(prompt)["input_ids"]
    for limit in (None, 20, 9):
        cut = {} if limit is None else {"truncation": True, "max_length": limit}
        expected = theirs(TEXTS[0], TEXTS[2], **cut)["input_ids"]
        assert ours.encode_with_types(TEXTS[0], TEXTS[2], limit)[0] == expected


def test_bytes_stand_for_what_gemma_has_no_piece_of(saved: dict[str, Path]) -> None:
    ours = Tokenizer.load(saved["gemma"])
    assert ours.unknown_id is None and ours.tells_bytes
    for text in (*TEXTS, PROSE):
        held = [ours.token_bytes(id) or b"" for id in ours.encode(text)]
        assert b"".join(held).decode() == text
    bold = ours.encode("<b>")
    assert len(bold) == 1 and bold[0] not in ours.special_ids
