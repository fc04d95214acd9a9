"""Whatever people write comes back from every kind of tokenizer, in a time like prose's."""

from __future__ import annotations

import functools
import json
import random
import time
from collections.abc import Callable

import numpy as np
import pytest
from kinds import CONTROLS, PROSE, random_text, sentence_piece_bpe

from nextword.tokens.fast_encoders import LLAMA3_PATTERN
from nextword.tokens.tokenizer import Tokenizer
from nextword.tokens.tokenizer_training import byte_tokenizer, character_tokenizer, train_bpe

AT_ONCE = 10_000  # texts


@functools.cache
def trained() -> Tokenizer:
    return train_bpe([PROSE], 700, 10**6)


def with_cutting(cutting: object) -> Tokenizer:
    definition = json.loads(trained().definition)
    definition["pre_tokenizer"] = cutting
    return Tokenizer(json.dumps(definition))


def as_gpt2() -> Tokenizer:
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return with_cutting(byte_level | {"use_regex": True})


def as_llama3() -> Tokenizer:
    cutting = json.loads(trained().definition)["pre_tokenizer"]
    cutting["pretokenizers"][0]["pattern"]["Regex"] = LLAMA3_PATTERN
    return with_cutting(cutting)


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "bpe": trained,
    "bytes": byte_tokenizer,
    "chars": lambda: character_tokenizer(map(chr, [*range(0xD800), *range(0xE000, 0x30000)])),
    "gpt2": as_gpt2,
    "llama3": as_llama3,
    "sentencepiece": lambda: Tokenizer(sentence_piece_bpe().to_str()),
}


def random_texts(kind: str, count: int, rng: random.Random) -> list[str]:
    texts = [random_text(rng, rng.randrange(16)) for _ in range(count)]
    for number in range(0, count, 50):
        texts[number] += rng.choice(CONTROLS) + texts[number - 1]
    if kind == "chars":  # knows what it has seen alone
        texts = ["".join(c for c in text if c < "\U00030000") for text in texts]
    if kind == "sentencepiece":  # by its definition this sign is a space
        texts = [text.replace("▁", "_") for text in texts]
    return texts


def round_trips(kind: str, count: int) -> None:
    ours, rng = KINDS[kind](), random.Random(kind)
    controls = np.array(sorted(ours.special_ids))
    for start in range(0, count, AT_ONCE):
        texts = random_texts(kind, min(AT_ONCE, count - start), rng)
        flat, lengths = ours.encode_batch(texts)
        assert not np.isin(flat, controls).any()
        for text, ids in zip(texts, np.split(flat, np.cumsum(lengths)[:-1]), strict=True):
            assert ours.decode(ids) == text


@pytest.mark.parametrize("kind", KINDS)
def test_random_unicode_comes_back(kind: str) -> None:
    round_trips(kind, 1000)


@pytest.mark.slow(cases=10**6)
@pytest.mark.parametrize("kind", KINDS)
def test_a_million_random_unicode_strings_come_back(kind: str) -> None:
    round_trips(kind, 10**6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("character", "a^ \n中")
def test_a_repeated_character_takes_at_most_ten_times_prose_s_time(
    kind: str, character: str
) -> None:
    ours = KINDS[kind]() if kind != "chars" else character_tokenizer([PROSE, "a^ \n中"])
    size = 10**6 if kind != "sentencepiece" else 10**5
    text = character * (size // len(character.encode()))
    prose = PROSE * (size // len(PROSE.encode()))
    ours.encode(prose[:5000])

    def seconds(of: str) -> float:
        begin = time.process_time()
        ours.encode(of)
        return time.process_time() - begin

    assert seconds(text) < 10 * seconds(prose) + 0.05
