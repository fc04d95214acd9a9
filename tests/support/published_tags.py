"""Tagged text in the formats that people publish and annotation programs write."""

from __future__ import annotations

import json
from typing import Any

from support.published_formats import Published, jsonl

NAMES = "Ada Thorne left Marrow."
SPANS = [[0, 10, "PER"], [16, 22, "LOC"]]
TAGGED = "⟦Ada Thorne|PER⟧ left ⟦Marrow|LOC⟧."


def studio(text: str, *annotators: list[tuple[int, int, str]]) -> dict[str, Any]:
    """A text as Label Studio exports it, with the spans of each annotator."""
    work = [
        {
            "was_cancelled": False,
            "result": [
                {"type": "labels", "value": {"start": a, "end": b, "labels": [kind]}}
                for a, b, kind in spans
            ],
        }
        for spans in annotators
    ]
    return {"id": 1, "data": {"text": text}, "annotations": work}


TAGS = [
    Published(
        "CoNLL-2003",
        "tag",
        {"a.conll": "-DOCSTART- -X- -X- O\n\nAda NNP B-NP I-PER\nleft VBD B-VP O\n. . O O\n"},
        "⟦Ada|PER⟧ left .",
        ("2", "3"),
        {"a.conll": "Ada B-PER\nThorne\n\nTom B-PER\nran O\n"},
        "has 1 column, the lines before it 2",
    ),
    *(
        Published(
            name,
            "tag",
            {"a.conll": "赵 {}\n小 {}\n明 {}\n走 {}\n".format(*tags)},
            "⟦赵小明|PER⟧走",
            (),
            {"a.conll": "Ada B-PER\nThorne PER\nleft O\n\nIt O\nrained O\n"},
            "tag 'PER' of word 2 is none of O, B-… and I-…",
        )
        for name, tags in (
            ("IOB1", ("I-PER", "I-PER", "I-PER", "O")),
            ("IOB2", ("B-PER", "I-PER", "I-PER", "O")),
            ("IOBES", ("B-PER", "I-PER", "E-PER", "O")),
            ("BMES", ("B-PER", "M-PER", "E-PER", "O")),
        )
    ),
    Published(
        "CLUENER",
        "tag",
        {"a.json": jsonl({"text": "赵明在云岭。", "label": {"name": {"赵明": [[0, 1]]}}})},
        "⟦赵明|name⟧在云岭。",
        (),
        {
            "a.json": jsonl(
                {"text": "赵明在云岭。", "label": {"address": {"云岭": [[1, 2]]}}},
                {"text": "赵明在云岭。", "label": {"name": {"赵明": [[0, 1]]}}},
            )
        },
        "entity 1 to 3 is '明在' there, but its own text is '云岭', which stands at 3 to 5",
    ),
    Published(
        "doccano",
        "tag",
        {"a.jsonl": jsonl({"id": 1, "text": NAMES, "label": SPANS, "Comments": ["why?"]})},
        TAGGED,
        ("id", "Comments"),
        {
            "a.jsonl": jsonl(
                {"text": NAMES, "label": [[0, 10, "PER"], [4, 10, "LOC"]]},
                {"text": NAMES, "label": SPANS},
            )
        },
        "entity 'Thorne' overlaps another one",
    ),
    Published(
        "Label Studio",
        "tag",
        {"a.json": json.dumps([studio(NAMES, [(0, 10, "PER"), (16, 22, "LOC")])])},
        TAGGED,
        ("id",),
        {
            "a.json": json.dumps(
                [studio(NAMES, [(0, 10, "PER")]), studio(NAMES, [(0, 10, "PER")], [(0, 10, "LOC")])]
            )
        },
        "holds 2 annotations that differ",
    ),
    Published(
        "brat",
        "tag",
        {
            "a.txt": NAMES,
            "a.ann": "T1\tPER 0 10\tAda Thorne\nT2\tLOC 16 22\tMarrow\n"
            "R1\tfrom Arg1:T1 Arg2:T2\n#1\tAnnotatorNotes T1\twhy?\n",
        },
        TAGGED,
        ("relations", "notes"),
        {
            "a.txt": NAMES,
            "a.ann": "T1\tPER 0 3;4 10\tAda Thorne\n",
            "b.txt": NAMES,
            "b.ann": "T1\tPER 0 10\tAda Thorne\n",
        },
        "is an entity in several parts",
    ),
    Published(
        "spaCy",
        "tag",
        {"a.json": json.dumps([[NAMES, {"entities": SPANS}]])},
        TAGGED,
        (),
        {
            "a.json": json.dumps(
                [[NAMES, {"entities": [[0, 9, "PER"]]}], [NAMES, {"entities": SPANS}]]
            )
        },
        "entity 'Ada Thorn' (0 to 9) begins or ends inside a word",
    ),
]
