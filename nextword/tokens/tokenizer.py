"""A tokenizer: text to ids and back, as Hugging Face's `tokenizers` gives them, but faster.

What a person writes never becomes a control token: "<|endoftext|>" in a text is encoded as the
characters it is made of. Control tokens are joined to text as ids.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from nextword.errors import UserError
from nextword.files import read_json, write_atomically
from nextword.tokens import fast
from nextword.tokens.plain import byte_alphabet, controls, dumps, without_controls
from nextword.tokens.stream import TextStream

if TYPE_CHECKING:
    import tokenizers

END = "<|endoftext|>"
DEFINITION, CONFIG = "tokenizer.json", "tokenizer_config.json"
# What an encoder's files leave unnamed, because its class in transformers names it.
ENCODERS_NAMES = {
    "mask_token": ("[MASK]", "<mask>"),
    "cls_token": ("[CLS]", "<s>"),
    "sep_token": ("[SEP]", "</s>"),
    "pad_token": ("[PAD]", "<pad>"),
}
_SHORT = 2000  # characters, below which the fast encoder is not worth building
Result = TypeVar("Result")


@dataclass(frozen=True)
class Frame:
    """What a tokenizer adds to texts by itself: `space` bytes before each; ids `before` the first,
    `between` two and `after` the last. The last one's tokens are of type `kind`."""

    space: int
    before: list[int]
    between: list[int]
    after: list[int]
    kind: int


