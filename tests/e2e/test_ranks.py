"""Two processes train the model that one does: the loss is divided by all targets of both."""

from __future__ import annotations

import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nextword.files import sha256
from nextword.settings import PrepareSettings
from nextword.tokens.prepare import prepare

FLAGS = (
    "--layers 2 --width 32 --heads 2 --context-length 32 --batch-size 7 --micro-batch 2 "
    "--steps 12 --optimizer sgd --learning-rate 0.1 --precision fp32 --eval-every 6 "
    "--sample-every 0 --save-every 12"
)
LAST = "checkpoints/step-00000012/model.safetensors"


def prepared(folder: Path) -> Path:
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    for number in range(30):
        text = " ".join(words[(number * place) % 10] for place in range(5, 40 + number))
        (folder / f"{number}.txt").write_text(text)
    settings = PrepareSettings(tokenizer="bytes", workers=1, deduplicate="exact")
    prepare([folder], folder / "store", settings)
    return folder / "store"


def ranks(count: int, *command: str) -> None:
    """Run a Python command under torchrun."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += [f"--nproc-per-node={count}", *command]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(launcher, check=True, capture_output=True, timeout=300, env=environment)


def test_two_ranks_with_ragged_rows_give_the_gradient_of_one(tmp_path: Path) -> None:
    store = str(prepared(tmp_path))
    helper = str(Path(__file__).with_name("rank_gradients.py"))
    rank_gradients = runpy.run_path(helper)
    rank_gradients["main"](Path(store), tmp_path / "one")
    ranks(2, helper, store, str(tmp_path / "two"))
    two = load_file(tmp_path / "two")
    for name, whole in load_file(tmp_path / "one").items():
        assert (two[name] - whole).norm() <= 1e-12 * whole.norm(), name


def test_two_ranks_give_the_weights_of_one(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    verb = ["-m", "nextword.cli.main", "pretrain", str(store), *FLAGS.split(" ")]
    alone = [sys.executable, *verb, "--out", str(tmp_path / "run1")]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    subprocess.run(alone, check=True, capture_output=True, timeout=300, env=environment)
    ranks(2, *verb, "--out", str(tmp_path / "run2"))
    one, two = (load_file(tmp_path / run / LAST) for run in ("run1", "run2"))
    for name, weight in one.items():
        assert torch.allclose(weight, two[name], rtol=1e-5, atol=1e-6), name


@pytest.mark.slow
def test_a_model_in_parts_writes_samples_as_a_whole_one_does(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    flags = FLAGS.replace("--sample-every 0", "--sample-every 6").split(" ")
    written = []
    for count, shard in ((1, "none"), (2, "all")):
        out = str(tmp_path / shard)
        verb = ["-m", "nextword.cli.main", "pretrain", str(store), *flags, "--shard", shard]
        ranks(count, *verb, "--out", out)
        lines = (tmp_path / shard / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        records = map(json.loads, lines)
        written.append([one["text"] for one in records if one["kind"] == "sample"])
    assert written[0] == written[1] and len(written[0]) == 2


def test_the_others_wait_for_what_the_main_process_prepares_longer_than_collectives_may_take(
    tmp_path: Path,
) -> None:
    ranks(2, str(Path(__file__).with_name("rank_waits.py")), str(tmp_path))
    assert [(tmp_path / f"rank-{n}").read_text() for n in (0, 1)] == ["2.0", "2.0"]


def test_all_end_where_the_main_process_fails_before_they_join(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as ended:
        ranks(2, str(Path(__file__).with_name("rank_waits.py")), str(tmp_path), "fail")
    assert b"no text" in ended.value.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_ranks_go_on_where_they_were(tmp_path: Path) -> None:
    store = prepared(tmp_path)
    verb = ["-m", "nextword.cli.main", "pretrain", str(store), *FLAGS.split(" ")]
    verb += ["--save-every", "5", "--out", str(tmp_path / "run")]
    ranks(2, *verb)
    whole = sha256(tmp_path / "run" / LAST)
    shutil.rmtree((tmp_path / "run" / LAST).parent)
    ranks(2, *verb, "--resume")
    assert sha256(tmp_path / "run" / LAST) == whole
