from __future__ import annotations

from typing import Any

from nextword.reports.corpus import document_table, overlap, pairs, split_table


def test_splits_are_counted_side_by_side() -> None:
    manifest = {"splits": {"train": {"tokens": 400, "bytes": 1600}, "val": {"tokens": 50}}}
    columns, rows = split_table(manifest)
    assert columns == ["tokens", "bytes", "bytes per token"]
    assert [(row.name, row.cells) for row in rows] == [
        ("training", ["400", "1,600", "4.00"]),
        ("held out", ["50", "–", "–"]),
    ]


def test_every_document_found_is_accounted_for() -> None:
    reasons = {"empty": {"count": 2, "examples": [["a.txt", ""], ["b.txt", "…"]]}}
    tally = {"accepted": 7, "skipped": 2, "rejected": 1, "reasons": reasons, "notes": {}}
    rows = document_table({"summary": tally | {"languages": {"en": 600, "zh": 100}}})
    assert [(row.name, row.cells[0]) for row in rows] == [
        ("found", "10"),
        ("kept", "7"),
        ("left out: empty", "2"),
    ]
    assert rows[1].note == "en 86%, zh 14%" and rows[2].note == "a.txt; b.txt: …"


def test_examples_of_what_was_left_out_are_cut_to_a_line() -> None:
    long = ["books/" + "very" * 20 + "/poems.json:record 381", "大陰凝至化，\n" * 40]
    reasons = {"near duplicate": {"count": 1, "examples": [long]}}
    tally = {"accepted": 7, "skipped": 0, "rejected": 1, "reasons": reasons}
    note = document_table({"summary": tally})[2].note
    assert note.startswith("…") and "poems.json:record 381: 大陰凝至化， 大陰" in note
    assert len(note) < 90 and note.endswith("…")


def test_overlap_is_said_in_a_sentence() -> None:
    sentence = overlap({"summary": {"overlap": {"share": 0.0123, "documents_seen": 2}}})
    assert sentence.startswith("1.23% of the held-out text") and "2 held-out" in sentence


def test_stores_made_elsewhere_may_lack_all_of_it() -> None:
    for manifest in ({}, {"splits": 3, "summary": []}):
        assert split_table(manifest)[1] == [] and document_table(manifest) == []
        assert overlap(manifest) == ""


def test_nested_values_are_flattened_and_long_ones_cut() -> None:
    values: dict[str, Any] = {"a": {"b": True, "c": 12_345}, "d": "x" * 500, "e": None, "f": 1e-3}
    leaves = dict(pairs(values))
    assert leaves["a · b"] == "yes" and leaves["a · c"] == "12,345" and leaves["f"] == "0.001"
    assert len(leaves["d"]) == 202 and "e" not in leaves
