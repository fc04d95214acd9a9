"""A GGUF file's tokenizer as a tokenizer.json: byte-level BPE, and SentencePiece's BPE of Llama 2.

How byte-level BPE cuts text into words is no part of the file, which only names it: the names that
are known here are those of llama.cpp whose patterns equal the ones in a tokenizer.json.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from nextword.errors import UserError
from nextword.hub.gguf.fields import Fields
from nextword.tokens.fast_encoders import BPE_OPTIONS, LLAMA3_PATTERN, QWEN2_PATTERN, isolate

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)  # types of tokens
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
GPT2_WORDS = BYTES | {"use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}
SPACE = "▁"
ROLES = {"bos": "bos", "eos": "eos", "unk": "unknown", "pad": "padding"}
ENDS = ("eos", "eot", "eom")  # of a text, of a turn, of a message


def _split(pattern: str) -> list[dict[str, Any]]:
    return [isolate(pattern), BYTES]


@dataclass(frozen=True)
class WordSplitter:
    """How text is cut into words: a tokenizer.json's `parts`. With `whole_words` a word that is a
    token is taken as it is, whatever the merges make of it; with `begins` texts have a BOS where
    the file does not say."""

    parts: list[dict[str, Any]]
    whole_words: bool = False
    begins: bool = False

    @property
    def definition(self) -> dict[str, Any]:
        if len(self.parts) == 1:
            return self.parts[0]
        return {"type": "Sequence", "pretokenizers": self.parts}


GPT2 = WordSplitter([GPT2_WORDS])
SMOLLM = WordSplitter([DIGITS, GPT2_WORDS])
LLAMA3 = WordSplitter(_split(LLAMA3_PATTERN), whole_words=True, begins=True)
QWEN2 = WordSplitter(_split(QWEN2_PATTERN))
SPLITTERS: dict[str, WordSplitter] = {
    **dict.fromkeys(("gpt-2", "phi-2", "olmo", "mpt"), GPT2),
    **dict.fromkeys(("smollm", "starcoder", "refact", "command-r", "codeshell"), SMOLLM),
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3"), LLAMA3),
    "smaug-bpe": WordSplitter(LLAMA3.parts),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez", "hunyuan"), QWEN2),
    "tekken": WordSplitter(_split(TEKKEN_PATTERN), whole_words=True, begins=True),
}


def read_tokenizer(fields: Fields) -> tuple[str, dict[str, Any]]:
    """Return a file's tokenizer: the text of its tokenizer.json, and its tokenizer_config.json.

    Raises UserError for a tokenizer of a kind that is not supported.
    """
    kind = fields.get("tokenizer.ggml.model", str)
    names, types = _read_tokens(fields)
    if kind == "gpt2":
        splitter = _splitter(fields)
        parts = _byte_level(fields, splitter, names, types)
        adds = splitter.begins
    elif kind == "llama":
        parts, adds = _sentencepiece(fields, names, types), True
    else:
        raise UserError(
            f"has a tokenizer of the kind {kind!r}, which is not supported",
            where=fields.where,
            mend="known are gpt2 (byte-level BPE) and llama (SentencePiece BPE)",
        )
    roles = _read_roles(fields, names)
    definition = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {"id": id, "content": name, "special": types[id] == CONTROL}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for id, name in names.items()
            if types[id] in (CONTROL, USER_DEFINED)
        ],
        "post_processor": _template(fields, roles, adds),
        **parts,
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **{f"{role}_token": names[id] for role, id in roles.items()},
        "clean_up_tokenization_spaces": False,
        "model_max_length": 10**30,
    }
    if template := fields.get("tokenizer.chat_template", str, ""):
        config["chat_template"] = template
    return json.dumps(definition, ensure_ascii=False), config


def read_special_ids(fields: Fields) -> dict[str, Any]:
    """Return what generation_config.json says of a model: its BOS, its padding token, and the
    tokens that end a text or a turn."""
    ids: dict[str, Any] = {}
    for role in ("bos", "pad"):
        if (key := f"tokenizer.ggml.{ROLES[role]}_token_id") in fields.values:
            ids[f"{role}_token_id"] = fields.get(key, int)
    keys = [f"tokenizer.ggml.{end}_token_id" for end in ENDS]
    ends = list(dict.fromkeys(fields.get(key, int) for key in keys if key in fields.values))
    if ends:
        ids["eos_token_id"] = ends[0] if len(ends) == 1 else ends
    return ids


def _read_tokens(fields: Fields) -> tuple[dict[int, str], list[int]]:
    """Return the names of tokens by id, without those of unused ids, and the type of each id."""
    texts = fields.texts("tokenizer.ggml.tokens")
    types = fields.numbers("tokenizer.ggml.token_type") or [NORMAL] * len(texts)
    if not texts or len(types) != len(texts):
        raise UserError(f"has {len(texts)} tokens of {len(types)} types", where=fields.where)
    names = {id: name for id, name in enumerate(texts) if types[id] != UNUSED}
    if len(set(names.values())) < len(names):
        raise UserError("has two tokens of one name", where=fields.where)
    return names, types


def _splitter(fields: Fields) -> WordSplitter:
    name = fields.get("tokenizer.ggml.pre", str, "")
    if not name and fields.values.get("general.architecture") == "gpt2":
        name = "gpt-2"
    if name not in SPLITTERS:
        what = f"cuts text into words as {name!r} does" if name else "does not say how it cuts text"
        raise UserError(
            f"{what}, which is not supported",
            where=fields.where,
            mend="known are " + ", ".join(SPLITTERS),
        )
    return SPLITTERS[name]


def _byte_level(
    fields: Fields, splitter: WordSplitter, names: dict[int, str], types: list[int]
) -> dict[str, Any]:
    merges = [merge.split(" ") for merge in fields.texts("tokenizer.ggml.merges")]
    known = set(names.values())
    usable = [m for m in merges if len(m) == 2 and {*m, "".join(m)} <= known]
    return {
        "normalizer": None,
        "pre_tokenizer": splitter.definition,
        "decoder": BYTES,
        "model": {
            "type": "BPE",
            **BPE_OPTIONS,
            "ignore_merges": splitter.whole_words,
            "vocab": {name: id for id, name in names.items()},
            "merges": usable,
        },
    }


def _sentencepiece(fields: Fields, names: dict[int, str], types: list[int]) -> dict[str, Any]:
    """Return the parts of a tokenizer.json for SentencePiece's BPE, as transformers makes them of
    Llama 2: pieces are merged in the order of their scores."""
    scores = fields.numbers("tokenizer.ggml.scores")
    if len(scores) != len(types):
        raise UserError(f"has {len(types)} tokens but {len(scores)} scores", where=fields.where)
    prefixed = fields.get("tokenizer.ggml.add_space_prefix", bool, True)
    unknown = fields.get("tokenizer.ggml.unknown_token_id", int, 0)
    ids = {name: id for id, name in names.items() if types[id] in (NORMAL, USER_DEFINED)}
    to_mark = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    to_space = {"type": "Replace", "pattern": {"String": SPACE}, "content": " "}
    before = [{"type": "Prepend", "prepend": SPACE}] if prefixed else []
    after = [{"type": "Strip", "content": " ", "start": 1, "stop": 0}] if prefixed else []
    decoders = [to_space, {"type": "ByteFallback"}, {"type": "Fuse"}, *after]
    return {
        "normalizer": {"type": "Sequence", "normalizers": [*before, to_mark]},
        "pre_tokenizer": None,
        "decoder": {"type": "Sequence", "decoders": decoders},
        "model": {
            "type": "BPE",
            **BPE_OPTIONS,
            "unk_token": names.get(unknown),
            "fuse_unk": True,
            "byte_fallback": True,
            "vocab": {name: id for id, name in names.items()},
            "merges": _merges(ids, scores),
        },
    }


def _merges(ids: dict[str, int], scores: list[float]) -> list[list[str]]:
    """Return the pairs that make each piece, of which the best piece comes first."""
    pairs = [
        (-scores[id], ids[name[:cut]], ids[name[cut:]], [name[:cut], name[cut:]])
        for name, id in ids.items()
        for cut in range(1, len(name))
        if name[:cut] in ids and name[cut:] in ids
    ]
    return [pair for *_, pair in sorted(pairs, key=lambda entry: entry[:3])]


def _read_roles(fields: Fields, names: dict[int, str]) -> dict[str, int]:
    roles = {}
    for role, theirs in ROLES.items():
        key = f"tokenizer.ggml.{theirs}_token_id"
        if key in fields.values:
            id = fields.get(key, int)
            if id not in names:
                raise UserError(f"{key} = {id} is no token", where=fields.where)
            roles[role] = id
    return roles


def _template(fields: Fields, roles: dict[str, int], begins: bool) -> dict[str, Any] | None:
    """Return the post-processor that adds BOS and EOS where the file, or its kind, says so."""
    names = fields.texts("tokenizer.ggml.tokens")
    adds = {
        "bos": fields.get("tokenizer.ggml.add_bos_token", bool, begins),
        "eos": fields.get("tokenizer.ggml.add_eos_token", bool, False),
    }
    before, after = (
        [roles[role]] if adds[role] and role in roles else [] for role in ("bos", "eos")
    )
    if not before and not after:
        return None

    def special(ids: list[int], kind: int) -> list[dict[str, Any]]:
        return [{"SpecialToken": {"id": names[id], "type_id": kind}} for id in ids]

    first, second = ({"Sequence": {"id": part, "type_id": n}} for n, part in enumerate("AB"))
    single = [*special(before, 0), first, *special(after, 0)]
    pair = [*single, *special(before, 1), second, *special(after, 1)]
    used = {names[id]: id for id in (*before, *after)}
    return {
        "type": "TemplateProcessing",
        "single": single,
        "pair": pair,
        "special_tokens": {n: {"id": n, "ids": [id], "tokens": [n]} for n, id in used.items()},
    }
