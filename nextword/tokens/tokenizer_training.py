"""New tokenizers: byte-level BPE trained on text, single bytes, single characters.

Byte pair encoding: Gage (1994), Sennrich et al. (2016); on bytes: Radford et al. (2019). Words are
split as Qwen2 splits them, so that engines which know that model know these: digits stand alone,
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
from nextword.tokens.control_tokens import CAUSAL, ControlTokens
from nextword.tokens.fast_encoders import BPE_OPTIONS, SPLIT_CHARACTERS, SPLIT_WORDS, byte_alphabet
from nextword.tokens.tokenizer import Tokenizer

UNKNOWN = "<|unknown|>"
_SMALLEST, _LARGEST = 512, 32_768  # of the vocabularies chosen
_PER_ROOT = 1.6  # tokens in a vocabulary for the square root of the corpus's bytes
_PASSAGE = 50_000  # characters given to the trainer at once
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
_WORDS = {"type": "Sequence", "pretokenizers": [SPLIT_WORDS, _BYTES | {"trim_offsets": False}]}
_ADDED = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)


def choose_vocab_size(corpus_bytes: int, common_characters: int = 0) -> int:
    """Return a power of two that grows with the square root of the text, as its words do (Heaps).

    1 MB: 2,048; 24 MB: 8,192; 400 MB and more: 32,768. It has room for the characters that are
    common in the text, so that most Chinese ones are one token.
    """
    root = max(_PER_ROOT * math.sqrt(max(corpus_bytes, 1)), _SMALLEST)
    by_size = 2 ** round(math.log2(root))
    by_script = 2 ** math.ceil(math.log2(256 + 1.5 * common_characters))
    # a corpus too small for its script still gets no more than twice what its size allows
    return min(max(by_size, min(by_script, 2 * by_size)), _LARGEST)


def common_characters(text: Iterable[str], share: float = 0.995) -> int:
    """Return how many characters beyond ASCII make up this share of all such characters."""
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


def check_vocab_size(size: int, controls: ControlTokens = CAUSAL) -> None:
    """Raise UserError where a vocabulary has no room for all bytes and the control tokens."""
    least = 256 + len(controls.names)
    if size < least:
        raise UserError(
            f"a vocabulary of {size} is too small", mend=f"--vocab-size takes {least} or more"
        )


def train_bpe(
    texts: Iterable[str], vocab_size: int, sample_characters: int, controls: ControlTokens = CAUSAL
) -> Tokenizer:
    """Train byte-level BPE on the first `sample_characters` of `texts`, a fair sample.

    `vocab_size` counts the control tokens, which come last; a small text yields fewer tokens.
    Raises UserError where it is too small for all bytes.
    """
    from tokenizers import Tokenizer as Backend
    from tokenizers import models, pre_tokenizers, trainers

    check_vocab_size(vocab_size, controls)
    definition = json.loads(Backend(models.BPE()).to_str())
    definition["pre_tokenizer"] = _WORDS
    backend = Backend.from_str(json.dumps(definition))
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(controls.names),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(_limited(texts, sample_characters), trainer)
    model = json.loads(backend.to_str())["model"]
    alphabet = byte_alphabet()  # bytes first, in order, then pairs in order of their merging
    names = sorted(alphabet, key=alphabet.__getitem__) + ["".join(m) for m in model["merges"]]
    vocabulary = {name: id for id, name in enumerate(dict.fromkeys(names))}
    return _bpe(vocabulary, model["merges"], _WORDS, controls)


def _limited(texts: Iterable[str], most: int) -> Iterator[str]:
    """Yield passages of the texts, no more than `most` characters in all."""
    for text in texts:
        for start in range(0, len(text), _PASSAGE):
            passage = text[start : start + min(_PASSAGE, most)]
            yield passage
            most -= len(passage)
            if most <= 0:
                return


def byte_tokenizer(controls: ControlTokens = CAUSAL) -> Tokenizer:
    """Return a tokenizer in which each byte of UTF-8 is a token, its id the byte's value."""

    controls = replace(controls, strip_left=())  # a space is a token of its own
    return _bpe(byte_alphabet(), [], _BYTES, controls)


def character_tokenizer(texts: Iterable[str], controls: ControlTokens = CAUSAL) -> Tokenizer:
    """Return a tokenizer in which each character of the texts is a token."""
    characters = sorted(set().union(*texts))
    vocabulary = {character: id for id, character in enumerate(characters)}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN}
    roles = controls.roles | {"unk_token": UNKNOWN}
    controls = replace(controls, names=(*controls.names, UNKNOWN), roles=roles, strip_left=())
    vocabulary |= {name: len(characters) + number for number, name in enumerate(controls.names)}
    return _tokenizer(model, SPLIT_CHARACTERS, {"type": "Fuse"}, controls)


def _bpe(
    vocabulary: dict[str, int], merges: list[Any], splitter: dict[str, Any], controls: ControlTokens
) -> Tokenizer:
    vocabulary = dict(sorted(vocabulary.items(), key=lambda item: item[1]))
    vocabulary |= {name: len(vocabulary) + number for number, name in enumerate(controls.names)}
    model = {
        "type": "BPE",
        **BPE_OPTIONS,
        "vocab": vocabulary,
        "merges": [merge if isinstance(merge, list) else merge.split(" ") for merge in merges],
    }
    return _tokenizer(model, splitter, _BYTES, controls)


def _tokenizer(
    model: dict[str, Any],
    splitter: dict[str, Any],
    decoder: dict[str, Any],
    controls: ControlTokens,
) -> Tokenizer:
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": model["vocab"][name], "content": name, **_ADDED, "special": True}
            | {"lstrip": name in controls.strip_left}
            for name in controls.names
        ],
        "normalizer": None,
        "pre_tokenizer": splitter,
        "post_processor": controls.template(model["vocab"]),
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
        **controls.roles,
    }
    return Tokenizer(json.dumps(definition, ensure_ascii=False, indent=1) + "\n", config)
