"""What a tokenizer loses of the text it encodes: characters that it does not know, and those that
it reads as others, such as capitals."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nextword.errors import UserError
from nextword.terminal import say, warn

if TYPE_CHECKING:
    from nextword.tokens.tokenizer import Tokenizer

WORTH_A_WARNING = 0.001  # of all tokens
TOO_MUCH = 0.2  # of all tokens: a model of such text learns nothing of use
_NAMED = 10  # characters that are named
_COUNTED = 1000  # different ones that are counted


@dataclass
class Losses:
    """Counts of tokens of text, of those unknown to the tokenizer, and of what these stand for."""

    tokens: int = 0
    unknown: int = 0
    characters: Counter[str] = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Return the share of tokens that are unknown."""
        return self.unknown / self.tokens if self.tokens else 0.0

    def add(self, other: Losses) -> None:
        """Add other counts."""
        self.tokens += other.tokens
        self.unknown += other.unknown
        self.lose(other.characters)

    def lose(self, characters: Mapping[str, int]) -> None:
        """Count characters that were lost, up to so many different ones."""
        for character, count in characters.items():
            if character in self.characters or len(self.characters) < _COUNTED:
                self.characters[character] += count

    def to_json(self) -> dict[str, Any]:
        """Return the counts, the share, and the commonest characters lost, as JSON holds them."""
        common = dict(
            sorted(self.characters.items(), key=lambda item: (-item[1], item[0]))[:_NAMED]
        )
        return {
            "tokens": self.tokens,
            "unknown": self.unknown,
            "share": self.share,
            "characters": common,
        }

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> Losses:
        """Return what `to_json` was given, but for rare characters."""
        return cls(saved["tokens"], saved["unknown"], Counter(saved["characters"]))

    def __str__(self) -> str:
        named = " ".join(self.to_json()["characters"])
        more = " …" if len(self.characters) > _NAMED else ""
        of = f" ({self.unknown:,} of {self.tokens:,}); it does not know {named}{more}"
        return f"{self.share:.2%} of the text's tokens are unknown to the tokenizer{of}"


def warn_of(losses: Losses) -> None:
    """Warn where so much text is unknown to the tokenizer that results are not what they seem."""
    if losses.share > WORTH_A_WARNING:
        warn(f"{losses}: a model can neither read nor write these")


def check(losses: Losses, where: object = None, mend: str = "") -> None:
    """Warn as `warn_of` does; raise UserError where too much is unknown to learn from."""
    if losses.share > TOO_MUCH:
        raise UserError(
            f"{losses}, too much to learn from (over {TOO_MUCH:.0%})",
            where=None if where is None else str(where),
            mend=mend
            or "take a model whose tokenizer knows this language, or train one of your own",
        )
    warn_of(losses)


def say_what_is_folded(tokenizer: Tokenizer) -> None:
    """Say what a tokenizer reads as something else wherever it stands in a text."""
    if folded := folding(tokenizer):
        say(f"the tokenizer {folded}: what a model reads and writes with it has none")


def folding(tokenizer: Tokenizer) -> str:
    """Return what a tokenizer does to capitals and accents before it encodes; "" for nothing."""
    capital, accented = tokenizer.normalize("B"), tokenizer.normalize("é")
    lower = capital.strip("▁ ") == "b"
    bare = unicodedata.normalize("NFC", accented).strip("▁ ") == "e"
    if lower and bare:
        return "turns capitals into small letters and drops accents"
    return "turns capitals into small letters" if lower else "drops accents" if bare else ""
