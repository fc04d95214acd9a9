"""The vocabulary of a tokenizer: what its ids are called, stand for and are for.

A tokenizer is two files, as transformers writes them: tokenizer.json and tokenizer_config.json.
"""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError, nearest
from nextword.files import read_json, write_atomically
from nextword.tokens.control_tokens import END_OF_TEXT, control_tokens
from nextword.tokens.decoding import ByteStream, CharacterStream
from nextword.tokens.fast_encoders import byte_alphabet

if TYPE_CHECKING:
    import tokenizers

DEFINITION_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
KINDS = ("bpe", "bytes", "chars")  # of new tokenizers, whose names may be mistyped
# What an encoder's files leave unnamed, because its class in transformers names it.
ENCODER_TOKENS = {
    "mask_token": ("[MASK]", "<mask>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
}


class Vocabulary:
    """`definition` is the text of a tokenizer.json, `config` what tokenizer_config.json says."""

    def __init__(
        self, definition: str, config: dict[str, Any] | None = None, *, where: Path | None = None
    ) -> None:
        """Raise UserError for what is not a definition; `where` is the file that it names."""
        self.definition = definition
        self.config = config or {}
        self.where = where
        try:
            parsed = self._parse()
            self._controls = control_tokens(parsed)
            # What words' later pieces begin with, where their first ones bear no mark.
            self.continuing_prefix = parsed["model"].get("continuing_subword_prefix")
            self._added = {token["id"] for token in parsed.get("added_tokens") or []}
            # Whether a token stands for the same bytes wherever it is.
            self.is_byte_level = (parsed.get("decoder") or {}).get("type") == "ByteLevel"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError("is not the definition of a tokenizer", where=where) from None
        self._control_ids = {name: id for id, name in self._controls.items()}

    @classmethod
    def load(cls, place: str | Path) -> Self:
        """Load a tokenizer from a directory, a tokenizer.json, or a name on the Hugging Face Hub.

        Raises UserError where there is none, or it is damaged.
        """
        file = find_definition(place)
        config_file = file.with_name(CONFIG_FILE)
        config = read_json(config_file) if config_file.is_file() else {}
        try:
            definition = file.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise UserError(f"is not UTF-8 at byte {error.start}", where=file) from None
        tokenizer = cls(definition, config if isinstance(config, dict) else {}, where=file)
        _ = tokenizer._whole  # a damaged definition is found here
        return tokenizer

    def save(self, directory: str | Path) -> None:
        """Write what `transformers.AutoTokenizer.from_pretrained` opens with identical ids."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        write_atomically(directory / DEFINITION_FILE, self.definition)
        config = json.dumps(self.config, indent=2, ensure_ascii=False)
        write_atomically(directory / CONFIG_FILE, config + "\n")

    def __reduce__(self) -> tuple[Any, ...]:
        return functools.partial(type(self), where=self.where), (self.definition, self.config)

    def _parse(self) -> dict[str, Any]:
        """Parse the definition anew: kept, it would take ten times the memory of its text."""
        parsed: dict[str, Any] = json.loads(self.definition)
        return parsed

    @functools.cached_property
    def _whole(self) -> tokenizers.Tokenizer:
        """With its control tokens: for decoding and templates. It cuts and pads nothing."""
        whole = build_backend(self.definition, self.where)
        whole.no_truncation()
        whole.no_padding()
        return whole

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Return the text of ids; bytes that are no character become U+FFFD."""
        ids = [int(id) for id in ids]
        return str(self._whole.decode(ids, skip_special_tokens=skip_special))

    def stream(self) -> CharacterStream | ByteStream:
        """Return what decodes ids as they are generated."""
        return ByteStream(self.token_bytes) if self.is_byte_level else CharacterStream(self.decode)

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._whole.get_vocab(with_added_tokens=True).values())

    @functools.cached_property
    def end_id(self) -> int:
        """The token that ends a document, and so stands before the next one.

        Raises UserError where there is none.
        """
        eos, sep = self._role_name("eos_token"), self._role_name("sep_token")
        for name in (sep, END_OF_TEXT, eos, "</s>", "[SEP]"):
            if name is not None and (id := self._whole.token_to_id(name)) is not None:
                return int(id)
        raise UserError(
            "the tokenizer has no token for the end of a document",
            where=self.where,
            mend='name one as "eos_token" in its tokenizer_config.json',
        )

    @property
    def bos_id(self) -> int | None:
        return self.role_id("bos_token")

    @property
    def pad_id(self) -> int | None:
        return self.role_id("pad_token")

    @property
    def mask_id(self) -> int | None:
        """The token that stands for words to be filled in; only an encoder's tokenizer has one."""
        return self.role_id("mask_token")

    def role_id(self, role: str) -> int | None:
        """Return the id of a role's token, such as "mask_token"; None where there is none."""
        name = self._role_name(role)
        return None if name is None else self._whole.token_to_id(name)

    def _role_name(self, role: str) -> str | None:
        token = self.config.get(role)
        name = token.get("content") if isinstance(token, dict) else token
        if name is None and self._is_encoders:
            usual = ENCODER_TOKENS.get(role, ())
            return next((name for name in usual if name in self._control_ids), None)
        return name

    @property
    def _is_encoders(self) -> bool:
        """Whether its control tokens are an encoder's. Gemma has a <mask> too, but texts that end
        with another token."""
        token = self.config.get("eos_token")
        end = token.get("content") if isinstance(token, dict) else token
        masks, ends = (ENCODER_TOKENS[role] for role in ("mask_token", "sep_token"))
        return end in (None, *ends) and any(mask in self._control_ids for mask in masks)

    def id_to_token(self, id: int) -> str | None:
        """Return what the vocabulary calls a token; None where there is no such id."""
        return self._whole.id_to_token(id) if id >= 0 else None

    def special_id(self, name: str) -> int | None:
        """Return the id of the control token of this name; None where there is none."""
        return self._control_ids.get(name)

    @functools.cached_property
    def unknown_id(self) -> int | None:
        """The token that stands for text that the vocabulary lacks; None where none ever does."""
        model = self._parse()["model"]
        if self.is_byte_level or model.get("byte_fallback"):
            return None
        id = model.get("unk_id")  # of Unigram; the others name it
        return self._whole.token_to_id(model.get("unk_token") or "") if id is None else int(id)

    @functools.cached_property
    def drops_unknown(self) -> bool:
        """Whether text that the vocabulary lacks is left out, without a token in its place."""
        is_whole = self.is_byte_level or self._parse()["model"].get("byte_fallback")
        return self.unknown_id is None and not is_whole

    @property
    def tells_bytes(self) -> bool:
        """Whether each token stands for bytes that are known: none is lost or added around it."""
        is_known = self.unknown_id is None and not self.drops_unknown
        return is_known and self.continuing_prefix is None

    @property
    def special_ids(self) -> frozenset[int]:
        """Control tokens, which no text is ever encoded to."""
        return frozenset(self._controls)

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.definition.encode()).hexdigest()

    def token_bytes(self, id: int) -> bytes | None:
        """Return the bytes a token stands for; None for control tokens and ids there are not."""
        return self._bytes[id] if 0 <= id < len(self._bytes) else None

    def bytes_per_id(self) -> NDArray[np.int64]:
        """Return the length in bytes of each token's text, [vocabulary]; 0 for control tokens."""
        return np.array([len(value or b"") for value in self._bytes], np.int64)

    @functools.cached_property
    def _bytes(self) -> list[bytes | None]:
        alphabet = byte_alphabet() if self.is_byte_level else None
        values: list[bytes | None] = [None] * self.vocab_size
        for name, id in self._whole.get_vocab(with_added_tokens=True).items():
            if id in self._controls:
                continue
            if id in self._added:
                values[id] = name.encode()
            elif alphabet is not None:
                values[id] = bytes(alphabet[c] for c in name if c in alphabet)
            elif len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
                values[id] = bytes.fromhex(name[3:5])
            else:
                values[id] = name.replace("▁", " ").encode()
        return values


