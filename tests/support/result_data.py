"""Text and labelled files for the jobs of `same_results`: the repository's own and generated ones.

Everything is a function of the example files and of one seed. Each labelled file is written twice,
as NAME-train and NAME-test; some test examples are in the training file too, word for word or
almost, so that what a run says about those is compared as well.
"""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

SEED = 20
EXAMPLES = 42
Example = TypeVar("Example")


def write_data(examples: Path, folder: Path) -> None:
    """Write every file that a case names; `examples` is the folder of the repository's own."""
    folder.mkdir(parents=True)
    _write_books(examples, folder)
    _write_messy_folder(examples, folder / "messy")
    for name in ("classify.csv", "classify.zh.csv", "pairs.csv", "amounts.csv", "translate.tsv"):
        _write_tables(examples / name, folder)
    for name in ("topics", "entities.zh", "qa.zh", "summaries.zh"):
        _write_records(_read_lines(examples / f"{name}.jsonl"), name, folder)
    for name in ("chat", "instructions", "text"):
        _write_records(_read_lines(examples / f"{name}.jsonl"), name, folder)
    _write_sentences(examples / "entities.conll", folder)
    _write_articles(examples / "qa.json", folder)
    _write_parallel_texts(examples, folder)
    _write_new(examples, folder)
    _write_records(_generate(_rating), "ratings", folder)
    _write_records(_generate(_note), "notes", folder)
    _write_records(_generate(_tagged_sentences), "tokens", folder)
    _write_records(_generate(_long_question), "long", folder)


