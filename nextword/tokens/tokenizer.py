"""Text to ids and back, with a Hugging Face `tokenizer.json` underneath.

What people wrote never becomes a control token: "<|endoftext|>" inside a text is encoded as the
characters it is made of. Control ids are put beside text by the code that needs them.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, write_json

END = "<|endoftext|>"
END_NAMES = (END, "</s>", "<|end_of_text|>", "<eos>", "[SEP]")
# The pre-tokenizer patterns for which gigatoken and tokenizers were compared on every code point
# of Unicode in the places where it matters, with no difference.
QWEN2_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTE_FALLBACK = re.compile(r"<0x([0-9A-F]{2})>")


class Tokenizer:
    """A tokenizer and the settings transformers keeps beside it."""

    def __init__(self, inner: tokenizers.Tokenizer, config: dict[str, Any] | None = None) -> None:
        self.inner = inner
        self.inner.encode_special_tokens = True
        self.inner.no_truncation()
        self.inner.no_padding()
        self.config = dict(config or {})
        self._specification = json.loads(inner.to_str())

    @classmethod
    def load(cls, place: str | Path) -> Tokenizer:
        """From a directory, a `tokenizer.json`, or a name on the Hub."""
        path = Path(place)
        if path.is_file():
            return cls._read(path, path.with_name("tokenizer_config.json"))
        for folder in (path, path / "model", path / "tokenizer"):
            if (folder / "tokenizer.json").is_file():
                return cls._read(folder / "tokenizer.json", folder / "tokenizer_config.json")
        if path.exists():
            return cls._convert(path)
        return cls.load(_download(str(place)))

    @classmethod
    def _read(cls, file: Path, config: Path) -> Tokenizer:
        try:
            inner = tokenizers.Tokenizer.from_file(str(file))
        except Exception as error:  # tokenizers raises plain Exceptions
            raise UserError(f"is not a tokenizer ({error})", where=file) from None
        settings = read_json(config) if config.is_file() else {}
        if not isinstance(settings, dict):
            raise UserError("expected a JSON object", where=config)
        return cls(inner, settings)

    @classmethod
    def _convert(cls, folder: Path) -> Tokenizer:
        """An older directory without tokenizer.json, by way of transformers."""
        if not any((folder / name).is_file() for name in ("vocab.json", "tokenizer.model")):
            raise UserError("holds no tokenizer.json", where=folder)
        import transformers

        try:
            loaded = transformers.AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
        except Exception as error:
            raise UserError(f"holds no tokenizer transformers can read ({error})", where=folder) from None
        names = {n: str(getattr(loaded, n)) for n in ("bos_token", "eos_token") if getattr(loaded, n)}
        return cls(loaded.backend_tokenizer, names)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, for AutoTokenizer to open."""
        folder.mkdir(parents=True, exist_ok=True)
        self.inner.save(str(folder / "tokenizer.json"))
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
        write_json(folder / "tokenizer_config.json", config | self.config)

    # Text to ids

    def encode(self, text: str, *, template: bool = False) -> list[int]:
        """Ids of a text. `template` adds the ids the tokenizer's own template puts around it."""
        if self._table is not None and not template:
            return [int(number) for number in self._look_up(text)]
        ids: list[int] = self.inner.encode(_storable(text), add_special_tokens=template).ids
        return ids

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """The ids of all texts one after the other, and how many each has."""
        if self._table is not None:
            parts = [self._look_up(text) for text in texts]
        elif self._fast is not None:
            array = self._fast.encode_batch([_storable(text) for text in texts]).layout
            offsets = np.asarray(array.offsets.data, np.int64)
            ids = np.asarray(array.content.data)[offsets[0] : offsets[-1]]
            return ids.astype(np.uint32, copy=False), np.diff(offsets)
        else:
            encodings = self.inner.encode_batch(
                [_storable(text) for text in texts], add_special_tokens=False
            )
            parts = [np.asarray(encoding.ids, np.uint32) for encoding in encodings]
        lengths = np.asarray([len(part) for part in parts], np.int64)
        return np.concatenate([np.empty(0, np.uint32), *parts]), lengths

    @cached_property
    def _fast(self) -> Any:
        """gigatoken, for the byte-level BPE tokenizers it was proven identical on; else None."""
        model, normalizer = self._specification["model"], self._specification["normalizer"]
        proven = (
            model["type"] == "BPE"
            and normalizer is None
            and not model.get("dropout")
            and not model.get("ignore_merges")
            and model["merges"]
            and self._specification["pre_tokenizer"] == _qwen2_pre_tokenizer()
        )
        if not proven:
            return None
        import gigatoken

        # Without added tokens it has no way to turn text into control ids.
        return gigatoken.Tokenizer.from_json(json.dumps(self._specification | {"added_tokens": []}))

    @cached_property
    def _table(self) -> NDArray[np.int64] | None:
        """Code point to id for a tokenizer of single characters, -1 where unknown; else None."""
        if self._specification["model"]["type"] != "WordLevel":
            return None
        vocabulary: dict[str, int] = self._specification["model"]["vocab"]
        table = np.full(0x110000, -1, np.int64)
        for token, number in vocabulary.items():
            if len(token) != 1:
                if token not in self._control_names:
                    return None
                continue
            table[ord(token)] = number
        return table

    def _look_up(self, text: str) -> NDArray[np.uint32]:
        assert self._table is not None
        ids = self._table[np.frombuffer(_storable(text).encode("utf-32-le"), np.uint32)]
        if len(ids) and ids.min() < 0:
            place = int(np.argmin(ids))
            raise UserError(
                f"character {text[place]!r} (at {place:,}) is not in this tokenizer's vocabulary",
                mend="take it out of the text, or train with --tokenizer bpe, which knows all text",
            )
        return ids.astype(np.uint32)

    # Ids to text

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        text: str = self.inner.decode([int(i) for i in ids], skip_special_tokens=skip_special)
        return text

    def stream(self) -> TextStream:
        """Decodes one id at a time and never gives out half a character."""
        return TextStream(self)

    # What it is made of

    @cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return max(self.inner.get_vocab(with_added_tokens=True).values()) + 1

    @cached_property
    def end_id(self) -> int:
        """The token that ends a document, and serves as the start of the next."""
        named = self._named("eos_token")
        if named is not None:
            return named
        for name in END_NAMES:
            number: int | None = self.inner.token_to_id(name)
            if number is not None:
                return number
        raise UserError(
            "the tokenizer has no token for the end of a document",
            mend='add "eos_token" to its tokenizer_config.json',
        )

    @cached_property
    def bos_id(self) -> int | None:
        return self._named("bos_token")

    @cached_property
    def special_ids(self) -> frozenset[int]:
        added = self.inner.get_added_tokens_decoder().items()
        return frozenset(number for number, token in added if token.special)

    @cached_property
    def _control_names(self) -> frozenset[str]:
        added = self.inner.get_added_tokens_decoder().values()
        return frozenset(token.content for token in added)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.inner.to_str().encode()).hexdigest()

    @cached_property
    def _byte_level(self) -> bool:
        return '"ByteLevel"' in json.dumps(self._specification["decoder"])

    def token_bytes(self, number: int) -> bytes | None:
        """The bytes a token stands for; None for control tokens and unknown ids."""
        token = self.inner.id_to_token(number)
        if token is None or number in self.special_ids:
            return None
        if self._byte_level:
            try:
                return bytes(_BYTES[character] for character in token)
            except KeyError:  # an added token, in plain text
                return str(token).encode()
        fallback = BYTE_FALLBACK.fullmatch(token)
        return bytes([int(fallback[1], 16)]) if fallback else token.replace("▁", " ").encode()

    @cached_property
    def bytes_per_id(self) -> NDArray[np.int64]:
        """How many bytes of text each id stands for, [vocab_size]; control tokens stand for none."""
        return np.asarray([len(self.token_bytes(i) or b"") for i in range(self.vocab_size)])

    def _named(self, role: str) -> int | None:
        value = self.config.get(role)
        name = value.get("content") if isinstance(value, dict) else value
        number: int | None = self.inner.token_to_id(name) if isinstance(name, str) else None
        return number


