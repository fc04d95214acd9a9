"""How tags name entities, told by all tags of a data set together; or that they name none, as parts
of speech do."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from nextword.errors import UserError
from nextword.evaluation.entities import OUTSIDE, entities_of, iob2

OUTSIDES = (OUTSIDE, "o", "0", "_")
PREFIXES = "BIESLUM"  # of tags in IOB1, IOB2, BIOES, BILOU and BMES
RARE, MANY = 0.1, 8  # of the words; kinds of tags: there words outside of entities are more
FEWEST_TAGGED = 10  # words, from which on tags that are nearly all different are none
ONLY_KIND = "entity"  # where tags have no kind: B, I and O
PARTS_OF_SPEECH = frozenset(  # universal ones, and some of Penn's English and Chinese treebanks
    [
        *("ADJ", "ADP", "ADV", "AUX", "CCONJ", "CONJ", "DET", "INTJ", "NOUN", "NUM", "PART"),
        *("PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "NN", "NNS", "NNP", "VB", "VBD"),
        *("VBG", "VBN", "VBP", "VBZ", "JJ", "RB", "IN", "DT", "CC", "CD", "PRP", "TO", "MD"),
        *("NR", "NT", "VV", "VA", "VC", "AD", "PU", "DEC", "DEG", "LC", "PN", "BA"),
    ]
)
_PREFIXED = re.compile(rf"([{PREFIXES}])[-_:](.+)", re.I | re.S)
_SUFFIXED = re.compile(rf"(.+)[-_:]([{PREFIXES}])", re.S)

Kind = Literal["prefixes", "suffixes", "bare prefixes", "runs", "plain"]


@dataclass(frozen=True)
class TagScheme:
    """What tags are: `prefixes` say where entities of a kind begin (B-PER), or `suffixes` (PER-B),
    or prefixes of the only kind (B); of `runs` of one tag (PER) each is an entity; or they are
    `plain` tags of single words."""

    kind: Kind = "prefixes"
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def is_plain(self) -> bool:
        return self.kind == "plain"

    def read(self, tags: Sequence[Any], place: str) -> list[str]:
        """Return tags in IOB2, or plain ones as they are. Raises UserError for a tag that does not
        fit the others."""
        read = [self._read(tag, number, place) for number, tag in enumerate(tags, start=1)]
        return read if self.is_plain else iob2(entities_of(read), len(read))

    def _read(self, tag: Any, number: int, place: str) -> str:
        if isinstance(tag, str) and (name := tag.strip()):
            if self.is_plain:
                return name
            if name in OUTSIDES:
                return OUTSIDE
            if self.kind == "runs":
                return f"I-{name}"
            if self.kind == "bare prefixes":
                return f"{name}-{ONLY_KIND}"
            if self.kind == "suffixes" and (match := _SUFFIXED.fullmatch(name)):
                return f"{match[2]}-{match[1]}"
            if match := _PREFIXED.fullmatch(name):
                return f"{match[1].upper()}-{match[2]}"
        elif isinstance(tag, int | float):
            raise _numbers(f"tag {tag!r} of word {number}", place)
        raise UserError(
            f"tag {tag!r} of word {number} is none of O, B-… and I-…",
            where=place,
            mend="write tags in IOB1, IOB2 or BIOES, such as B-PER; their column is --label-column",
        )


def find_scheme(
    sentences: Iterable[tuple[Sequence[Any], str]], classes: Sequence[str] = ()
) -> TagScheme:
    """Return what the tags of sentences (each with its place) are; `classes` are those of a model
    that is known already. Raises UserError for numbers, which do not say what they stand for."""
    counts: Counter[str] = Counter()
    place = ""
    for tags, where in sentences:
        counts.update(tag.strip() for tag in tags if isinstance(tag, str))
        place = place or where
    if classes and are_plain(classes):
        return TagScheme("plain")
    marked = [name for name in counts if name and name not in OUTSIDES]
    outside = sum(counts[name] for name in OUTSIDES)
    is_one_of_many = outside < RARE * counts.total() and len(marked) > MANY  # "o" may be a tag
    if marked and all(name.isdigit() for name in marked):
        raise _numbers(f"tag {marked[0]!r}", place)
    words = sum(counts[name] for name in marked)
    kind = _kind(marked, bool(classes) or (outside > 0 and not is_one_of_many))
    scheme = TagScheme(kind)
    if kind != "plain":
        for name in OUTSIDES[1:]:
            if counts[name]:
                scheme.notes[f"tags {name!r}, read as O"] = counts[name]
    if kind in ("runs", "plain") and not classes and len(marked) > max(words / 2, FEWEST_TAGGED):
        raise UserError(
            f"{len(marked):,} different ones of {words:,} words are hardly tags: {marked[0]!r}",
            where=place,
            mend="give a word and its tag in each line, or name another --label-column",
        )
    if kind == "runs":
        scheme.notes["words with tags without B- and I-, of which each run is one entity"] = words
    elif kind == "bare prefixes":
        scheme.notes[f"words with tags without a kind, which is called {ONLY_KIND!r}"] = words
    elif kind == "suffixes":
        scheme.notes[f"words with tags like {marked[0]}, read as B-… and I-…"] = words
    elif kind == "prefixes" and (other := [n for n in marked if n[1:2] in ("_", ":")]):
        what = f"words with tags like {other[0]}, read as {other[0][0].upper()}-{other[0][2:]}"
        scheme.notes[what] = sum(counts[name] for name in other)
    return scheme


def are_plain(tags: Iterable[str]) -> bool:
    """Return whether the tags of a model are those of single words, and name no entities."""
    return not any(tag[1:2] == "-" and tag[0] in PREFIXES for tag in tags)


def _kind(marked: Sequence[str], has_outside: bool) -> Kind:
    """Return what tags other than O are, of data that has an O or not."""
    dashed = [name for name in marked if name[0] in PREFIXES and name[1:2] == "-" and name[2:]]
    begun = [name for name in marked if name[:2] in ("B_", "I_") and name[2:]]
    if dashed or begun or all(map(_PREFIXED.fullmatch, marked)):
        return "prefixes"
    ends = [name[-1] for name in marked if _SUFFIXED.fullmatch(name)]
    if len(ends) == len(marked) and {*ends} & {"B", "S", "U"}:
        return "suffixes"
    if not has_outside or _are_parts_of_speech(marked):
        return "plain"
    return "bare prefixes" if set(marked) <= set(PREFIXES) else "runs"


def _are_parts_of_speech(names: Sequence[str]) -> bool:
    has_marks = any(not any(map(str.isalnum, name)) for name in names)
    return has_marks or len(PARTS_OF_SPEECH & set(names)) > 1


def _numbers(what: str, place: str) -> UserError:
    return UserError(
        f"{what} is a number, which does not say what it stands for",
        where=place,
        mend="write the names of the tags, such as O, B-PER and I-PER",
    )
