"""Texts with annotations as brat keeps them: a.txt, and beside it a.ann, a line for each entity.

Such a line is "T1", a tab, "Person 0 10", a tab and "Ada Thorne".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nextword.errors import UserError, naming
from nextword.terminal import warn
from nextword.text.compression import read_file
from nextword.text.document import ReadError, ReadStats, Records, Source
from nextword.text.encoding import decode, detect_encoding

ANNOTATIONS, CONFIGURATION = ".ann", ".conf"
OTHERS = {"R": "relations", "E": "events", "A": "attributes", "M": "attributes", "#": "notes"}
_ENTITY = re.compile(r"(T\S*)\t(\S+) (\d+) (\d+)(?:\t(.*))?")
_PARTS = re.compile(r"T\S*\t\S+ \d+ \d+(?:;\d+ \d+)+(?:\t.*)?")


def pair_annotations(sources: Sequence[Source]) -> list[Source]:
    """Return sources with each text that has annotations beside it as one, of kind "brat".

    Raises UserError for annotations without their text.
    """
    paired: dict[str, Source] = {}
    for source in sources:
        path = Path(source.path)
        if source.kind == "hub" or path.suffix.lower() not in (".txt", ANNOTATIONS):
            paired[source.path] = source
            continue
        text = path.with_suffix(".txt")
        if path.suffix.lower() == ANNOTATIONS and not text.is_file():
            raise UserError(
                "is without its text",
                where=path,
                mend=f"put {text.name}, of which these are annotations, beside it",
            )
        if text.with_suffix(ANNOTATIONS).is_file():
            paired[str(text)] = replace(source, path=str(text), kind="brat")
        else:
            paired[source.path] = source
    if any(source.kind == "brat" for source in paired.values()):
        folders = {Path(name).parent for name, source in paired.items() if source.kind == "brat"}
        for name, source in paired.items():
            path = Path(name)
            if source.kind == "text" and path.suffix.lower() == ".txt" and path.parent in folders:
                raise UserError(
                    "is without its annotations, which the texts beside it have",
                    where=name,
                    mend=f"put {path.with_suffix(ANNOTATIONS).name} beside it (empty where it has "
                    "no entities), or take it out of the folder",
                )
        for name in [name for name in paired if name.endswith(CONFIGURATION)]:
            warn(f"{name} is passed over: it is brat's configuration")
            del paired[name]
    return list(paired.values())


def brat_records(source: Source, stats: ReadStats) -> Records:
    """Yield the one record of a text: "text", "entities", and whatever else is annotated."""
    text = _read(source.path)
    entities = []
    others: dict[str, list[str]] = {}
    path = Path(source.path).with_suffix(ANNOTATIONS)
    for number, line in enumerate(_read(str(path)).splitlines(), start=1):
        if match := _ENTITY.fullmatch(line):
            _, label, start, end, surface = match.groups()
            entity = {"start": int(start), "end": int(end), "label": label, "text": surface or ""}
            entities.append(entity)
        elif line.strip():
            kind = OTHERS.get(line[0], "other annotations")
            if line[0] == "T":
                what = "an entity in several parts" if _PARTS.fullmatch(line) else "no brat entity"
                mend = "mend or remove the line"
                where = f"{path}:{number}"
                yield source.path, ReadError(f"is {what}", where, line, what, mend)
                return
            others.setdefault(kind, []).append(line)
    yield source.path, {"text": text, "entities": entities} | others


def _read(path: str) -> str:
    content = read_file(path, None)
    with naming(path):
        return decode(content, detect_encoding(content))
