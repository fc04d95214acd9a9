"""`predict`: one output a record, in order, whatever becomes of a record."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest
from support.tasks import classifier

from nextword.errors import UserError
from nextword.hub.heads import Outputs
from nextword.verbs.predict import predict

LABELS = Outputs("single", ("bad", "good"))


def written(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_record_that_cannot_be_read_keeps_its_row_with_the_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "new.jsonl", tmp_path / "out.jsonl"
    data.write_text('{"text": "Warm."}\n{"text": ""}\n{"text": 7\n[1]\n{"text": "Cold."}\n')
    predictions = predict(classifier(LABELS), data, out)
    assert ["error" in prediction for prediction in predictions] == [False, True, True, True, False]
    rows = written(out)
    assert [sorted(row) for row in rows] == [
        ["prediction", "text"],
        ["error", "text"],
        ["error"],
        ["error"],
        ["prediction", "text"],
    ]
    reasons = ["new.jsonl:2: column 'text' is empty", "is not valid JSON", "is not an object"]
    for row, reason in zip(rows[1:4], reasons, strict=True):
        assert reason in str(row["error"])
    assert "3 of 5 records cannot be read" in capsys.readouterr().err
    alone = predict(classifier(LABELS), [data], None)
    assert alone == predictions


def test_data_of_which_no_record_can_be_read_stops(tmp_path: Path) -> None:
    data = tmp_path / "new.jsonl"
    data.write_text('{"text": ""}\n{"text": null}\n')
    with pytest.raises(UserError, match=r"new\.jsonl:1: column 'text' is empty"):
        predict(classifier(LABELS), data)


def test_predictions_are_replaced_aloud_and_any_other_file_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = tmp_path / "new.jsonl", tmp_path / "out.jsonl"
    data.write_text('{"text": "Warm."}\n')
    predict(classifier(LABELS), data, out)
    assert "replaced" not in capsys.readouterr().err
    predict(classifier(LABELS), data, out)
    assert "out.jsonl: the predictions that were there are replaced" in capsys.readouterr().err
    out.write_text('{"text": "Mine."}\n{"text": "Mine too."}\n')
    with pytest.raises(UserError, match=r"out\.jsonl: exists and is no file of predictions"):
        predict(classifier(LABELS), data, out)
    assert "Mine too." in out.read_text()


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    data, out = tmp_path / "new.jsonl", tmp_path / "out.jsonl"
    data.write_text('{"text": "Warm."}\n' * 100)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(UserError, match=r"out\.jsonl: the disk is full; free some space"):
            predict(classifier(LABELS), data, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not out.exists() and list(tmp_path.iterdir()) == [data]
