"""What `info DATA --task T` says that fine-tuning would read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.cli.main import main
from nextword.errors import UserError
from nextword.hub.writing import save
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import InfoSettings, ModelSettings
from nextword.tokens.tokenizer_training import byte_tokenizer
from nextword.verbs.preview import preview_data


def look(path: Path, rows: list[Any], **settings: Any) -> dict[str, Any]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return preview_data(path, InfoSettings(**settings))


def test_a_single_class_is_said_with_the_records_that_cannot_be_read(tmp_path: Path) -> None:
    rows = [{"text": "One.", "label": "odd"}, {"text": "", "label": "even"}]
    with pytest.raises(
        UserError, match=r"the only example has the label 'odd'; 1 record besides .*:2"
    ):
        look(tmp_path / "a.jsonl", rows, task="classify")


def test_columns_used_and_not_used_labels_and_unreadable_records_are_counted(
    tmp_path: Path,
) -> None:
    rows = [{"text": f"Number {n}.", "label": "even" if n % 2 == 0 else "odd"} for n in range(9)]
    rows[2]["source"], rows[4]["source"], rows[5]["source"] = "a", "b", ""
    rows[7]["text"] = ""
    found = look(tmp_path / "a.jsonl", rows, task="classify")
    assert found["records"] == 9 == found["examples"] + len(found["unreadable"])
    assert found["columns"] == {"text_column": "text", "label_column": "label"}
    assert found["unused"] == {"source": 2}
    assert found["labels"] == {"even": 5, "odd": 3}
    assert "a.jsonl:8: column 'text' is empty" in found["unreadable"][0]
    assert found["shown"][0] == "Number 0. ⟦even⟧"
    assert found["shown"][-1] == "Number 8. ⟦even⟧"


def test_parts_of_a_nested_record_that_are_not_used_are_named(tmp_path: Path) -> None:
    rows = [{"translation": {"en": f"cat {n}", "de": f"Katze {n}", "fr": "chat"}} for n in range(3)]
    settings = {"text_column": "translation.en", "target_column": "translation.de"}
    found = look(tmp_path / "a.jsonl", rows, task="translate", **settings)
    assert found["unused"] == {"translation.fr": 3}


def test_with_a_model_examples_are_shown_in_its_tokens_and_what_is_cut_is_said(
    tmp_path: Path,
) -> None:
    tokenizer = byte_tokenizer()
    size = ModelSettings(family="gpt2", layers=1, width=16, heads=2, context_length=64)
    model = Transformer(config_for(size, tokenizer.vocab_size), seed=1)
    save(tmp_path / "model", model, tokenizer, card="", start_id=tokenizer.end_id)
    rows = [{"text": "long " * 30, "label": "long"}, {"text": "short", "label": "short"}] * 4
    where = {"task": "classify", "model": str(tmp_path / "model")}
    found = look(tmp_path / "a.jsonl", rows, **where)
    assert found["longest"] == 64
    assert any("cut" in note for note in found["cut"])
    assert found["shown"][0].endswith("long ⟦long⟧") and found["shown"][0].count("long") < 20


def test_on_the_command_line_it_is_a_screenful_and_json(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "a.csv"
    data.write_text("id,text,label\n" + "".join(f"{n},Row {n},{n % 2}\n" for n in range(6)))
    assert main(["info", str(data), "--task", "classify", "--json"]) == 0
    out, shown = capsys.readouterr()
    assert json.loads(out)["examples"] == 6
    for line in (
        "6 examples for the task classify",
        "columns: text 'text', label 'label'",
        "not used, with the number of records that have it: id (6)",
        "labels: 0 3, 1 3",
        "3 examples as read, what is learned in ⟦ ⟧:",
        "1  Row 0 ⟦0⟧",
    ):
        assert line in shown


def test_settings_of_labelled_data_need_a_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "sizes", "--text-column", "a"]) == 2
    assert "--text-column does nothing without --task" in capsys.readouterr().err
