"""A tokenizer as the fields of a GGUF file.

llama.cpp knows how byte-level BPE cuts text into words by a name; a tokenizer whose pattern has no
such name would give other ids there, and is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.hub.gguf.tokenizer_fields import (
    BYTES,
    CONTROL,
    NORMAL,
    SPLITTERS,
    UNUSED,
    USER_DEFINED,
)
from nextword.tokens.fast_encoders import BPE_OPTIONS
from nextword.tokens.tokenizer import Tokenizer

NAMES = ("gpt-2", "smollm", "llama-bpe", "smaug-bpe", "qwen2", "tekken")  # written, of SPLITTERS
NO_MERGE = "ĀĀ Ā"  # llama.cpp wants at least one: this begins with what is no token
ENDS = ("eos", "eot", "eom")  # llama.cpp has room for as many tokens that end a text or a turn
IRRELEVANT = ("trim_offsets",)  # to the ids


@dataclass(frozen=True)
class TextEnds:
    """Where texts begin and end: the token before a text, those after one (the first of which is
    the usual one), and the Jinja template of conversations ("" for none)."""

    start_id: int
    end_ids: Sequence[int]
    template: str = ""


def tokenizer_fields(tokenizer: Tokenizer, vocab_size: int, ends: TextEnds) -> dict[str, Any]:
    """Return the fields of a tokenizer for a model with so many tokens.

    Raises UserError for a tokenizer of a kind that llama.cpp would read otherwise.
    """
    parsed = json.loads(tokenizer.definition)
    merges = [m if isinstance(m, str) else " ".join(m) for m in parsed["model"].get("merges") or []]
    names, types = [], []
    added = {token["id"] for token in parsed.get("added_tokens") or []}
    for id in range(vocab_size):
        name = tokenizer.id_to_token(id)
        names.append(f"[PAD{id}]" if name is None else name)
        is_word = id in added and id not in tokenizer.special_ids
        kind = CONTROL if id in tokenizer.special_ids else USER_DEFINED if is_word else NORMAL
        types.append(UNUSED if name is None else kind)
    fields: dict[str, Any] = {
        "model": "gpt2",
        "pre": splitter_name(tokenizer),
        "tokens": names,
        "token_type": types,
        "merges": merges or [NO_MERGE],
        "bos_token_id": ends.start_id,
        **_adds(tokenizer),
    }
    for role, id in zip(ENDS, ends.end_ids, strict=False):
        fields[f"{role}_token_id"] = id
    if tokenizer.pad_id is not None:
        fields["padding_token_id"] = tokenizer.pad_id
    return fields


def splitter_name(tokenizer: Tokenizer) -> str:
    """Return llama.cpp's name of how a tokenizer cuts text into words. Raises UserError where it
    has none."""
    parsed = json.loads(tokenizer.definition)
    model, splitting = parsed["model"], parsed.get("pre_tokenizer")
    if model.get("type") != "BPE" or not tokenizer.is_byte_level:
        raise _refused(tokenizer, f"is a {model.get('type', 'unknown')} tokenizer without bytes")
    for option in BPE_OPTIONS:
        if option != "ignore_merges" and model.get(option):
            raise _refused(tokenizer, f"has {option}")
    if (normalizer := parsed.get("normalizer")) not in (None, {"type": "NFC"}):
        raise _refused(tokenizer, f"has the normalizer {normalizer.get('type')}")
    whole_words = bool(model.get("ignore_merges"))
    parts = _parts(splitting)
    if not model.get("merges") and parts == _parts(BYTES):
        return "qwen2"  # how bytes are cut into words makes no difference
    for name in NAMES:
        known = SPLITTERS[name]
        if parts == _parts(known.definition) and whole_words == known.whole_words:
            return name
    raise _refused(tokenizer, "cuts text into words by a pattern of its own")


def normalizes(tokenizer: Tokenizer) -> bool:
    """Whether a tokenizer composes characters (NFC) before it cuts them, which llama.cpp does
    not."""
    return json.loads(tokenizer.definition).get("normalizer") is not None


def _refused(tokenizer: Tokenizer, what: str) -> UserError:
    return UserError(
        f"the tokenizer {what}: llama.cpp has no name for it and would give other ids",
        where=tokenizer.where,
        mend="train with --tokenizer bpe or bytes, which it reads as they are",
    )


def _parts(splitting: dict[str, Any] | None) -> list[dict[str, Any]]:
    """Return the steps of a pre-tokenizer, without what makes no difference to the ids."""
    if splitting is None:
        return []
    steps = splitting.get("pretokenizers") if splitting["type"] == "Sequence" else [splitting]
    return [{k: v for k, v in step.items() if k not in IRRELEVANT} for step in steps or []]


def _adds(tokenizer: Tokenizer) -> dict[str, bool]:
    """Return whether a text gets a BOS and an EOS by itself."""
    frame = tokenizer.frame()
    bos, eos = tokenizer.bos_id, tokenizer.role_id("eos_token")
    if frame.before not in ([], [bos]) or frame.after not in ([], [eos]):
        raise _refused(tokenizer, "puts other tokens around a text than BOS and EOS")
    return {"add_bos_token": bool(frame.before), "add_eos_token": bool(frame.after)}
