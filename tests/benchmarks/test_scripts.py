"""The sides of the benchmarks that are nextword's, at tiny sizes. mypy checks their calls, too."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bench
import encode
import finetune
import gpt2_step
import masked
import masked_baselines
import numpy as np
import peers
import prepare as prepare_script
import pytest
import sentiment
import shakespeare
import translation

from nextword.cli.main import load_command
from nextword.cli.options import parse
from nextword.hub.writing import save
from nextword.models.encoder_decoder import build_model
from nextword.models.sizes import config_for
from nextword.settings import ModelSettings, PrepareSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.store import Store
from nextword.tokens.tokenizer_training import byte_tokenizer

Published = dict[str, list[dict[str, Any]]]


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Published:
    """The rows of what is published, by name."""
    found: Published = {}

    def publish(name: str, title: str, rows: list[dict[str, Any]]) -> None:
        found[name] = rows

    for script in (encode, masked_baselines):
        monkeypatch.setattr(script, "publish", publish)
    return found


@pytest.fixture
def books(tmp_path: Path) -> Path:
    folder = tmp_path / "books"
    folder.mkdir()
    for number in range(8):
        lines = [f"Line {line} of book {number}, which is no other.\n\n" for line in range(40)]
        (folder / f"{number}.txt").write_text("".join(lines))
    return folder


def store_of(books: Path, objective: Any) -> Path:
    path = books.parent / objective
    settings = PrepareSettings(objective=objective, tokenizer="bytes", workers=1, val_fraction=0.2)
    prepare([books], path, settings)
    return path


def run(script: Any, monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["script", *map(str, arguments)])
    script.main()


def test_encode_compares_equal_ids(
    books: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(encode, monkeypatch, books, "--tokenizer", store_of(books, "causal"))
    assert published["encode"][0]["with other ids"] == 0


def test_masked_baselines_count_the_same_places_for_all(
    books: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(store_of(books, "masked"))
    size = ModelSettings(family="modernbert", layers=2, width=32, heads=2, context_length=256)
    model = build_model(config_for(size, store.tokenizer.vocab_size))
    save(books.parent / "model", model, store.tokenizer, card="")
    run(masked_baselines, monkeypatch, store.path, books.parent / "model", "--tokens", 2000)
    rows = published["masked_baselines"]
    assert len(rows) == 3
    assert len({row["hidden tokens"] for row in rows}) == 1
    assert rows[1]["accuracy"] > rows[0]["accuracy"]  # the trigram beats the unigram


def test_gpt2_step_times_a_step(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"SIZE": "0.5m", "TOKENS": 16, "VOCABULARY": 300, "STEPS": 2}.items():
        monkeypatch.setattr(gpt2_step, name, value)
    gpt2_step.nextword()
    assert json.loads(capsys.readouterr().out)["tokens_per_second"] > 0


@pytest.mark.parametrize("peer", list(peers.PEERS))
def test_bench_times_every_peer_or_names_it_as_missing(
    peer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for checkout in ("NANOGPT", "NANOCHAT"):
        monkeypatch.delenv(checkout, raising=False)
    bench.measure(peer, peers.Size(1, 32, 2, 50, 2, 16), "fp32", 1, 0.01)
    found = json.loads(capsys.readouterr().out)
    if peer in ("nanoGPT", "nanochat", "litgpt"):
        assert found.get("missing") or found["tokens/s"] > 0
    else:
        assert found["tokens/s"] > 0 and found["GiB"] > 0


def test_bench_keeps_the_best_and_says_what_is_missing() -> None:
    first = bench.better(None, {"tokens/s": 10.0}, "fp32", 1)
    assert bench.better(first, {"tokens/s": 9.0}, "bf16", 2) == first
    assert bench.better(first, {"tokens/s": 11.0}, "bf16", 2)["threads"] == 2
    assert bench.better(None, {"missing": "no"}, "fp32", 1)["missing"] == "no"


def test_finetune_times_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finetune, "BATCH", 2)
    size = ModelSettings(family="gpt2", layers=1, width=16, heads=2, context_length=64)
    tokenizer = byte_tokenizer()
    save(
        tmp_path / "model", build_model(config_for(size, tokenizer.vocab_size)), tokenizer, card=""
    )
    lines = [f"sentence {number}\t{number % 2}\n" for number in range(8)]
    (tmp_path / "train.tsv").write_text("".join(lines))
    assert finetune.speed_of_nextword(tmp_path, str(tmp_path / "model"), 2, tmp_path) > 0


def test_finetune_tells_two_accuracies_apart() -> None:
    half, most = np.zeros((2, 100)), np.ones((2, 100))
    half[:, ::2] = 1
    found = finetune.difference(half, most)
    assert found.difference == 0.5
    assert found.real
    assert not finetune.difference(half, half).real


def test_prepare_measures_a_command(books: Path) -> None:
    row = prepare_script.prepared("books", books, "--tokenizer", "bytes", "--workers", "1")
    assert row["seconds"] > 0


def flags_of_translation() -> list[tuple[str, list[str]]]:
    kinds = translation.KINDS.values()
    return [
        *(("pretrain", f"{translation.PRETRAIN} {pretrained}".split()) for pretrained, _ in kinds),
        *(("finetune", f"{translation.FINETUNE} {tuned}".split()) for _, tuned in kinds),
    ]


FLAGS: list[Callable[[], list[tuple[str, list[str]]]]] = [
    lambda: [("pretrain", masked.FLAGS)],
    lambda: [("pretrain", shakespeare.OURS)],
    lambda: [("finetune", [*sentiment.COMMON, *flags]) for flags in sentiment.SIDES.values()],
    flags_of_translation,
]


@pytest.mark.parametrize(
    "commands", FLAGS, ids=["masked", "shakespeare", "sentiment", "translation"]
)
def test_commands_take_the_flags_of_the_scripts(
    commands: Callable[[], list[tuple[str, list[str]]]],
) -> None:
    for verb, flags in commands():
        places = ["text", "--out", "run"]
        if verb == "finetune":
            places = ["model", "text.tsv", "--out", "run", "--task", "classify"]
        command, parser = load_command(verb)
        parsed, settings = parse(parser, command, [*places, *flags])
        assert parsed.out == "run"
        assert len(settings.model_fields_set) >= len([f for f in flags if f.startswith("--")])