class Tokenizer:
    """`definition` is the text of a tokenizer.json, `config` what tokenizer_config.json says."""

    def __init__(
        self, definition: str, config: dict[str, Any] | None = None, *, where: Path | None = None
    ) -> None:
        self.definition = definition
        self.config = config or {}
        self.where = where
        try:
            parsed = self._parse()
            self._controls = controls(parsed)
            # What words' later pieces begin with, where their first ones bear no mark.
            self.continuing_prefix = parsed["model"].get("continuing_subword_prefix")
            self._added = {token["id"] for token in parsed.get("added_tokens") or []}
            # Whether a token stands for the same bytes wherever it is.
            self.is_byte_level = (parsed.get("decoder") or {}).get("type") == "ByteLevel"
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError("is not the definition of a tokenizer", where=where) from None
        self._named = {name: id for id, name in self._controls.items()}

    @classmethod
    def load(cls, place: str | Path) -> Tokenizer:
        """From a directory, a tokenizer.json, or a name on the Hugging Face Hub."""
        file = _find(place)
        config_file = file.with_name(CONFIG)
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
        write_atomically(directory / DEFINITION, self.definition)
        config = json.dumps(self.config, indent=2, ensure_ascii=False)
        write_atomically(directory / CONFIG, config + "\n")

    def __getstate__(self) -> tuple[str, dict[str, Any], Path | None]:
        return self.definition, self.config, self.where

    def __setstate__(self, state: tuple[str, dict[str, Any], Path | None]) -> None:
        definition, config, where = state
        self.__init__(definition, config, where=where)  # type: ignore[misc]

    def _parse(self) -> dict[str, Any]:
        """Anew each time: kept, it would take ten times the memory of its text."""
        parsed: dict[str, Any] = json.loads(self.definition)
        return parsed

    @functools.cached_property
    def _whole(self) -> tokenizers.Tokenizer:
        """With its control tokens: for decoding and templates. It cuts and pads nothing unasked."""
        whole = _build(self.definition, self.where)
        whole.no_truncation()
        whole.no_padding()
        return whole

    @functools.cached_property
    def _plain(self) -> tokenizers.Tokenizer:
        """Without its control tokens: for encoding text."""
        return _build(dumps(without_controls(self._parse())), self.where)

    @functools.cached_property
    def _with_masks(self) -> tokenizers.Tokenizer:
        """With the mask token alone of its control tokens."""
        definition = without_controls(self._parse(), kept=self._special("mask_token"))
        return _build(dumps(definition), self.where)

    @functools.cached_property
    def _fast(self) -> fast.Encoder | None:
        plain = without_controls(self._parse())
        table = fast.single_bytes(plain) or fast.single_characters(plain)
        return table or fast.byte_pairs(plain, _build(dumps(plain), self.where))

    @functools.cached_property
    def _characters(self) -> frozenset[str] | None:
        """All that a tokenizer of characters can encode."""
        parsed = self._parse()
        if parsed["model"].get("type") != "WordLevel":
            return None
        if parsed.get("pre_tokenizer") != fast.EACH_CHARACTER:
            return None
        return frozenset(name for name in parsed["model"]["vocab"] if len(name) == 1)

    def encode(self, text: str, *, template: bool = False) -> list[int]:
        """Ids of a text, in which nothing is a control token.

        `template` adds what the tokenizer itself puts around a text (BOS, EOS), as
        transformers does. Raises UserError for text that is not Unicode, or holds a character
        that a tokenizer of characters has never seen.
        """
        if not template:
            return self._ids(text).tolist()
        self._check(text)
        encoding = self._plain.encode(text, add_special_tokens=False)
        return list(self._whole.post_process(encoding, add_special_tokens=True).ids)

    def encode_masked(self, text: str) -> list[int]:
        """Ids of a text in which the mask token's name is that token, with the template around it;
        no other name is a control token."""
        self._check(text.replace(self._special("mask_token") or "", ""))
        encoding = self._with_masks.encode(text, add_special_tokens=False)
        return list(self._whole.post_process(encoding, add_special_tokens=True).ids)

    def encode_texts(
        self, text: str, pair: str | None = None, limit: int | None = None
    ) -> tuple[list[int], list[int]]:
        """Ids and types of a text, or of a pair of them, with the template around them.

        As transformers gives them: above `limit` tokens the longer text is cut first.
        """
        texts = [text] if pair is None else [text, pair]
        for one in texts:
            self._check(one)
        encodings = [self._plain.encode(one, add_special_tokens=False) for one in texts]
        if limit is not None:
            room = limit - self._whole.num_special_tokens_to_add(pair is not None)
            lengths = [len(encoding) for encoding in encodings]
            for encoding, kept in zip(encodings, _shares(lengths, max(room, 0)), strict=True):
                encoding.truncate(kept)
        second = None if pair is None else encodings[1]
        whole = self._whole.post_process(encodings[0], second, add_special_tokens=True)
        return list(whole.ids), list(whole.type_ids) if self._typed else [0] * len(whole.ids)

    @property
    def _typed(self) -> bool:
        return "token_type_ids" in self.config.get("model_input_names", ["token_type_ids"])

    def frame(self, pair: bool = False) -> Frame:
        """What is added to a text, or to a pair of them."""
        inside = self._plain.encode(self._letter, add_special_tokens=False)
        second = inside if pair else None
        whole = self._whole.post_process(inside, second, add_special_tokens=True)
        ids, texts = list(whole.ids), list(whole.sequence_ids)
        first, last = texts.index(0), texts.index(int(pair))
        middle = first + len(inside)
        space = sum(len(self.token_bytes(id) or b"") for id in inside.ids)
        return Frame(
            space=max(space - len(self._letter.encode()), 0),  # Llama's older tokenizers have one
            before=ids[:first],
            between=ids[middle:last],
            after=ids[last + len(inside) :],
            kind=whole.type_ids[last] if self._typed else 0,
        )

    @functools.cached_property
    def _letter(self) -> str:
        """One that the tokenizer knows; one made of Chinese text may not know "a"."""

        def is_known(letter: str) -> bool:
            ids = self._plain.encode(letter, add_special_tokens=False).ids
            return b"".join(self.token_bytes(id) or b"" for id in ids).endswith(letter.encode())

        names = (name.strip("▁") for name in self._whole.get_vocab(with_added_tokens=False))
        letters = (name for name in names if len(name) == 1 and not name.isspace())
        return next(filter(is_known, itertools.chain("a", letters)), "a")

    def encode_with_offsets(self, text: str) -> tuple[list[int], NDArray[np.int64]]:
        """Ids of a text, as `encode` gives them, and the characters from and to that each of them
        stands for, [tokens, 2]; the parts of one character all stand for it."""
        self._check(text)
        encoding = self._plain.encode(text, add_special_tokens=False)
        return list(encoding.ids), np.array(encoding.offsets, np.int64).reshape(-1, 2)

    def encode_batch(self, texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """All ids one after another, uint32 [tokens], and the number of each text's, [texts]."""
        parts: list[NDArray[np.uint32] | None] = [None] * len(texts)
        slow = []
        for number, text in enumerate(texts):
            self._check(text)
            parts[number] = self._fast(text) if self._fast and text else None
            if parts[number] is None:
                slow.append(number)
        if slow:
            encodings = self._plain.encode_batch_fast(
                [texts[number] for number in slow], add_special_tokens=False
            )
            for number, encoding in zip(slow, encodings, strict=True):
                parts[number] = np.array(encoding.ids, np.uint32)
        lengths = np.array([len(part) for part in parts if part is not None], np.int64)
        return np.concatenate([np.empty(0, np.uint32), *parts]), lengths

    def _ids(self, text: str) -> NDArray[np.uint32]:
        self._check(text)
        ids = None
        if text and (len(text) > _SHORT or "_fast" in self.__dict__) and self._fast:
            ids = self._fast(text)
        if ids is None:
            ids = np.array(self._plain.encode(text, add_special_tokens=False).ids, np.uint32)
        return ids

    def _check(self, text: str) -> None:
        try:
            if not text.isascii():
                text.encode()
        except UnicodeEncodeError as error:
            surrogate = f"U+{ord(text[error.start]):04X}"
            raise UserError(
                f"the text holds a lone surrogate ({surrogate}) at character {error.start}"
            ) from None
        if self._characters is not None:
            unknown = sorted(set(text) - self._characters)
            if unknown:
                raise UserError(
                    f"the text holds {unknown[0]!r} (U+{ord(unknown[0]):04X}) at character "
                    f"{text.index(unknown[0])}, which this tokenizer of characters has never seen",
                    mend="leave it out, or train with --tokenizer bpe, which knows all characters",
                )

    def decode(self, ids: Iterable[int], skip_special: bool = True) -> str:
        """Text of ids; bytes that are no character become U+FFFD."""
        ids = [int(id) for id in ids]
        return str(self._whole.decode(ids, skip_special_tokens=skip_special))

    def stream(self) -> TextStream:
        return TextStream(self.decode, self.token_bytes if self.is_byte_level else None)

    @functools.cached_property
    def vocab_size(self) -> int:
        """One more than the largest id."""
        return 1 + max(self._whole.get_vocab(with_added_tokens=True).values())

    @functools.cached_property
    def end_id(self) -> int:
        """The token that ends a document, and so stands before the next one."""
        eos, sep = self._special("eos_token"), self._special("sep_token")
        for name in (sep, END, eos, "</s>", "[SEP]"):
            if name is not None and (id := self._whole.token_to_id(name)) is not None:
                return int(id)
        raise UserError(
            "the tokenizer has no token for the end of a document",
            where=self.where,
            mend='name one as "eos_token" in its tokenizer_config.json',
        )

    @functools.cached_property
    def bos_id(self) -> int | None:
        return self.id_of("bos_token")

    @functools.cached_property
    def pad_id(self) -> int | None:
        return self.id_of("pad_token")

    @functools.cached_property
    def mask_id(self) -> int | None:
        """The token that stands for words to be filled in; only an encoder's tokenizer has one."""
        return self.id_of("mask_token")

    def id_of(self, role: str) -> int | None:
        """The id of a role's token, such as "mask_token"; None where there is none."""
        name = self._special(role)
        return None if name is None else self._whole.token_to_id(name)

    def _special(self, role: str) -> str | None:
        named = self.config.get(role)
        name = named.get("content") if isinstance(named, dict) else named
        if name is None and any(mask in self._named for mask in ENCODERS_NAMES["mask_token"]):
            usual = ENCODERS_NAMES.get(role, ())
            return next((name for name in usual if name in self._named), None)
        return name

    def name_of(self, id: int) -> str | None:
        """What the vocabulary calls a token; None where there is no such id."""
        return self._whole.id_to_token(id) if id >= 0 else None

    def special_id(self, name: str) -> int | None:
        """The id of the control token of this name."""
        return self._named.get(name)

    @property
    def special_ids(self) -> frozenset[int]:
        """Control tokens, which no text is ever encoded to."""
        return frozenset(self._controls)

    @functools.cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.definition.encode()).hexdigest()

    def token_bytes(self, id: int) -> bytes | None:
        """The bytes a token stands for; None for control tokens and ids that do not exist."""
        return self._bytes[id] if 0 <= id < len(self._bytes) else None

    def bytes_per_id(self) -> NDArray[np.int64]:
        """The length in bytes of each token's text, [vocabulary]; 0 for control tokens."""
        return np.array([len(value or b"") for value in self._bytes], np.int64)

    @functools.cached_property
    def _bytes(self) -> list[bytes | None]:
        alphabet = byte_alphabet() if self.is_byte_level else None
        found: list[bytes | None] = [None] * self.vocab_size
        for name, id in self._whole.get_vocab(with_added_tokens=True).items():
            if id in self._controls:
                continue
            if id in self._added:
                found[id] = name.encode()
            elif alphabet is not None:
                found[id] = bytes(alphabet[c] for c in name if c in alphabet)
            elif len(name) == 6 and name.startswith("<0x") and name.endswith(">"):
                found[id] = bytes.fromhex(name[3:5])
            else:
                found[id] = name.replace("▁", " ").encode()
        return found


