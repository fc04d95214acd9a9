from __future__ import annotations

import json

import pytest

from nextword.errors import UserError
from nextword.tokens.tokenizer_training import (
    byte_tokenizer,
    character_tokenizer,
    choose_vocab_size,
    common_characters,
    train_bpe,
)

TEXT = "the cat sat on the mat in 1984; 床前明月光，疑是地上霜。\n" * 50


def test_every_byte_is_a_token_and_the_control_tokens_come_last() -> None:
    made = train_bpe([TEXT], 300, 10**6)
    assert made.vocab_size == 300
    assert [made.token_bytes(id) for id in range(256)] == [bytes([id]) for id in range(256)]
    assert sorted(made.special_ids) == [296, 297, 298, 299]
    assert made.end_id == 296


def test_digits_stand_alone() -> None:
    made = train_bpe(["1984 1984 1984 2001 1984"] * 99, 400, 10**6)
    assert len(made.encode("1984")) == 4


def test_common_words_and_chinese_characters_become_tokens() -> None:
    made = train_bpe([TEXT], 400, 10**6)
    assert len(made.encode(" the")) == 1
    assert len(made.encode("床前明月光")) < len("床前明月光".encode())


def test_a_small_text_gives_a_smaller_vocabulary() -> None:
    assert train_bpe(["ab ab"], 5000, 100).vocab_size < 270
    assert train_bpe([""], 5000, 100).vocab_size == 260


def test_no_more_than_the_sample_is_looked_at() -> None:
    seen = 0

    def endless():  # type: ignore[no-untyped-def]
        nonlocal seen
        while True:
            seen += len(TEXT)
            yield TEXT

    first = train_bpe(endless(), 300, 20_000)
    assert seen < 20_000 + len(TEXT) + 1
    assert first.definition == train_bpe([TEXT] * 99, 300, 20_000).definition


def test_a_vocabulary_without_room_for_the_bytes_is_refused() -> None:
    with pytest.raises(UserError, match="260 or more"):
        train_bpe([TEXT], 259, 1000)


def test_the_vocabulary_grows_with_the_text_and_its_script() -> None:
    sizes = [choose_vocab_size(size) for size in (0, 10**5, 10**6, 24 * 10**6, 10**9, 10**13)]
    assert sizes == [512, 512, 2048, 8192, 32768, 32768]
    assert choose_vocab_size(10**7, common_characters=4000) == 8192
    assert common_characters(["aaa", "天天天天地"]) == 2
    assert common_characters(["plain"]) == 0


def test_words_are_cut_as_qwen2_cuts_them() -> None:
    definition = json.loads(train_bpe([TEXT], 300, 10**6).definition)
    split = definition["pre_tokenizer"]["pretokenizers"][0]
    assert split["pattern"]["Regex"] == (
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}|"
        " ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
    )


def test_bytes_are_their_own_ids_and_characters_are_in_order() -> None:
    assert byte_tokenizer().encode("aé") == [97, 0xC3, 0xA9]
    made = character_tokenizer(["cab", "\n"])
    assert made.encode("\nabc") == [0, 1, 2, 3]
    assert made.decode([0, 1, 2, 3]) == "\nabc"
