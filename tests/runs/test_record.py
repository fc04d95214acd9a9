from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.runs.record import read_run


def test_a_run_is_read_back_whole(make_run: Any, metrics: Any) -> None:
    run = read_run(make_run(metrics()))
    assert (len(run.train), len(run.validations), len(run.samples)) == (120, 12, 12)
    assert run.settings["learning_rate"] == 0.003 and run.asked == {"optimizer"}
    assert run.data == ["my_books"]
    assert run.manifest["splits"]["train"]["tokens"] == 6_048_000
    assert run.reasons == ["6 layers: fits", "bf16: 2.1 times fp32's rate here"]


def test_a_last_line_cut_off_by_a_crash_is_passed_over(make_run: Any, metrics: Any) -> None:
    path = make_run(metrics())
    with open(path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('{"kind": "train", "step": 12')
    assert len(read_run(path).train) == 120


@pytest.mark.parametrize(
    "line", ["{", "[]", '"step"', '{"kind": "train"}', '{"step": "1"}', '{"step": 1, "loss": "x"}']
)
def test_a_damaged_line_is_named(make_run: Any, line: str) -> None:
    path = make_run([{"kind": "train", "step": 1, "loss": 1.0}])
    with open(path / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: is not a record"):
        read_run(path)


def test_other_directories_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such run"):
        read_run(tmp_path / "absent")
    with pytest.raises(UserError, match=r"is not a run.*--out"):
        read_run(tmp_path)


def test_a_damaged_configuration_names_its_line(make_run: Any) -> None:
    path = make_run([])
    (path / "config.yaml").write_text("seed: 1\nsteps: [1\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"config\.yaml:\d: is not valid YAML"):
        read_run(path)


def test_configuration_is_data_and_never_code(make_run: Any, tmp_path: Path) -> None:
    path = make_run([])
    hostile = f'seed: !!python/object/apply:os.system ["touch {tmp_path}/owned"]\n'
    (path / "config.yaml").write_text(hostile, encoding="utf-8")
    with pytest.raises(UserError, match="is not valid YAML"):
        read_run(path)
    assert not (tmp_path / "owned").exists()


def test_damaged_weights_are_named(make_run: Any) -> None:
    path = make_run([])
    (path / "model" / "model.safetensors").write_bytes(b"\xff" * 64)
    with pytest.raises(UserError, match=r"model\.safetensors: is not a sound safetensors file"):
        read_run(path)


def test_a_loss_that_is_not_a_number_is_never_the_best(make_run: Any) -> None:
    losses = [float("nan"), 3.0, 2.5]
    records = [{"kind": "validation", "step": i, "loss": loss} for i, loss in enumerate(losses)]
    best = read_run(make_run(records)).best
    assert best is not None and best["loss"] == 2.5


def test_the_last_checkpoint_says_why_a_run_is_over(make_run: Any) -> None:
    path = make_run([])
    for step, reason in ((1, ""), (2, "the schedule's last step, 2")):
        state = path / "checkpoints" / f"step-{step:08d}" / "state.json"
        state.parent.mkdir(parents=True)
        state.write_text(json.dumps({"finished": reason}), encoding="utf-8")
    assert read_run(path).finished == "the schedule's last step, 2"
