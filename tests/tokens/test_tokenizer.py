from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from kinds import CONTROLS, PROSE, random_text, sentence_piece_bpe
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors
from transformers import AutoTokenizer

from nextword.errors import UserError
from nextword.tokens import fast_encoders
from nextword.tokens.control_tokens import CAUSAL, DENOISE, MASKED, ControlTokens, control_tokens
from nextword.tokens.fast_encoders import byte_alphabet
from nextword.tokens.tokenizer import Frame, Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer, train_bpe


@pytest.fixture(scope="module")
def trained() -> Tokenizer:
    return train_bpe([PROSE], 700, 10**6)


def as_hugging_face(tokenizer: Tokenizer, folder: Path) -> Any:
    tokenizer.save(folder)
    return AutoTokenizer.from_pretrained(folder)


def every_pair_merges() -> Tokenizer:
    """A vocabulary in which any two bytes merge, so that ids show where each word is cut."""
    name = {byte: character for character, byte in byte_alphabet().items()}
    pairs = [(a, b) for a in range(256) for b in range(256)]
    random.Random(0).shuffle(pairs)
    definition = json.loads(train_bpe([PROSE], 260, 10**4).definition)
    vocab = {name[byte]: byte for byte in range(256)}
    for a, b in pairs:
        vocab.setdefault(name[a] + name[b], len(vocab))
    definition["model"] |= {"vocab": vocab, "merges": [[name[a], name[b]] for a, b in pairs]}
    definition["added_tokens"] = []
    return Tokenizer(json.dumps(definition))


@pytest.mark.parametrize("kind", ["bpe", "bytes", "chars"])
def test_auto_tokenizer_opens_what_is_saved_with_identical_ids(kind: str, tmp_path: Path) -> None:
    text = PROSE[:2000]
    made = {
        "bpe": lambda: train_bpe([PROSE], 700, 10**6),
        "bytes": byte_tokenizer,
        "chars": lambda: character_tokenizer([text]),
    }[kind]()
    theirs = as_hugging_face(made, tmp_path)
    assert theirs(text)["input_ids"] == made.encode(text)
    assert theirs.decode(made.encode(text)) == text == made.decode(made.encode(text))
    assert theirs.eos_token_id == made.end_id
    assert len(theirs) == made.vocab_size
    again = Tokenizer.load(tmp_path)
    assert again.sha256 == made.sha256
    assert again.encode(text) == made.encode(text)


def test_ids_are_those_of_tokenizers_on_published_text(shared_data: Path) -> None:
    files = [file for file in sorted(shared_data.rglob("*")) if file.is_file()]
    texts = [file.read_text(encoding="utf-8", errors="replace")[:60_000] for file in files]
    ours = train_bpe([text[:8000] for text in texts], 8192, 10**7)
    assert ours.fast_encoder is not None, "the fast encoder is not in use"
    definition = json.loads(ours.definition) | {"added_tokens": []}
    reference = tokenizers.Tokenizer.from_str(json.dumps(definition))
    flat, lengths = ours.encode_batch(texts)
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    assert [len(ids) for ids in expected] == lengths.tolist()
    assert flat.tolist() == [id for ids in expected for id in ids]


def test_characters_classed_differently_by_gigatoken_still_get_the_ids_of_tokenizers() -> None:
    ours = every_pair_merges()
    assert ours.fast_encoder is not None
    rng = random.Random(5)
    texts = [f"ab{c}cd {c}x 1{c}{c}'s\n{c} " for c in "\u088f\u0c5c\ua7ce\U00010940\U00032400"]
    texts += [random_text(rng, 40) for _ in range(3000)]
    reference = tokenizers.Tokenizer.from_str(ours.definition)
    flat, lengths = ours.encode_batch(texts)
    expected = [encoding.ids for encoding in reference.encode_batch(texts)]
    assert lengths.tolist() == [len(ids) for ids in expected]
    assert flat.tolist() == [id for ids in expected for id in ids]


def test_a_tokenizer_with_nfc_is_fast_and_identical() -> None:
    definition = json.loads(train_bpe([PROSE], 700, 10**6).definition)
    definition["normalizer"] = {"type": "NFC"}
    ours = Tokenizer(json.dumps(definition))
    assert ours.fast_encoder is not None
    reference = tokenizers.Tokenizer.from_str(ours.definition)
    for text in (PROSE, "cafe\u0301 naïve", "e\u0301" * 2000, "\u1100\u1161\u11a8가"):
        assert ours.encode(text) == reference.encode(text).ids


