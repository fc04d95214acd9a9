"""New tokenizers: byte-level BPE trained on a person's text, plain bytes, or single characters."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Inner

from nextword.errors import UserError
from nextword.tokens.tokenizer import END, QWEN2_PATTERN, Tokenizer

PAD = "<|pad|>"
SPECIALS = [END, "<|im_start|>", "<|im_end|>", PAD]
LARGEST_VOCABULARY = 65_536  # the most that 16 bits hold
SMALLEST_VOCABULARY = 512
MOST_CHARACTERS = 50_000  # in a vocabulary of single characters


def choose_vocab_size(characters: int, distinct: int = 0) -> int:
    """A vocabulary for a corpus of so many characters, `distinct` of them different.

    It grows with the root of the corpus (Heaps' law), so that each token is seen often enough to be
    learnt; scripts of many characters, such as Chinese, need room for those first.
    """
    size = 2 ** round(math.log2(1.7 * math.sqrt(max(characters, 1))))
    room = 256 + len(SPECIALS) + int(1.25 * distinct)
    while size < room:
        size *= 2
    return min(max(size, SMALLEST_VOCABULARY), LARGEST_VOCABULARY)


def train_bpe(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """Byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) with Qwen2's pre-tokenizer.

    Every byte is in the vocabulary, so any text has ids; digits are single tokens.
    """
    inner = _byte_level()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
        max_token_length=64,
    )
    trainer.vocab_size = vocab_size - len(SPECIALS)
    inner.train_from_iterator(_passages(texts), trainer)
    return _with_specials(inner)


def bytes_tokenizer() -> Tokenizer:
    """One token a byte; id and byte are not the same number, but every text has ids."""
    inner = _byte_level()
    inner.model = models.BPE(
        vocab={c: i for i, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, merges=[]
    )
    return _with_specials(inner)


def characters(texts: Iterable[str]) -> Tokenizer:
    """One token for each character that occurs in the texts; no other text can be encoded."""
    alphabet: set[str] = set()
    for text in texts:
        alphabet.update(text)
    if len(alphabet) > MOST_CHARACTERS:
        raise UserError(
            f"the text has {len(alphabet):,} different characters, too many for a token each",
            mend="--tokenizer bpe",
        )
    inner = Inner(models.WordLevel({c: i for i, c in enumerate(sorted(alphabet))}, unk_token=END))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    return _with_specials(inner, [END])


def _byte_level() -> Inner:
    inner = Inner(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(QWEN2_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    inner.decoder = decoders.ByteLevel()
    return inner


def _with_specials(inner: Inner, names: list[str] = SPECIALS) -> Tokenizer:
    inner.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in names])
    config = {"eos_token": END, "bos_token": END, "unk_token": None}
    if PAD in names:
        config["pad_token"] = PAD
    else:
        config["pad_token"] = END
    return Tokenizer(inner, config)


def _passages(texts: Iterable[str], length: int = 10_000) -> Iterator[str]:
    """Long texts cut up, so that counting words runs in parallel."""
    for text in texts:
        for start in range(0, len(text), length):
            yield text[start : start + length]
