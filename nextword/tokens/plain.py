"""Definitions of tokenizers (`tokenizer.json`) in which no text can become a control token."""

from __future__ import annotations

import copy
import json
from typing import Any

UNTYPABLE = "\ufdd0"  # a noncharacter, in the names that hide control tokens from the model


def controls(definition: dict[str, Any]) -> dict[int, str]:
    """Ids and names of the tokens that steer a model: special ones and markup such as <think>.

    Added words ("covid") and runs of spaces are text.
    """
    return {
        token["id"]: token["content"]
        for token in definition.get("added_tokens") or []
        if token.get("special") or _is_markup(token["content"])
    }


def _is_markup(name: str) -> bool:
    return len(name) > 2 and (name[0], name[-1]) in {("<", ">"), ("[", "]")}


def without_controls(definition: dict[str, Any], kept: str | None = None) -> dict[str, Any]:
    """The same tokenizer blind to its control tokens but the one `kept`: their names are encoded
    as characters.

    They are taken from the list searched for in text, and renamed in the model's vocabulary,
    where a Unigram or whole-word model would find them too. Nor does it add, cut or pad.
    """
    named = {id: name for id, name in controls(definition).items() if name != kept}
    hidden = {name: f"{UNTYPABLE}{id}{UNTYPABLE}" for id, name in named.items()}
    plain = copy.copy(definition)
    plain["added_tokens"] = [
        token for token in definition.get("added_tokens") or [] if token["content"] not in hidden
    ]
    plain["post_processor"] = plain["truncation"] = plain["padding"] = None
    model = plain["model"] = dict(definition["model"])
    vocabulary = model.get("vocab")
    if isinstance(vocabulary, dict):
        model["vocab"] = {hidden.get(name, name): id for name, id in vocabulary.items()}
    elif vocabulary:  # Unigram: [[name, score], ...]
        model["vocab"] = [[hidden.get(name, name), score] for name, score in vocabulary]
    if model.get("unk_token") in hidden and model["unk_token"] in (definition["model"]["vocab"]):
        model["unk_token"] = hidden[model["unk_token"]]
    return plain


def dumps(definition: dict[str, Any]) -> str:
    return json.dumps(definition, ensure_ascii=False)


def byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-ins for the 256 bytes: character to byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + number): byte for number, byte in enumerate(others)
    }