def _shares(lengths: list[int], room: int) -> list[int]:
    """How much of one or two texts is kept in a room: the longer one is cut first."""
    if len(lengths) == 1 or sum(lengths) <= room:
        return [min(length, room) for length in lengths]
    shorter = min(min(lengths), room // 2)
    shares = [shorter, room - shorter]
    return shares if lengths[0] <= lengths[1] else shares[::-1]


def _build(definition: str, where: Path | None) -> tokenizers.Tokenizer:
    import tokenizers

    return _rust(lambda: tokenizers.Tokenizer.from_str(definition), where)


def _rust(call: Callable[[], Result], where: Path | None) -> Result:
    """Run it; a panic, which is no Exception, is a UserError as well."""
    try:
        return call()
    except (KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(f"is not a tokenizer that can be used ({reason})", where=where) from None


def _find(place: str | Path) -> Path:
    """The tokenizer.json meant by a file, a directory (of a tokenizer, model, store or run) or a
    name on the Hub."""
    path = Path(place).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for folder in ("", "tokenizer", "model"):
            if (path / folder / DEFINITION).is_file():
                return path / folder / DEFINITION
        if (path / "vocab.txt").is_file():
            raise UserError(
                f"has a vocab.txt, but no {DEFINITION}",
                where=path,
                mend="make it: AutoTokenizer.from_pretrained(PATH).save_pretrained(PATH) in Python",
            )
        raise UserError(f"has no {DEFINITION}", where=path)
    name = str(place)
    if name.count("/") > 1 or name.startswith((".", "/", "~")) or path.suffix == ".json":
        raise UserError("no such file or directory", where=place)
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(name, allow_patterns=[DEFINITION, CONFIG])
    except Exception as error:
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise UserError(
            f"no tokenizer {name!r} here, and none could be had from the Hub ({reason})",
            mend="name bpe, bytes, chars, a directory, a tokenizer.json or a Hub name",
        ) from None
    if not (Path(folder) / DEFINITION).is_file():
        raise UserError(f"{name} has no {DEFINITION} on the Hub")
    return Path(folder) / DEFINITION