def _split(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Put every third example into the test part, and two of the training examples as well."""
    train = [example for number, example in enumerate(examples) if number % 3]
    return train, [*examples[::3], *train[:2]]


def _write_books(examples: Path, folder: Path) -> None:
    reader = (examples / "reader.txt").read_text("utf-8")
    (folder / "books").mkdir()
    (folder / "books" / "reader.txt").write_text(reader, "utf-8")
    chinese = (examples / "translate.zh").read_text("utf-8")
    for record in _read_lines(examples / "summaries.zh.jsonl"):
        chinese += record["document"] + "\n\n"
    (folder / "books" / "chinese.txt").write_text(chinese, "utf-8")
    stories = [record["text"] for record in _read_lines(examples / "text.jsonl")]
    notices = [record["document"] for record in _read_lines(examples / "summaries.jsonl")]
    towns = json.loads((examples / "qa.json").read_text("utf-8"))["data"]
    contexts = [paragraph["context"] for town in towns for paragraph in town["paragraphs"]]
    (folder / "books" / "notices.txt").write_text("\n\n".join(notices + contexts), "utf-8")
    (folder / "other.txt").write_text("\n\n".join(stories) + "\n\n" + chinese[:400], "utf-8")


def _write_messy_folder(examples: Path, folder: Path) -> None:
    """Write what people's folders hold: formats, encodings, repetitions, and files to reject."""
    (folder / "pages").mkdir(parents=True)
    reader = (examples / "reader.txt").read_text("utf-8")
    chinese = (examples / "translate.zh").read_text("utf-8")
    parts = reader.split("\n\n")
    (folder / "reader.txt").write_text(reader, "utf-8")
    (folder / "again.txt").write_text(reader, "utf-8")
    (folder / "almost.txt").write_text(reader.replace("Tom", "Tim"), "utf-8")
    notices = [record["document"] for record in _read_lines(examples / "summaries.zh.jsonl")]
    (folder / "old.txt").write_bytes("\n".join(notices).encode("gb18030"))
    (folder / "unclear.txt").write_bytes(chinese.encode("gb18030"))
    (folder / "wide.txt").write_bytes(parts[1].encode("utf-16"))
    (folder / "packed.txt.gz").write_bytes(gzip.compress(parts[3].encode(), mtime=0))
    (folder / "empty.txt").write_bytes(b"")
    (folder / "noise.bin").write_bytes(random.Random(SEED).randbytes(2000))
    (folder / "stories.jsonl").write_bytes((examples / "text.jsonl").read_bytes())
    (folder / "remarks.csv").write_bytes((examples / "classify.csv").read_bytes())
    paragraphs = "".join(f"<p>{part}</p>" for part in parts[4:12])
    page = f"<html><head><title>House</title></head><body><article>{paragraphs}</article></body>"
    (folder / "pages" / "house.html").write_text(page + "</html>", "utf-8")
    (folder / "pages" / "notes.md").write_text("# Notes\n\n" + "\n\n".join(parts[12:15]), "utf-8")


def _write_tables(path: Path, folder: Path) -> None:
    delimiter = "\t" if path.suffix == ".tsv" else ","
    with open(path, encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    train, test = _split(rows)
    test[-1] = [f"{test[-1][0]}!", *test[-1][1:]]  # almost what the training file holds
    for part, some in (("train", train), ("test", test)):
        out = folder / f"{path.stem}-{part}{path.suffix}"
        with open(out, "w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=delimiter).writerows([header, *some])


def _read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _write_records(records: Sequence[dict[str, Any]], name: str, folder: Path) -> None:
    for part, some in zip(("train", "test"), _split(records), strict=True):
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in some)
        (folder / f"{name}-{part}.jsonl").write_text(lines, "utf-8")


def _write_sentences(path: Path, folder: Path) -> None:
    first, *sentences = path.read_text("utf-8").strip().split("\n\n")
    for part, some in zip(("train", "test"), _split(sentences), strict=True):
        text = "\n\n".join([first, *some]) + "\n"
        (folder / f"{path.stem}-{part}{path.suffix}").write_text(text, "utf-8")


def _write_articles(path: Path, folder: Path) -> None:
    squad = json.loads(path.read_text("utf-8"))
    for part, some in zip(("train", "test"), _split(squad["data"]), strict=True):
        text = json.dumps(squad | {"data": some})
        (folder / f"{path.stem}-{part}{path.suffix}").write_text(text, "utf-8")


def _write_parallel_texts(examples: Path, folder: Path) -> None:
    for language in ("en", "zh"):
        lines = (examples / f"translate.{language}").read_text("utf-8").splitlines()
        for part, some in zip(("train", "test"), _split(lines), strict=True):
            out = folder / f"translate-{part}.{language}"
            out.write_text("\n".join(some) + "\n", "utf-8")


def _write_new(examples: Path, folder: Path) -> None:
    """Write data that is not labelled, to predict only."""
    texts = ["The boat is worth every coin.", "This clock fell apart, and so did I.", "Open daily."]
    with open(folder / "remarks-new.csv", "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in texts)])
    asked = [
        json.dumps({name: record[name] for name in ("context", "question")}, ensure_ascii=False)
        for record in _read_lines(examples / "qa.zh.jsonl")[:5]
    ]
    (folder / "questions-new.jsonl").write_text("\n".join(asked) + "\n", "utf-8")


def _generate(make: Callable[[random.Random, int], dict[str, Any]]) -> list[dict[str, Any]]:
    chance = random.Random(SEED)
    return [make(chance, number) for number in range(EXAMPLES)]


THINGS = ("lamp", "boat", "kettle", "coat", "clock", "chair")
PEOPLE = ("Ada Thorne", "Tom Ash", "Bram Otterley", "Joss Fen")
TOWNS = ("Marrow", "Oakmere", "Tamsin Bridge", "Elden Ferry")
DAYS = ("Monday", "Tuesday", "Friday")


def _rating(chance: random.Random, number: int) -> dict[str, Any]:
    """Make a text with an uneven class from 1 to 3, which is a number, under unusual names."""
    stars = chance.choice([1, 2, 2, 3, 3, 3, 3])
    word = ("poor", "fair", "fine")[stars - 1]
    thing = chance.choice(THINGS)
    return {"review": f"No {number}: the {thing} is {word}. {word.title()}!", "stars": stars}


def _note(chance: random.Random, number: int) -> dict[str, Any]:
    """Make a document with two equally right summaries."""
    who, where, day = chance.choice(PEOPLE), chance.choice(TOWNS), chance.choice(DAYS)
    return {
        "document": f"On {day} {who} came to {where} with {number + 2} boxes. It rained all day.",
        "summary1": f"{who} came to {where}.",
        "summary2": f"{who} came to {where} on {day}.",
    }


def _tagged_sentences(chance: random.Random, number: int) -> dict[str, Any]:
    """Make a list of words and their tags, in BIOES, of several sentences in one."""
    words: list[str] = []
    tags: list[str] = []
    for _ in range(1 + number % 4):
        for kind, choices in (("person", PEOPLE), ("", ("left",)), ("place", TOWNS)):
            some = chance.choice(choices).split()
            inside = ["B", *("I" * (len(some) - 2)), "E"] if len(some) > 1 else ["S"]
            words += some
            tags += [f"{place}-{kind}" if kind else "O" for place in inside]
        words.append(".")
        tags.append("O")
    return {"tokens": words, "tags": tags}


def _long_question(chance: random.Random, number: int) -> dict[str, Any]:
    """Make a question about a text of several windows, some with no answer; the answer stands in
    it more than once."""
    who, where, day = chance.choice(PEOPLE), chance.choice(TOWNS), chance.choice(DAYS)
    filler = [f"The {chance.choice(THINGS)} of {chance.choice(PEOPLE)} is old." for _ in range(14)]
    place = chance.randrange(len(filler))
    filler.insert(place, f"On {day} {who} came to {where}.")
    context = f"A tale of {number}. " + " ".join(filler)
    start = context.index(f"{who} came")
    answers: Any = {"text": [who, who.split()[0]], "answer_start": [start, start]}
    if number % 7 == 3:
        answers = {"text": [], "answer_start": []}
    return {"context": context, "question": f"Who came to {where}?", "answers": answers}