class TextStream:
    """Incremental decoding: `feed` an id, get the text that is certain so far."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._bytes = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._ids: list[int] = []
        self._given = 0

    def feed(self, number: int) -> str:
        if self._tokenizer._byte_level:
            return self._bytes.decode(self._tokenizer.token_bytes(number) or b"")
        self._ids.append(number)
        text = self._tokenizer.decode(self._ids)
        if text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        new, self._given = text[self._given :], len(text)
        return new

    def flush(self) -> str:
        """What is left; bytes that never became a character come out as U+FFFD."""
        if self._tokenizer._byte_level:
            return self._bytes.decode(b"", final=True)
        text = self._tokenizer.decode(self._ids)
        new, self._given = text[self._given :], len(text)
        return new


def _storable(text: str) -> str:
    """Lone surrogates cannot be written as UTF-8: refused rather than replaced."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UserError(
            f"character {error.start:,} of the text is half a surrogate pair (U+{ord(text[error.start]):04X})",
            mend="it is not valid Unicode; take it out",
        ) from None
    return text


def _qwen2_pre_tokenizer() -> dict[str, Any]:
    return {
        "type": "Sequence",
        "pretokenizers": [
            {
                "type": "Split",
                "pattern": {"Regex": QWEN2_PATTERN},
                "behavior": "Isolated",
                "invert": False,
            },
            {
                "type": "ByteLevel",
                "add_prefix_space": False,
                "trim_offsets": True,
                "use_regex": False,
            },
        ],
    }


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's printable stand-in for each byte (Radford et al. 2019)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + place): byte for place, byte in enumerate(others)}


_BYTES = _byte_alphabet()


def _download(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["tokenizer*.json", "vocab.json", "merges.txt"]))
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f"tokenizer {name!r} is neither here nor on the Hub ({reason})",
            mend="give a directory, a tokenizer.json, bpe, bytes or chars",
        ) from None
