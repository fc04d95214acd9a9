"""No character of a document is lost without a word: it is used, named as unused, or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nextword.text.document import ReadStats
from nextword.text.sources import find_sources, read_documents

WORDS = [
    "mill",
    "river",
    "bridge",
    "été",
    "河",
    "[a",
    "b]",
    "'s",
    "<p>",
    "1.5",
    "日本語の文章",
    "{x}",
]
NAMES = ["id", "title", "author", "url", "meta", "n", "summary", "tags"]
MOST_QUARANTINED = 900  # characters of a record; a longer one is cut in quarantine.jsonl


def characters(value: Any) -> int:
    """Count by hand: all strings, those of lists and objects too."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, dict):
        return sum(characters(item) for item in value.values())
    return sum(characters(item) for item in value) if isinstance(value, list) else 0


class Generator:
    """Draws records, and trees with records in them."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)

    def phrase(self, most: int = 12) -> str:
        return " ".join(self.draw.choices(WORDS, k=self.draw.randint(0, most)))

    def beside(self) -> Any:
        return self.draw.choice(
            [
                lambda: self.draw.choice([None, 3, 0, -1.5, True, "", [], {}]),
                lambda: self.phrase(),
                lambda: [self.phrase(3) for _ in range(self.draw.randint(0, 3))],
                lambda: {"name": self.phrase(2), "of": [{"x": self.phrase(2)}, 4]},
            ]
        )()

    def text(self) -> Any:
        pieces = [self.phrase(4), {"type": "link", "text": self.phrase(2), "href": self.phrase(1)}]
        kinds: list[Callable[[], Any]] = [
            *(lambda: self.phrase(20) for _ in range(5)),
            lambda: [self.phrase(6) for _ in range(self.draw.randint(1, 4))],
            lambda: self.draw.sample(pieces, k=2),
            lambda: self.draw.choice([None, "", []]),
            lambda: self.draw.choice([7, True, [1, "a"], {"a": self.phrase(3)}]),  # refused
        ]
        return self.draw.choice(kinds)()

    def record(self) -> dict[str, Any]:
        names = self.draw.sample(NAMES, k=self.draw.randint(0, 4))
        fields = {name: self.beside() for name in names}
        if self.draw.random() < 0.95:
            fields["text"] = self.text()
        return dict(self.draw.sample(list(fields.items()), k=len(fields)))

    def tree(self, depth: int = 0) -> Any:
        if depth == 3 or self.draw.random() < 0.3:
            return [self.record() for _ in range(self.draw.randint(0, 5))]
        if self.draw.random() < 0.3:
            return {f"Part {n}": self.phrase() for n in range(self.draw.randint(0, 3))}
        names = self.draw.sample(["data", "items", "parts", "about", "title"], k=3)
        return {n: self.beside() if n in NAMES else self.tree(depth + 1) for n in names}


def check(path: Path, whole: int, column: str | None) -> bool:
    """Whether the file was read; then all of its characters are accounted for."""
    quarantine = path.with_suffix(".quarantine")
    quarantine.unlink(missing_ok=True)
    stats = ReadStats(quarantine)
    [source] = find_sources([str(path)])
    documents = list(read_documents(source, text_column=column, skip_bad=True, stats=stats))
    if any("cannot be read" in reason for reason in stats.reasons):
        assert not documents  # it asks which field is meant: nothing is used
        return False
    used = sum(len(document.text) - document.text.count("\n") for document in documents)
    unused = sum(f.characters for fields in stats.unused.values() for f in fields.values())
    lines = quarantine.read_text().splitlines() if quarantine.exists() else []
    refused = sum(characters(json.loads(json.loads(line)["content"])) for line in lines)
    assert stats.rejected == len(lines)
    assert used + unused + refused == whole, path.read_text()
    assert ReadStats.from_json(stats.to_json()).unused == stats.unused
    return True


def conserve(path: Path, cases: int, make: Callable[[Generator], tuple[str, Any]]) -> None:
    was_read = 0
    for seed in range(cases):
        content, value = make(Generator(seed))
        if "text" not in content or max(map(len, content.split("\n"))) > MOST_QUARANTINED:
            continue
        path.write_text(content, encoding="utf-8")
        was_read += check(path, characters(value), "text") + check(path, characters(value), None)
    assert was_read > cases / 4


def jsonl(generator: Generator) -> tuple[str, Any]:
    records = [generator.record() for _ in range(generator.draw.randint(1, 6))]
    return "\n".join(json.dumps(r, ensure_ascii=False) for r in records), records


def json_list(generator: Generator) -> tuple[str, Any]:
    records = [generator.record() for _ in range(generator.draw.randint(1, 6))]
    return json.dumps(records, indent=1, ensure_ascii=False), records


def json_tree(generator: Generator) -> tuple[str, Any]:
    tree = generator.tree()
    return json.dumps(tree, indent=1, ensure_ascii=False), tree


MAKERS = {"jsonl": jsonl, "json": json_list, "tree.json": json_tree}


@pytest.mark.parametrize("name", MAKERS)
def test_every_character_is_used_named_or_refused(name: str, tmp_path: Path) -> None:
    conserve(tmp_path / f"a.{name}", 150, MAKERS[name])


@pytest.mark.slow(cases=10_000)
@pytest.mark.parametrize("name", MAKERS)
def test_every_character_of_ten_thousand_files_is_accounted_for(name: str, tmp_path: Path) -> None:
    conserve(tmp_path / f"a.{name}", 10_000, MAKERS[name])


def test_a_plain_text_is_used_to_its_last_character(tmp_path: Path) -> None:
    for seed in range(50):
        generator = Generator(seed)
        text = "\n".join(generator.phrase(30) for _ in range(generator.draw.randint(1, 40)))
        (tmp_path / "a.txt").write_bytes(text.encode())
        [source] = find_sources([str(tmp_path / "a.txt")])
        documents = list(read_documents(source, stats=ReadStats()))
        assert "".join(d.text for d in documents) == (text if text.strip() else "")
