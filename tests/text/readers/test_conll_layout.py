"""CoNLL files that have not words first and tags last are read as they were meant, or refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextword.errors import UserError
from nextword.settings import TaskSettings
from nextword.tasks.records import read_records, whole
from nextword.tasks.tag.task import Tag

WORDS = [("Ada", "B-PER"), ("Thorne", "I-PER"), ("ran", "O")]


def present(path: Path, lines: list[str]) -> str:
    path.write_text("\n".join([*lines, "", *lines, ""]), encoding="utf-8")
    records = whole(read_records([str(path)], Tag.text_files))
    return Tag.present(Tag.read(records, TaskSettings(task="tag")), 1)


@pytest.mark.parametrize(
    "lines",
    {
        "words first": [f"{word} _ {tag}" for word, tag in WORDS],
        "words are numbered": [f"{n}\t{word}\t{tag}" for n, (word, tag) in enumerate(WORDS, 1)],
        "numbered from 0": [f"{n} {word} X {tag}" for n, (word, tag) in enumerate(WORDS)],
        "tags first": [f"{tag}\t{word}" for word, tag in WORDS],
        "WikiANN": [f"en:{word}\t{tag}" for word, tag in WORDS],
        "tags end with what begins": [
            f"{word} {'-'.join(reversed(tag.split('-')))}" for word, tag in WORDS
        ],
        "colons in tags": [f"{word} {tag.replace('-', ':')}" for word, tag in WORDS],
    }.items(),
    ids=lambda case: case[0],
)
def test_words_and_tags_are_found_wherever_they_stand(
    lines: tuple[str, list[str]], tmp_path: Path
) -> None:
    assert present(tmp_path / "a.conll", lines[1]) == "⟦Ada Thorne|PER⟧ ran"


def test_the_tags_of_conll_u_are_parts_of_speech_and_its_ranges_no_words(tmp_path: Path) -> None:
    rows = ["# text = vámonos al mar", "1-2 vámonos _ _", "1 vamos ir VERB", "2 nos yo PRON"]
    lines = [row if row[0] == "#" else "\t".join([*row.split(), *"_" * 6]) for row in rows]
    assert present(tmp_path / "a.conllu", lines) == "⟦vamos|VERB⟧ ⟦nos|PRON⟧"


def test_a_language_before_some_words_only_is_a_part_of_them(tmp_path: Path) -> None:
    assert present(tmp_path / "a.conll", ["en:Ada B-PER", "ran O"]) == "⟦en:Ada|PER⟧ ran"


def test_conll_2012_and_lines_that_are_no_tags_are_refused(tmp_path: Path) -> None:
    line = "bc/x 0 {} {} NNP (TOP* - - - Speaker (PERSON*) -"
    lines = [
        "#begin document (bc/x); part 000",
        *(line.format(n, w) for n, (w, _) in enumerate(WORDS)),
    ]
    with pytest.raises(UserError, match="CoNLL-2012's format"):
        present(tmp_path / "a.conll", lines)
    prose = tmp_path / "b.txt"
    prose.write_text("".join(f"<PER>Ada</PER> saw {n}.\n" for n in range(12)))
    with pytest.raises(UserError, match=r"12 different ones of 12 words are hardly tags: '0\.'"):
        Tag.read(read_records([str(prose)], Tag.text_files), TaskSettings(task="tag"))
