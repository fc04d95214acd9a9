"""Encoders: `tokenizers`, and much faster ones where their ids are proven to be the same.

gigatoken's ids equal those of
`tokenizers` for byte-level BPE that cuts text into words as GPT-2, Llama 3 or Qwen2 do, for every
character whose class (letter, number, space ...) both know alike. They follow different versions of
Unicode: of all 1,112,064 characters 4,240 are classed differently, all from the newest versions. A
text with one of those goes to `tokenizers`. Each tokenizer is also checked on a probe before its
fast encoder is used at all.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nextword.tokens.control_tokens import to_json

if TYPE_CHECKING:
    import tokenizers

Ids = NDArray[np.uint32]
Encoder = Callable[[str], "Ids | None"]  # None: this text is left to `tokenizers`

QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
LLAMA3_PATTERN = QWEN2_PATTERN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


def isolate(pattern: str) -> dict[str, Any]:
    """Return the part of a tokenizer.json that makes each match of a pattern a word."""
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


SPLIT_CHARACTERS = isolate(r"[\s\S]")
SPLIT_WORDS = isolate(QWEN2_PATTERN)
BPE_OPTIONS = {  # off in byte-level BPE
    **dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix")),
    **dict.fromkeys(("fuse_unk", "byte_fallback", "ignore_merges"), False),
}
# Outside of the BMP only emoji and Chinese that all versions know are let through.
_UNPROVEN_CHARACTERS = re.compile(
    "[\u088f\u0897\u0c5c\u0cf3\u0ece\u1acf-\u1aff\u0cdc\ua7ce\ua7cf\ua7d2\ua7d4\ua7f1\ud800-\udfff\U00010000-\U0001efff"
    "\U0001fb00-\U0001ffff\U0002a6e0-\U0002a6ff\U0002b73a-\U0010ffff]"
)
_PROBE = (
    "".join(
        f"ab{c}cd {c}x{c}{c} 1{c}2'{c}e\n{c}\n {c} \t{c} .{c}!{c}\r\n'{c}  {c}"
        for c in "aZéßſñДяαיع हिก中の가，。「」—…“”’'\"!?.,;:-()[]{}<>|_#$%^&*+=/\\~`@0９²½Ⅷ٣ \u00a0"  # noqa: E501
        "\u3000\u2028\u0085\x1c\x0b\x0c\t\r\n\0\ufeff\ufffd\u200d\u0301🙂𠀀"
    )
    + (
        "He'd said we'RE 12,345.678 times—\"don't!\"\n\n\n    def f(x):\n\treturn x**2  \r\n"
        "<|endoftext|></s><s>[SEP] 第3章：“他說：12345年……”\n\n https://a.b/c?d=e&f "
    )
    * 3
    + "a" * 2000
    + " " * 300
    + "^" * 2000
    + "\n" * 99
    + "中" * 2000
)


def byte_alphabet() -> dict[str, int]:
    """Return GPT-2's printable stand-ins for the 256 bytes: character to byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }


def fast_encoder(
    plain: dict[str, Any], reference: Callable[[], tokenizers.Tokenizer]
) -> Encoder | None:
    """Return an encoder with the ids of the `reference`, the tokenizer of a tokenizer.json whose
    control tokens are hidden; None where no faster one is proven."""
    table = byte_encoder(plain) or character_encoder(plain)
    return table or byte_pair_encoder(plain, reference)


def byte_pair_encoder(
    plain: dict[str, Any], reference: Callable[[], tokenizers.Tokenizer]
) -> Encoder | None:
    """Return gigatoken's, if this is byte-level BPE of a proven kind and the probe's ids agree."""
    if not _is_proven_kind(plain):
        return None
    import gigatoken

    slow, is_nfc = reference(), plain.get("normalizer") == {"type": "NFC"}
    plain = {**plain, "normalizer": None}
    try:
        backend = gigatoken.Tokenizer.from_json(to_json(plain))._backend
        probe = unicodedata.normalize("NFC", _PROBE) if is_nfc else _PROBE
        agrees = backend.encode(probe).tolist() == slow.encode(probe).ids
    except Exception:
        return None
    if not agrees:
        return None

    def encode(text: str) -> Ids | None:
        if not text.isascii():
            if _UNPROVEN_CHARACTERS.search(text):
                return None
            if is_nfc and not unicodedata.is_normalized("NFC", text):
                return None
        return backend.encode(text)

    return encode


def _is_proven_kind(plain: dict[str, Any]) -> bool:
    model, splitting = plain["model"], plain.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or plain.get("added_tokens"):
        return False
    if plain.get("normalizer") not in (None, {"type": "NFC"}):
        return False
    if any(model.get(name) for name in BPE_OPTIONS) or not model.get("merges"):
        return False
    if not all(character in model["vocab"] for character in byte_alphabet()):
        return False
    if splitting.get("type") == "ByteLevel":
        return splitting.get("use_regex", True) and not splitting.get("add_prefix_space")
    parts = splitting.get("pretokenizers") or [{}]
    return (
        [part.get("type") for part in parts] == ["Split", "ByteLevel"]
        and parts[0].get("pattern", {}).get("Regex") in (QWEN2_PATTERN, LLAMA3_PATTERN)
        and parts[0].get("behavior") == "Isolated"
        and not parts[0].get("invert")
        and not parts[1].get("add_prefix_space")
        and not parts[1].get("use_regex", True)
    )


def byte_encoder(plain: dict[str, Any]) -> Encoder | None:
    """Return a table from bytes to ids, for a byte-level vocabulary without merges."""
    model, splitting = plain["model"], plain.get("pre_tokenizer") or {}
    if model.get("type") != "BPE" or model.get("merges") or plain.get("normalizer"):
        return None
    if splitting.get("type") != "ByteLevel" or splitting.get("add_prefix_space"):
        return None
    names = sorted(alphabet := byte_alphabet(), key=alphabet.__getitem__)
    if plain.get("added_tokens") or not all(name in model["vocab"] for name in names):
        return None
    table = np.array([model["vocab"][name] for name in names], np.uint32)
    return lambda text: table[np.frombuffer(text.encode(), np.uint8)]


def character_encoder(plain: dict[str, Any]) -> Encoder | None:
    """Return a table from characters to ids; it returns None for texts with other characters."""
    if plain["model"].get("type") != "WordLevel" or plain.get("normalizer"):
        return None
    if plain.get("added_tokens") or plain.get("pre_tokenizer") != SPLIT_CHARACTERS:
        return None
    known = {name: id for name, id in plain["model"]["vocab"].items() if len(name) == 1}
    missing = np.uint32(2**32 - 1)
    table = np.full(max(map(ord, known), default=0) + 2, missing, np.uint32)
    for name, id in known.items():
        table[ord(name)] = id

    def encode(text: str) -> Ids | None:
        points = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        ids = table[np.minimum(points, len(table) - 1)]
        return None if (ids == missing).any() else ids

    return encode
