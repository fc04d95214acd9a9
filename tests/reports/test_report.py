from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import nextword as nw
from nextword.cli.main import main
from nextword.errors import UserError
from nextword.reports.report import document_table, overlap, pairs, split_table

HOSTILE = "</blockquote><script>alert('x')</script><img src=x onerror=alert(1)> & \"'"


class Page(HTMLParser):
    """What a browser would see: the tags, their attributes, the words."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attributes

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_a_report_holds_curves_data_samples_configuration_and_use(
    make_run: Any, metrics: Any
) -> None:
    path = make_run(metrics())
    page = read(nw.report(path))
    assert page.tags.count("svg") == 5
    for words in (
        "bits per byte",
        "6,048,000",  # tokens
        "left out: empty",
        "0.12% of the held-out text",
        "It was a very fine evening",
        "learning_rate",
        "2.1 times fp32's rate here",
        "2.13.0",
        f"nextword generate {path}",
        "AutoModelForCausalLM",
        "No sign of overfitting",
    ):
        assert words in page.text, words


def test_a_single_sample_more_is_counted_as_one(make_run: Any, metrics: Any) -> None:
    path = make_run(metrics())
    lines = (path / "metrics.jsonl").read_text().splitlines()
    record = next(json.loads(line) for line in lines if json.loads(line)["kind"] == "sample")
    others = [line for line in lines if json.loads(line)["kind"] != "sample"]
    for count, said in ((6, "1 more sample<"), (7, "2 more samples<")):
        samples = [json.dumps(record | {"step": step}) for step in range(1, count + 1)]
        (path / "metrics.jsonl").write_text("\n".join(others + samples) + "\n")
        assert said in nw.report(path).read_text(encoding="utf-8")


def test_a_report_is_one_file_that_asks_for_nothing(make_run: Any, metrics: Any) -> None:
    page = read(nw.report(make_run(metrics())))
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href"} & {name for name, _ in page.attributes}
    policy = dict(page.attributes)["content"]
    assert any("default-src 'none'" in (value or "") for _, value in page.attributes), policy


def test_text_from_people_and_models_is_escaped(make_run: Any, metrics: Any) -> None:
    records = metrics()
    records += [
        {"kind": "sample", "step": 1300, "prompt": HOSTILE, "text": HOSTILE},
        {"kind": "event", "step": 1300, "event": HOSTILE, "message": HOSTILE},
    ]
    run = make_run(records)
    facts = json.loads((run / "run.json").read_text())
    facts["data"] = facts["environment"]["processor"] = HOSTILE
    facts["environment"][HOSTILE] = 1
    facts["plan"]["reasons"] = [HOSTILE]
    (run / "run.json").write_text(json.dumps(facts))
    (run / "config.yaml").write_text(json.dumps({"text_column": HOSTILE, HOSTILE: 1}))
    manifest = json.loads((run / "store" / "manifest.json").read_text())
    manifest["splits"][HOSTILE] = {HOSTILE: 3}
    manifest["summary"]["languages"] = {HOSTILE: 1}
    manifest["summary"]["reasons"] = {HOSTILE: {"count": 1, "examples": [[HOSTILE, HOSTILE]]}}
    (run / "store" / "manifest.json").write_text(json.dumps(manifest))
    (run / "model" / "config.json").write_text(json.dumps({"model_type": HOSTILE, HOSTILE: 1}))

    page = read(nw.report(run))
    assert not {"script", "img"} & set(page.tags)
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert('x')</script>") >= 12, "shown as the text it is"


def test_no_control_character_and_no_half_character_reaches_the_page(make_run: Any) -> None:
    sample = {"kind": "sample", "step": 1, "prompt": "", "text": "a\0b\x1b[31m\ud800c\n\td"}
    html = nw.report(make_run([sample])).read_bytes().decode("utf-8")
    assert not re.search(r"[\0-\x08\x0b-\x1f\x7f]", html)
    assert "a␀b␛[31m?c\n\td" in html


@pytest.mark.parametrize("lines", [0, 1, 2])
def test_a_run_that_has_only_begun_gives_a_report(make_run: Any, metrics: Any, lines: int) -> None:
    run = make_run(metrics()[:lines], model=False)
    page = read(nw.report(run))
    assert "Overfitting is not known" in page.text
    assert f"--out {run} --resume" in page.text


def test_a_run_without_anything_but_its_metrics_gives_a_report(
    tmp_path: Path, metrics: Any
) -> None:
    lines = "".join(json.dumps(record) + "\n" for record in metrics())
    (tmp_path / "metrics.jsonl").write_text(lines, encoding="utf-8")
    assert read(nw.report(tmp_path)).tags.count("svg") == 5


def test_commands_in_a_report_survive_odd_names(make_run: Any, metrics: Any) -> None:
    run = make_run(metrics(), name="my run; rm -rf '$HOME'")
    quoted = "'" + str(run).replace("'", "'\"'\"'") + "'"
    assert f"nextword generate {quoted}" in read(nw.report(run)).text


def test_a_report_is_the_same_each_time(make_run: Any, metrics: Any) -> None:
    run = make_run(metrics())
    first = nw.report(run).read_bytes()
    assert nw.report(run).read_bytes() == first


def test_a_report_goes_where_it_is_sent(make_run: Any, metrics: Any, tmp_path: Path) -> None:
    run = make_run(metrics())
    assert nw.report(str(run)) == run / "report.html"
    assert nw.report(run, tmp_path / "new" / "page.html").is_file()
    assert nw.report(run, tmp_path) == tmp_path / "report.html"
    nw.report(run, tmp_path)  # a report is written again
    (tmp_path / "index.html").write_text("<p>mine</p>")
    with pytest.raises(UserError, match="exists and is no report"):
        nw.report(run, tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text() == "<p>mine</p>"
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        nw.report(run, tmp_path / "file" / "page.html")


def test_the_command_writes_a_report_and_says_where(
    make_run: Any, metrics: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(metrics())
    assert main(["report", str(run), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"report": str(run / "report.html")}


def test_the_command_refuses_what_is_not_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run" in capsys.readouterr().err


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