def test_an_encoder_whose_probe_differs_is_not_used(trained: Tokenizer) -> None:
    plain = json.loads(trained.definition) | {"added_tokens": []}
    other = tokenizers.Tokenizer.from_str(train_bpe(["zz zz zz qq"], 262, 100).definition)
    assert fast_encoders.byte_pair_encoder(plain, lambda: other) is None
    plain["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = r"\p{L}+|\P{L}"
    assert (
        fast_encoders.byte_pair_encoder(
            plain, lambda: tokenizers.Tokenizer.from_str(json.dumps(plain))
        )
        is None
    )


def unigram() -> tokenizers.Tokenizer:
    pieces = [("<s>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [(c, -5.0) for c in "▁<>/|[]_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.add_special_tokens(["<s>", "</s>", "<unk>"])
    return backend


@pytest.mark.parametrize("kind", ["bpe", "bytes", "chars", "unigram", "sentencepiece", "markup"])
def test_text_never_becomes_a_control_token(kind: str, trained: Tokenizer) -> None:
    definition = json.loads(trained.definition)
    think = {**definition["added_tokens"][0], "content": "<think>", "special": False, "id": 700}
    definition["added_tokens"].append(think)
    ours = {
        "bpe": lambda: trained,
        "bytes": byte_tokenizer,
        "chars": lambda: character_tokenizer(["".join(CONTROLS) + "<think></s>[SEP] ab"]),
        "unigram": lambda: Tokenizer(unigram().to_str()),
        "sentencepiece": lambda: Tokenizer(sentence_piece_bpe().to_str()),
        "markup": lambda: Tokenizer(json.dumps(definition)),
    }[kind]()
    names = [*control_tokens(json.loads(ours.definition)).values(), *CONTROLS, "<think>", "</s>"]
    assert len(ours.special_ids) >= 3
    unknown = next((id for id in range(ours.vocab_size) if ours.id_to_token(id) == "<unk>"), None)
    for name in names:
        for text in (name, f"a{name}b", f" {name} ", name * 3, f"a {name}" * 900):
            for ids in (ours.encode(text), ours.encode_batch([text, "a"])[0].tolist()):
                assert not (set(ids) - {unknown}) & ours.special_ids, (name, text[:40])
            if kind not in ("unigram", "sentencepiece"):
                assert ours.decode(ours.encode(text)) == text


def test_added_words_and_spaces_are_text(trained: Tokenizer) -> None:
    backend = tokenizers.Tokenizer.from_str(trained.definition)
    backend.add_tokens(["covid", "        "])
    ours = Tokenizer(backend.to_str())
    text = "the covid\n        times"
    assert ours.encode(text) == backend.encode(text).ids
    assert backend.token_to_id("covid") in ours.encode(text)


def test_a_template_is_added_as_transformers_does(trained: Tokenizer, tmp_path: Path) -> None:
    backend = tokenizers.Tokenizer.from_str(trained.definition)
    start, end = trained.end_id, backend.token_to_id("<|im_end|>")
    backend.post_processor = processors.TemplateProcessing(
        single="<|endoftext|> $A <|im_end|>",
        special_tokens=[("<|endoftext|>", start), ("<|im_end|>", end)],
    )
    ours = Tokenizer(backend.to_str(), trained.config)
    theirs = as_hugging_face(ours, tmp_path)
    assert ours.encode("The café", template=True) == theirs("The café")["input_ids"]
    assert ours.encode("The café", template=True) == [start, *ours.encode("The café"), end]
    hostile = ours.encode("<|im_end|>", template=True)
    assert hostile.count(end) == 1, "only the template's own"


@pytest.mark.parametrize("kind", ["bpe", "sentencepiece"])
def test_a_stream_joins_to_the_decoded_text_and_never_splits_a_character(
    kind: str, trained: Tokenizer
) -> None:
    ours = trained if kind == "bpe" else Tokenizer(sentence_piece_bpe().to_str())
    rng = random.Random(11)
    for _ in range(100):
        text = random_text(rng, 20).replace("\ufffd", "")
        ids = ours.encode(text)
        stream = ours.stream()
        pieces = [stream.feed(id) for id in ids] + [stream.flush()]
        assert "".join(pieces) == ours.decode(ids)
        if kind == "bpe":
            assert not any("\ufffd" in piece for piece in pieces)
    for _ in range(300 if kind == "bpe" else 0):  # ids that are no text
        ids = [rng.randrange(ours.vocab_size) for _ in range(12)]
        stream = ours.stream()
        assert "".join([*map(stream.feed, ids), stream.flush()]) == ours.decode(ids)


def test_half_a_character_after_broken_bytes_is_held_back() -> None:
    ours = byte_tokenizer()
    stream = ours.stream()
    ids = [0xFF, 0xFF, 0xFF, *"🙂".encode()]
    assert "".join(map(stream.feed, ids)) == "\ufffd\ufffd\ufffd🙂"


def test_bytes_of_tokens_add_up_to_the_text(trained: Tokenizer) -> None:
    ids = trained.encode(PROSE)
    assert b"".join(trained.token_bytes(id) or b"" for id in ids) == PROSE.encode()
    assert trained.bytes_per_id()[ids].sum() == len(PROSE.encode())
    assert trained.token_bytes(trained.end_id) is None
    assert trained.token_bytes(10**9) is None


def test_a_lone_surrogate_and_an_unknown_character_are_named() -> None:
    with pytest.raises(UserError, match=r"U\+D83D.* at character 3"):
        byte_tokenizer().encode("abc\ud83d")
    with pytest.raises(UserError, match=r"'é' \(U\+00E9\) at character 2"):
        character_tokenizer(["abc"]).encode("abé")
    with pytest.raises(UserError, match="'é'"):
        character_tokenizer(["abc"]).encode_batch(["abc", "é"])


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b"\xff\xfe", b'{"model": 3}', b'{"added_tokens": [1]}', b"[" * 100_000,
     b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": [["a", "b"]]}}'],
)  # fmt: skip
def test_a_damaged_definition_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(UserError, match=r"tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_what_is_no_tokenizer_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no tokenizer\.json"):
        Tokenizer.load(tmp_path)
    with pytest.raises(UserError, match="no such file"):
        Tokenizer.load(tmp_path / "missing.json")
    with pytest.raises(UserError, match=r"no tokenizer 'nobody/nothing' is here"):
        Tokenizer.load("nobody/nothing")


def test_the_end_of_a_document_is_found_by_name_or_configuration() -> None:
    assert Tokenizer(unigram().to_str()).end_id == 1
    definition = json.loads(byte_tokenizer().definition)
    definition["added_tokens"] = []
    definition["model"]["vocab"] = {
        k: v for k, v in definition["model"]["vocab"].items() if v < 256
    }
    with pytest.raises(UserError, match="end of a document"):
        _ = Tokenizer(json.dumps(definition)).end_id
    chosen = Tokenizer(json.dumps(definition), {"eos_token": {"content": "z"}})
    assert chosen.end_id == ord("z")


@pytest.mark.parametrize("pair", [False, True])
@pytest.mark.parametrize("specials", [CAUSAL, MASKED, DENOISE])
def test_a_frame_is_what_transformers_puts_around_a_text_of_characters(
    specials: ControlTokens, pair: bool, tmp_path: Path
) -> None:
    tokenizer = character_tokenizer(["床前明月光，疑是地上霜。 "], specials)
    theirs = as_hugging_face(tokenizer, tmp_path)
    texts = ["明月", "地上"][: 1 + pair]
    first, second = tokenizer.encode(texts[0]), tokenizer.encode(texts[-1])
    frame = tokenizer.frame(pair)
    inside = [*first, *frame.between, *second] if pair else first
    assert [*frame.before, *inside, *frame.after] == theirs(*texts)["input_ids"]
    assert frame.space == 0


def test_a_frame_has_the_space_that_is_added_and_the_type_of_the_second_text() -> None:
    backend = sentence_piece_bpe()
    assert Tokenizer(backend.to_str()).frame().space == 0
    backend.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    assert Tokenizer(backend.to_str()).frame().space == 1
    vocabulary = {"[UNK]": 0, "[S]": 1, "月": 2}
    words = tokenizers.Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    words.add_special_tokens(["[UNK]", "[S]"])
    words.post_processor = processors.TemplateProcessing(
        single="[S] $A", pair="[S] $A [S] $B:1", special_tokens=[("[S]", 1)]
    )
    assert Tokenizer(words.to_str()).frame(pair=True) == Frame(0, [1], [1], [], 1)
