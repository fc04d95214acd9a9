"""Labelled data whose records are inside others: questions of SQuAD's files, texts with entities as
spaCy's training data was, and the lines of two texts beside each other.

Each record comes as its values and its place.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from nextword.errors import UserError, naming
from nextword.text.document import ReadError, ReadStats, Source
from nextword.text.readers.plain import read_lines

Placed = tuple[Mapping[str, Any], str]


def is_text_with_entities(value: Any) -> bool:
    """Return whether a value is ["a text", {"entities": ...}] or {"cats": ...}, as in spaCy's
    training data."""
    kinds = [type(part) for part in value] if isinstance(value, list) else []
    return kinds == [str, dict] and bool({"entities", "cats"} & set(value[1]))


def texts_with_entities(value: Mapping[str, Any]) -> list[Any]:
    """Return the texts with entities that annotators for spaCy keep in one object."""
    pairs = value.get("annotations")
    pairs = [pair for pair in pairs if pair is not None] if isinstance(pairs, list) else []
    return pairs if all(map(is_text_with_entities, pairs)) else []


def text_with_entities(pair: list[Any], place: str) -> Placed:
    """Return the record that a text with entities is."""
    return {"text": pair[0], **pair[1]}, place


def squad_questions(articles: list[Any], path: str) -> Iterator[Placed]:
    """Yield the questions of a file in SQuAD's format (Rajpurkar et al. 2016)."""
    number = itertools.count(1)
    try:
        for article in articles:
            for paragraph in article["paragraphs"]:
                for asked in paragraph["qas"]:
                    place = f"{path}:question {next(number)}"
                    yield _question(article, paragraph, asked), place
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"is not in SQuAD's format after question {next(number) - 1} ({error} is missing)",
            where=path,
        ) from None


def _question(
    article: Mapping[str, Any], paragraph: Mapping[str, Any], asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a question with its context, each answer once, and all that stands beside them."""
    values = {f"data.{key}": value for key, value in article.items() if key != "paragraphs"}
    beside = {key: value for key, value in paragraph.items() if key not in ("context", "qas")}
    values |= {f"paragraphs.{key}": value for key, value in beside.items()}
    values |= asked
    values |= {"context": paragraph["context"], "question": asked["question"]}
    if "answers" not in asked:  # of a test set, whose answers are not known
        return values
    answers: dict[str, Mapping[str, Any]] = {}
    for answer in asked["answers"] or ():
        answers.setdefault(str(answer["text"]), answer)
    others = dict.fromkeys(key for answer in answers.values() for key in answer)
    values |= {
        f"answers.{key}": [answer.get(key) for answer in answers.values()]
        for key in others
        if key not in ("text", "answer_start")
    }
    starts = [answer.get("answer_start") for answer in answers.values()]
    return values | {"answers": list(answers), "starts": starts}


def pairs_of_lines(source: Source, target: Source, stats: ReadStats) -> Iterator[Placed]:
    """Yield the lines of two aligned texts. Raises UserError where one has fewer."""
    pairs = itertools.zip_longest(_lines(source, stats), _lines(target, stats))
    for number, (one, other) in enumerate(pairs, start=1):
        if one is None or other is None:
            shorter = source.path if one is None else target.path
            longer = target.path if one is None else source.path
            raise UserError(
                f"has {number - 1:,} lines, fewer than {longer}",
                where=shorter,
                mend="line n of one file must be the translation of line n of the other",
            )
        yield {"source": one, "target": other}, f"{source.path}:{number}"


def _lines(source: Source, stats: ReadStats) -> Iterator[str]:
    with naming(source.path):
        for _, line in read_lines(source, stats):
            if isinstance(line, ReadError):
                raise UserError(line.what, where=line.source, mend=line.mend)
            yield line.rstrip("\r\n")
