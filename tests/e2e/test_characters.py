"""Models of single Chinese characters, whose tokenizer knows no Latin letter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.verbs.finetune import finetune
from nextword.verbs.pretrain import pretrain, run_pretraining

TEXT = "床前明月光，疑是地上霜。举头望明月，低头思故乡。李白在长安问：明月在哪里？"
SMALL: dict[str, Any] = {
    **{"tokenizer": "chars", "layers": 1, "width": 32, "heads": 2, "context_length": 64},
    **{"steps": 2, "batch_size": 4, "precision": "fp32", "workers": 1, "deduplicate": "none"},
}


@pytest.fixture
def text(tmp_path: Path) -> Path:
    file = tmp_path / "poems.txt"
    file.write_text("\n".join(TEXT[n % 30 :] for n in range(200)), encoding="utf-8")
    return file


def test_a_decoder_is_measured_when_its_run_ends(text: Path, tmp_path: Path) -> None:
    evaluation = pretrain(text, tmp_path / "run", **SMALL).evaluation
    assert evaluation is not None
    assert evaluation["bytes"] == pytest.approx(3 * evaluation["tokens"], rel=0.1)


@pytest.mark.parametrize(
    ("wanted", "record"),
    [
        ({"task": "tag"}, {"tokens": ["李白", "在", "长安"], "tags": ["B-人", "O", "B-地"]}),
        (
            {"task": "qa", "extract": True},
            {"context": "李白在长安", "question": "在哪里？", "answer": "长安"},
        ),
    ],
)
def test_an_encoder_learns_tags_and_answers(
    wanted: dict[str, Any], record: dict[str, Any], text: Path, tmp_path: Path
) -> None:
    run_pretraining(text, tmp_path / "encoder", objective="masked", **SMALL)
    line = json.dumps(record, ensure_ascii=False)
    (tmp_path / "data.jsonl").write_text(f"{line}\n" * 9, encoding="utf-8")
    data, out = str(tmp_path / "data.jsonl"), str(tmp_path / "out")
    finetune(str(tmp_path / "encoder"), [data], out, **wanted, val=[data], steps=1)
    assert (tmp_path / "out" / "model" / "config.json").is_file()
