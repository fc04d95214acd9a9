"""Several runs behind one: from several seeds, and with several settings."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
import scipy.stats
from small_models import DATA, ours

from nextword.cli.main import main
from nextword.errors import UserError
from nextword.files import sha256
from nextword.runs import configuration
from nextword.runs.configuration import FinetuneConfiguration
from nextword.runs.record import read_run
from nextword.settings import FinetuneSettings
from nextword.training import loop
from nextword.training.machine import Precision
from nextword.training.schedule import FinetunePlan, Schedule
from nextword.training.state import State
from nextword.verbs.evaluate import evaluate_task
from nextword.verbs.finetune import finetune
from nextword.verbs.search import draw, median_rule

FEW: dict[str, Any] = {
    **{"task": "classify", "precision": "fp32", "batch_size": 4, "steps": 4},
    **{"eval_every": 2, "save_every": 2, "learning_rate": 2e-3, "dropout": 0.1},
}
SEARCHED: dict[str, Any] = {n: v for n, v in FEW.items() if n not in ("learning_rate", "dropout")}
CLASSIFY, QA = DATA / "classify.csv", DATA / "qa.json"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ours(tmp_path_factory.mktemp("model") / "ours", layers=1, width=32)


@pytest.fixture(scope="module")
def seeds(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("seeds") / "run"
    finetune(model, CLASSIFY, run, seeds=3, seed=5, **FEW)
    return run


@pytest.fixture(scope="module")
def searched(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("search") / "run"
    finetune(model, CLASSIFY, run, search=4, **SEARCHED)
    return run


def weights(run: Path) -> str:
    return sha256(run / "checkpoints" / "step-00000004" / "model.safetensors")


def test_a_seed_is_the_run_that_it_would_be_alone(seeds: Path, model: Path, tmp_path: Path) -> None:
    finetune(model, CLASSIFY, tmp_path / "alone", seed=6, split_seed=5, **FEW)
    assert weights(seeds / "seed-6") == weights(tmp_path / "alone")
    runs = [seeds / f"seed-{seed}" for seed in (5, 6, 7)]
    assert len({weights(run) for run in runs}) == 3
    held_out = [
        [json.loads(line)["place"] for line in (run / "held_out.jsonl").read_text().splitlines()]
        for run in runs
    ]
    assert held_out[0] == held_out[1] == held_out[2]


def test_the_best_seed_is_the_runs_own_and_the_spread_is_told(
    seeds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = json.loads((seeds / "seeds.json").read_text())
    scores = {name: (run["score"], -run["loss"]) for name, run in kept["runs"].items()}
    best = max(scores, key=lambda name: scores[name])
    for file in ("model/model.safetensors", "held_out.jsonl", "run.json"):
        assert sha256(seeds / file) == sha256(seeds / best / file)
    found = [
        json.loads((seeds / name / "evaluation.json").read_text())["metrics"]["macro F1"]["value"]
        for name in scores
    ]
    spread = kept["metrics"]["macro F1"]
    assert spread["mean"] == pytest.approx(statistics.mean(found))
    assert spread["deviation"] == pytest.approx(statistics.stdev(found))
    error = statistics.stdev(found) / math.sqrt(3)
    reference = scipy.stats.t.interval(0.95, 2, loc=statistics.mean(found), scale=error)
    assert spread["interval"] == pytest.approx(list(reference))
    assert main(["report", str(seeds)]) == 0 and main(["info", str(seeds)]) == 0
    assert f"over the seeds {spread['mean']:.3f} ±" in (seeds / "report.html").read_text()
    assert read_run(seeds).finished
    capsys.readouterr()


def test_a_test_set_is_measured_for_every_seed(
    seeds: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    each = [evaluate_task(seeds / f"seed-{seed}", CLASSIFY) for seed in (5, 6, 7)]
    accuracies = [evaluation.metrics["accuracy"].value for evaluation in each]
    assert main(["evaluate", str(seeds), str(CLASSIFY), "--precision", "auto", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["seeds"]["accuracy"]
    assert found["mean"] == pytest.approx(statistics.mean(accuracies))
    assert found["deviation"] == pytest.approx(statistics.stdev(accuracies))
    assert not each[0].seeds


def test_another_number_of_seeds_is_not_gone_on_with(seeds: Path, model: Path) -> None:
    with pytest.raises(UserError, match="seeds is 3 in this run, not 4"):
        finetune(model, CLASSIFY, seeds, seeds=4, resume=True, **FEW)
    with pytest.raises(UserError, match="exists already"):
        finetune(model, CLASSIFY, seeds, seeds=3, **FEW)


@pytest.mark.parametrize("several", [{"seeds": 2}, {"search": 2}])
def test_data_that_cannot_be_read_leaves_nothing_in_the_way(
    several: dict[str, int], model: Path, tmp_path: Path
) -> None:
    data, run = tmp_path / "a.csv", tmp_path / "run"
    rows = (f"word {n},{n % 2},{n % 3}\n" for n in range(20))
    data.write_text("text,kind,sort\n" + "".join(rows))
    few = {**FEW, "steps": 1, "learning_rate": 1e-3}
    with pytest.raises(UserError, match="--label-column"):
        finetune(model, data, run, **several, **few)
    finetune(model, data, run, label_column="kind", **several, **few)
    assert (run / "model" / "config.json").is_file()


@pytest.mark.parametrize("more", [{"seeds": 2}, {"search": 2}])
def test_the_best_run_needs_examples_to_be_chosen_by(
    more: dict[str, int], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="nothing is held out to choose the best run by"):
        finetune(model, CLASSIFY, tmp_path / "run", val_fraction=0, **more, **FEW)


def test_the_first_trial_is_the_plain_run_and_the_best_is_kept(
    searched: Path, model: Path, tmp_path: Path
) -> None:
    kept = json.loads((searched / "search.json").read_text())
    trials = kept["runs"]
    assert list(trials) == [f"trials/trial-{number}" for number in (1, 2, 3, 4)]
    finetune(model, CLASSIFY, tmp_path / "plain", **SEARCHED)
    found = read_run(tmp_path / "plain")
    assert found.best is not None
    assert trials["trials/trial-1"]["score"] == found.best["accuracy"]
    assert not trials["trials/trial-1"]["tried"]
    for trial in list(trials.values())[1:]:  # what was set stays as it is
        assert trial["tried"].keys() == {"learning_rate", "dropout", "layer_decay"}
    best = max(trials, key=lambda name: (trials[name]["score"], -trials[name]["loss"]))
    assert kept["best"] == best
    assert sha256(searched / "model/model.safetensors") == sha256(
        searched / best / "model/model.safetensors"
    )
    losers = [searched / name for name in trials if name != best]
    assert not any((run / part).exists() for run in losers for part in ("model", "checkpoints"))
    assert (searched / "evaluation.json").is_file() and read_run(searched).finished


def test_after_a_search_its_best_settings_are_run_from_every_seed(
    searched: Path, model: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = finetune(model, CLASSIFY, run, search=4, seeds=2, **SEARCHED)
    mine, alone = (json.loads((at / "search.json").read_text()) for at in (run, searched))
    assert mine["best"] == alone["best"] and len(done.trials) == 4
    assert done.seeds["accuracy"].deviation >= 0
    chosen = mine["runs"][mine["best"]]
    first = json.loads((run / "seeds.json").read_text())["runs"]["seed-1337"]
    assert first["score"] == chosen["score"] and first["steps"] == chosen["steps"]


def test_a_trial_that_diverges_is_one_that_lost(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = loop.train_step, 0

    def diverges(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        taken = real(*arguments)
        if 4 < steps <= 8:  # the first trial takes four
            taken.figures[0] = float("nan")
        return taken

    monkeypatch.setattr(loop, "train_step", diverges)
    done = finetune(model, CLASSIFY, tmp_path / "run", search=3, **SEARCHED)
    trials = list(done.trials.values())
    assert trials[1]["ended"] == "diverged" and trials[1]["accuracy"] is None
    assert [trial["ended"] for trial in trials].count("best") == 1
    assert "loss nan" in (tmp_path / "run" / "search.json").read_text()


def test_learning_rates_are_spread_over_the_range(tmp_path: Path) -> None:
    plan = FinetunePlan(
        batch_size=8,
        micro_batch=8,
        learning_rate=1e-3,
        weight_decay=0.0,
        momentum=0.0,
        schedule=Schedule("linear", 10, 1, 4),
        decay_share=0.4,
        eval_every=1,
        sample_every=1,
        save_every=1,
        log_every=1,
        epochs=3.0,
    )
    precision = Precision("fp32", 1.0, "")
    first = FinetuneConfiguration(["x"], {"task": "classify"}, precision, {}, plan, "model", {})
    configuration.write(tmp_path, first)
    settings = FinetuneSettings(task="classify", search=9)
    drawn = [draw(number, settings, tmp_path) for number in range(2, 10)]
    powers = sorted(math.log(each["learning_rate"] / 1e-3, 5.0) for each in drawn)
    assert [math.floor((power + 1) * 4) for power in powers] == list(range(8))
    assert {each["batch_size"] for each in drawn} <= {4, 8, 16}


def test_a_trial_worse_than_half_of_those_before_is_given_up() -> None:
    judge = median_rule([[(0.5, 0.6), (1.0, 0.9)], [(0.5, 0.7)], [(0.6, 0.1)]])

    def at(step: int, score: float) -> str:
        return judge(State(Schedule("linear", 100, 0, 1), step=step, best_score=score))

    assert at(50, 0.64).startswith("given up at 50% of its steps")
    assert not at(50, 0.66)  # the median of 0.6 and 0.7 is 0.65
    assert not at(40, 0.0)  # none before it had come so far and been measured
    assert not at(100, 0.0)
    assert not median_rule([[(0.5, 0.6)]])(
        State(Schedule("linear", 100, 0, 1), step=50, best_score=0.0)
    )
