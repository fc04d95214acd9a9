"""What metrics.jsonl gets, the experiment trackers get too; after a resume, under the same name."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextword.errors import UserError
from nextword.files import read_json
from nextword.training import metrics_log
from nextword.training.metrics_log import MetricsLog
from nextword.verbs.pretrain import run_pretraining

WANDB = """
calls = []
class Run:
    id = "r1"
    def log(self, values, step):
        assert step >= 0 and all(isinstance(name, str) for name in values)
        calls.append(("log", step, values))
    def finish(self):
        calls.append(("finish",))
def init(*, project, name, dir, config, id, resume):
    assert resume == "allow" and isinstance(config, dict) and id in (None, "r1")
    calls.append(("init", project, name, id))
    return Run()
"""
MLFLOW = """
from types import SimpleNamespace
calls = []
def set_experiment(name):
    calls.append(("experiment", name))
def start_run(*, run_id, run_name):
    calls.append(("start", run_id, run_name))
    return SimpleNamespace(info=SimpleNamespace(run_id="m1"))
def log_params(params):
    calls.append(("params", params))
def log_metrics(metrics, step):
    assert all(isinstance(value, (int, float)) for value in metrics.values())
    calls.append(("metrics", step, metrics))
def end_run():
    calls.append(("end",))
"""


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Packages with the part of wandb's and mlflow's interface that is used; they go with the
    test."""
    packages = {"wandb": WANDB, "mlflow": MLFLOW}
    for name, code in packages.items():
        folder = tmp_path / "packages" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(code)
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    yield
    for name in packages:
        sys.modules.pop(name, None)


def record(run: Path, names: list[str], step: int) -> None:
    run.mkdir(exist_ok=True)
    opened = metrics_log.start_trackers(names, run, {"seed": 1, "out": "x"}, step)
    metrics = MetricsLog(run / "metrics.jsonl", None, opened)
    metrics.write("train", step + 1, loss=2.5, best=True)
    metrics.write("sample", step + 1, text="once", prompt="")
    metrics.event(step + 1, "resume", "resumed")
    metrics.close()


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    record(tmp_path, ["tensorboard"], 4)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss"]
    (scalar,) = events.Scalars("train/loss")
    assert (scalar.step, scalar.value) == (5, 2.5)
    assert events.Tensors("sample/text_summary")[0].step == 5


@pytest.mark.usefixtures("fakes")
def test_wandb_and_mlflow_go_on_with_the_same_run(tmp_path: Path) -> None:
    run = tmp_path / "run"
    for step in (0, 8):
        record(run, ["wandb", "mlflow"], step)
    import mlflow
    import wandb

    assert wandb.calls == [
        ("init", "nextword", "run", None),
        ("log", 1, {"train/loss": 2.5}),
        ("log", 1, {"sample": "once"}),
        ("finish",),
        ("init", "nextword", "run", "r1"),
        ("log", 9, {"train/loss": 2.5}),
        ("log", 9, {"sample": "once"}),
        ("finish",),
    ]
    assert mlflow.calls == [
        ("experiment", "nextword"),
        ("start", None, "run"),
        ("params", {"seed": "1", "out": "x"}),
        ("metrics", 1, {"train/loss": 2.5}),
        ("end",),
        ("experiment", "nextword"),
        ("start", "m1", "run"),
        ("metrics", 9, {"train/loss": 2.5}),
        ("end",),
    ]
    assert read_json(run / "trackers.json") == {"wandb": "r1", "mlflow": "m1"}


def test_a_missing_package_is_told_before_anything_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (tmp_path / "a.txt").write_text("some text " * 100)
    with pytest.raises(UserError, match="wandb is not installed; pip install wandb"):
        run_pretraining(tmp_path / "a.txt", tmp_path / "run", log_to=["wandb"])
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_fails_does_not_end_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(record: dict[str, object]) -> None:
        raise ConnectionError("no route")

    tracker = metrics_log.Tracker("mlflow", fail, lambda: None)
    metrics = MetricsLog(tmp_path / "metrics.jsonl", None, [tracker])
    metrics.write("train", 1, loss=1.0)
    metrics.write("train", 2, loss=1.0)
    metrics.close()
    assert capsys.readouterr().err.count("mlflow failed at step 1") == 1
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2