def build_backend(definition: str, where: Path | None) -> tokenizers.Tokenizer:
    """Build the tokenizer of a definition. Raises UserError where that is damaged."""
    import tokenizers

    try:
        return tokenizers.Tokenizer.from_str(definition)
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:  # a panic of Rust is no Exception
        what = f"is not a tokenizer that can be used ({first_line(error)})"
        raise UserError(what, where=where) from None


def first_line(error: BaseException) -> str:
    """Return what an error says, on one short line."""
    return str(error).splitlines()[0][:200] if str(error) else type(error).__name__


def find_definition(place: str | Path) -> Path:
    """Return the tokenizer.json meant by a file, a directory (of a tokenizer, model, store or run)
    or a name on the Hub. Raises UserError where there is none."""
    path = Path(place).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for folder in ("", "tokenizer", "model"):
            if (path / folder / DEFINITION_FILE).is_file():
                return path / folder / DEFINITION_FILE
        if (path / "vocab.txt").is_file():
            raise UserError(
                f"has a vocab.txt, but no {DEFINITION_FILE}",
                where=path,
                mend="make it: AutoTokenizer.from_pretrained(PATH).save_pretrained(PATH) in Python",
            )
        raise UserError(f"has no {DEFINITION_FILE}", where=path)
    name = str(place)
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or path.suffix == ".json":
        raise UserError("no such file or directory", where=place)
    if difflib.get_close_matches(name.lower()[:100], KINDS):
        raise UserError(f"no tokenizer {name!r}", mend=nearest(name.lower(), KINDS))
    from huggingface_hub import errors, snapshot_download

    try:
        folder = snapshot_download(name, allow_patterns=[DEFINITION_FILE, CONFIG_FILE])
    except Exception as error:
        absent = isinstance(error, errors.RepositoryNotFoundError | errors.HFValidationError)
        why = "the Hub has none" if absent else "the Hub cannot be reached"
        raise UserError(
            f"no tokenizer {name!r} is here, and {why}",
            mend="name bpe, bytes, chars, a directory, a tokenizer.json or a Hub name",
        ) from None
    if not (Path(folder) / DEFINITION_FILE).is_file():
        raise UserError(f"{name} has no {DEFINITION_FILE} on the Hub")
    return Path(folder) / DEFINITION_FILE
