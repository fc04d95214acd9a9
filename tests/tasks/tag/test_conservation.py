"""Nothing is lost or made up: each entity of a data set, sound or with one damage, is found where
it stands, or its record is refused."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.dataset import Dataset
from nextword.tasks.records import Record
from nextword.tasks.tag.data import TaggedText, joined, spans_of
from nextword.tasks.tag.task import Tag

SETTINGS = TaskSettings(task="tag")
NAMES = ("Ada", "Thorne", "赵明", "云岭", "Émile", "Harrow")
OTHERS = ("saw", "😀", "在", ",", "7", "\u3000", "and", "👩🏽")
KINDS = ("person", "place", "org")
Entities = list[tuple[int, int, str]]


class Sentence:
    """Words, of which some are entities, as programs would write them."""

    def __init__(self, chance: random.Random) -> None:
        self.words = ["So"]
        self.entities: Entities = []  # by words
        for _ in range(chance.randint(1, 6)):
            self.words += chance.choices(OTHERS, k=chance.randint(1, 2))
            if chance.random() < 0.6:
                first = len(self.words)
                self.words += chance.sample(NAMES, chance.randint(1, 2))
                self.entities.append((first, len(self.words), chance.choice(KINDS)))
        self.text, self.places = joined(self.words)

    @property
    def spans(self) -> Entities:
        return [(self.places[a][0], self.places[b - 1][1], kind) for a, b, kind in self.entities]

    def tags(self, scheme: str) -> list[str]:
        tags = ["O"] * len(self.words)
        for first, end, kind in self.entities:
            begin, inside, last, single = {
                "IOB2": "BIIB",
                "BIOES": "BIES",
                "BILOU": "BILU",
                "BMES": "BMES",
            }[scheme]
            names = [begin, *inside * (end - first - 2), last] if end - first > 1 else [single]
            tags[first:end] = [f"{name}-{kind}" for name in names]
        return tags


def write(sentence: Sentence, form: str) -> dict[str, Any]:
    text, spans = sentence.text, sentence.spans
    if form in ("IOB2", "BIOES", "BILOU", "BMES"):
        return {"tokens": sentence.words, "tags": sentence.tags(form)}
    if form == "B_":
        return {
            "tokens": sentence.words,
            "tags": [t.replace("-", "_") for t in sentence.tags("IOB2")],
        }
    if form == "lists":
        return {"text": text, "label": [list(span) for span in spans]}
    if form == "by kind":
        label: dict[str, Any] = {}
        for start, end, kind in spans:
            label.setdefault(kind, {}).setdefault(text[start:end], []).append([start, end - 1])
        return {"text": text, "label": label}
    if form == "doccano":
        names = ("start_offset", "end_offset", "label")
        return {"text": text, "entities": [dict(zip(names, s, strict=True)) for s in spans]}
    if form == "studio":
        result = [
            {
                "type": "labels",
                "value": {"start": units(text, a), "end": units(text, b)}
                | {"text": text[a:b], "labels": [kind]},
            }
            for a, b, kind in spans
        ]
        return {"data": {"text": text}, "annotations": [{"result": result}]}
    objects = [{"start": a, "end": b, "label": kind, "text": text[a:b]} for a, b, kind in spans]
    return {"text": text, "entities": objects}


def units(text: str, at: int) -> int:
    """Where a character stands in JavaScript's count."""
    return len(text[:at].encode("utf-16-le")) // 2


FORMS = ["IOB2", "BIOES", "BILOU", "BMES", "B_", "lists", "by kind", "doccano", "studio", "objects"]


def damage(row: dict[str, Any], chance: random.Random) -> str:
    """Damage a row, and return what may come of it: "refused", or "moved": mended or refused."""
    if "tokens" in row:
        at = chance.randrange(len(row["tags"]))
        which = chance.choice(("tag", "number", "word", "fewer", "none"))
        if which in ("tag", "number"):
            row["tags"][at] = "NOUN" if which == "tag" else 7
        elif which == "word":
            row["tokens"] = [*row["tokens"][:at], "", *row["tokens"][at + 1 :]]
        else:
            row["tags"] = row["tags"][:-1] if which == "fewer" else None
        return "refused"
    label = next(name for name in ("label", "entities", "annotations") if name in row)
    spans = row[label][0]["result"] if label == "annotations" else row[label]
    if not spans or isinstance(spans, dict) or chance.random() < 0.1:
        row[label] = None
        return "refused"
    span = chance.choice(spans)
    if isinstance(span, list):
        which = chance.choice(("cut", "far", "text"))
        span[:] = {"cut": span[:2], "far": [span[0], 999, span[2]], "text": ["0", *span[1:]]}[which]
        return "refused"
    span = span.get("value", span)
    start, end = next(key for key in span if "start" in key), next(k for k in span if "end" in k)
    if "text" in span and chance.random() < 0.5:
        span[start], span[end] = span[start] + 1, span[end] + 1
        return "moved"
    if chance.random() < 0.5:
        span[end] = chance.choice((None, "3", 999, -1))
    else:
        span.pop("label", None), span.pop("labels", None)
    return "refused"


def found_in(text: TaggedText) -> Entities:
    return [(one["start"], one["end"], one["label"]) for one in spans_of(text, text.tags)]


def read(rows: list[dict[str, Any]]) -> Dataset[TaggedText] | None:
    records = [Record(row, str(number)) for number, row in enumerate(rows)]
    try:
        return Tag.read(records, SETTINGS, keep_going=True)
    except UserError as error:
        assert error.what and error.where is not None
        return None


def check(seed: int) -> None:
    chance = random.Random(seed)
    form = chance.choice(FORMS)
    sentences = [Sentence(chance) for _ in range(chance.randint(2, 6))]
    while not sentences[-1].entities:  # this one stays sound, so that tags have prefixes
        sentences[-1] = Sentence(chance)
    rows = [write(sentence, form) for sentence in sentences]
    sound = read(copy.deepcopy(rows))
    assert sound is not None and not sound.report.unreadable, f"seed {seed}: refused"
    assert [found_in(text) for text in sound.examples] == [s.spans for s in sentences], seed
    at = chance.randrange(len(rows) - 1)
    outcome = damage(rows[at], chance)
    dataset = read(rows)
    if dataset is None:
        return
    found = {text.place: found_in(text) for text in dataset.examples}
    assert len(found) + len(dataset.report.unreadable) == len(rows)
    assert str(at) not in found or outcome == "moved", f"seed {seed}"
    for number, sentence in enumerate(sentences):
        if str(number) in found:
            assert found[str(number)] == sentence.spans, f"seed {seed}"
        else:
            assert number == at, f"seed {seed}"


@pytest.mark.parametrize("part", range(4))
def test_every_entity_is_found_or_its_record_refused(part: int) -> None:
    for seed in range(part * 50, part * 50 + 50):
        check(seed)


@pytest.mark.slow(cases=10_000)
def test_every_entity_of_very_many_data_sets_is_found_or_its_record_refused() -> None:
    for seed in range(1000, 11_000):
        check(seed)
