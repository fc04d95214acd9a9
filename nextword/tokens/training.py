"""New tokenizers: byte-level BPE trained on text, single bytes, single characters.

Byte pair encoding: Gage (1994), Sennrich et al. (2016); on bytes: Radford et al. (2019). Words are
cut as Qwen2 cuts them, so that engines which know that model know these: digits stand alone,
Chinese is cut at punctuation only. All 256 bytes are tokens: nothing is unknown.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from nextword.errors import UserError
from nextword.tokens.fast import EACH_CHARACTER, QWEN2_WORDS
from nextword.tokens.plain import byte_alphabet
from nextword.tokens.specials import CAUSAL, Specials
from nextword.tokens.tokenizer import Tokenizer

UNKNOWN = "<|unknown|>"
SMALLEST, LARGEST = 512, 32_768  # of the vocabularies chosen
PER_ROOT = 1.6  # tokens in a vocabulary for the square root of the corpus's bytes
PASSAGE = 50_000  # characters given to the trainer at once


def choose_vocab_size(corpus_bytes: int, common_characters: int = 0) -> int:
    """A power of two that grows with the square root of the text (Heaps' law has words grow so).

    1 MB: 2,048; 24 MB: 8,192; 400 MB and more: 32,768. It has room for the characters that are
    common in the text, so that most Chinese ones are one token.
    """
    root = max(PER_ROOT * math.sqrt(max(corpus_bytes, 1)), SMALLEST)
    by_size = 2 ** round(math.log2(root))
    by_script = 2 ** math.ceil(math.log2(256 + 1.5 * common_characters))
    # a corpus too small for its script still gets no more than twice what its size allows
    return min(max(by_size, min(by_script, 2 * by_size)), LARGEST)


def common_characters(text: Iterable[str], share: float = 0.995) -> int:
    """How many characters beyond ASCII make up this share of all such characters."""
    counts: Counter[str] = Counter()
    for part in text:
        counts.update(part)
    beyond = sorted((n for c, n in counts.items() if not c.isascii()), reverse=True)
    left = share * sum(beyond)
    for number, count in enumerate(beyond, start=1):
        left -= count
        if left <= 0:
            return number
    return 0


def check_vocab_size(size: int, specials: Specials = CAUSAL) -> None:
    """All bytes and the control tokens have to find room. Raises UserError."""
    least = 256 + len(specials.names)
    if size < least:
        raise UserError(
            f"a vocabulary of {size} is too small", mend=f"--vocab-size takes {least} or more"
        )


def train_bpe(
    texts: Iterable[str], vocab_size: int, sample_characters: int, specials: Specials = CAUSAL
) -> Tokenizer:
    """Train on the first `sample_characters` of `texts`, which should be a fair sample.

    `vocab_size` counts the control tokens, which come last; a small text yields fewer tokens.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    check_vocab_size(vocab_size, specials)
    backend = Backend(models.BPE())
    words = json.loads(Backend(models.BPE()).to_str())
    words["pre_tokenizer"] = _word_cutting()
    backend = Backend.from_str(json.dumps(words))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(specials.names),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_bounded(texts, sample_characters), trainer)
    model = json.loads(backend.to_str())["model"]
    alphabet = byte_alphabet()  # bytes first, in order, then pairs in order of their merging
    names = sorted(alphabet, key=alphabet.__getitem__) + ["".join(m) for m in model["merges"]]
    vocabulary = {name: id for id, name in enumerate(dict.fromkeys(names))}
    return _bpe(vocabulary, model["merges"], _word_cutting(), specials)


def _bounded(texts: Iterable[str], most: int) -> Iterator[str]:
    """Passages of the text, in all no more than `most` characters."""
    for text in texts:
        for start in range(0, len(text), PASSAGE):
            passage = text[start : start + min(PASSAGE, most)]
            yield passage
            most -= len(passage)
            if most <= 0:
                return


def bytes_tokenizer(specials: Specials = CAUSAL) -> Tokenizer:
    """Each byte of UTF-8 is a token, its id the byte's value."""
    whole = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    specials = replace(specials, strip_left=())  # a space is a token of its own
    return _bpe(byte_alphabet(), [], whole | {"use_regex": False}, specials)


def characters(texts: Iterable[str], specials: Specials = CAUSAL) -> Tokenizer:
    """Each character found in the texts is a token."""
    found: set[str] = set()
    for text in texts:
        found.update(text)
    vocabulary = {character: id for id, character in enumerate(sorted(found))}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}
    roles = specials.roles | {"unk_token": UNKNOWN}
    specials = replace(specials, names=(*specials.names, UNKNOWN), roles=roles, strip_left=())
    vocabulary |= {name: len(found) + number for number, name in enumerate(specials.names)}
    return _tokenizer(model, EACH_CHARACTER, {"type": "Fuse"}, specials)


def _bpe(
    vocabulary: dict[str, int], merges: list[Any], cutting: dict[str, Any], specials: Specials
) -> Tokenizer:
    vocabulary = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    vocabulary |= {name: len(vocabulary) + number for number, name in enumerate(specials.names)}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": vocabulary,
        "merges": [merge if isinstance(merge, list) else merge.split(" ") for merge in merges],
    }
    decoder = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return _tokenizer(model, cutting, decoder | {"use_regex": False}, specials)


def _word_cutting() -> dict[str, Any]:
    split = {"type": "Split", "pattern": {"Regex": QWEN2_WORDS}, "behavior": "Isolated"}
    to_bytes = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False}
    return {
        "type": "Sequence",
        "pretokenizers": [split | {"invert": False}, to_bytes | {"use_regex": False}],
    }


def _tokenizer(
    model: dict[str, Any], cutting: dict[str, Any], decoder: dict[str, Any], specials: Specials
) -> Tokenizer:
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": model["vocab"][name],
                "content": name,
                "single_word": False,
                "lstrip": name in specials.strip_left,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name in specials.names
        ],
        "normalizer": None,
        "pre_tokenizer": cutting,
        "post_processor": specials.template(model["vocab"]),
        "decoder": decoder,
        "model": model,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": None,
        "unk_token": None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
        **specials.roles,
    }
    return Tokenizer(json.dumps(definition, ensure_ascii=False, indent=1) + "\n", config)
