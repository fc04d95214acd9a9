from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from support.altered import altered

from nextword.errors import UserError
from nextword.runs import configuration
from nextword.runs.configuration import PretrainConfiguration
from nextword.training.machine import Precision
from nextword.training.planning import PretrainPlan
from nextword.training.schedule import Schedule


def test_a_workplace_of_prepare_is_no_run_that_has_begun(tmp_path: Path) -> None:
    for name in (
        ".store.work/lock",
        ".store.work/0/text/1",
        ".store.work.7.8/x",
        ".store.partial/x",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    assert not configuration.has_begun(tmp_path)
    assert not configuration.has_begun_to_pretrain(tmp_path)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "manifest.json").write_text("{}")
    assert configuration.has_begun(tmp_path)
    assert not configuration.has_begun_to_pretrain(tmp_path)
    for name in ("run.json", "metrics.jsonl", "checkpoints", "model", "notes.txt"):
        (tmp_path / name).mkdir()
        assert configuration.has_begun_to_pretrain(tmp_path)
        (tmp_path / name).rmdir()


def test_a_run_file_of_any_shape_is_a_sentence(tmp_path: Path) -> None:
    shape = {"family": "qwen3", "vocab_size": 300, "context_length": 32, "layers": 2, "width": 32}
    shape |= {"heads": 2, "kv_heads": 2, "head_width": 16, "mlp_width": 96, "tied": True}
    plan = PretrainPlan(
        batch_size=8,
        micro_batch=4,
        learning_rate=0.1,
        weight_decay=0.1,
        momentum=0.9,
        schedule=Schedule("wsd", 9, 1, 3),
        decay_share=0.4,
        eval_every=3,
        sample_every=3,
        save_every=3,
        log_every=1,
        model=shape | {"windowed_layers": []},
        eval_tokens=64,
        compile=False,
        expected_seconds=1.0,
        reasons=[],
    )
    decided = PretrainConfiguration(
        data=["x"],
        settings={"steps": 9},
        precision=Precision("fp32", 1.0, ""),
        environment={},
        plan=plan,
        store="store",
        store_tokenizer="0" * 64,
        store_sums={},
    )
    whole = json.loads(json.dumps(asdict(decided)))
    (tmp_path / "run.json").write_text(json.dumps(whole))
    assert configuration.read(tmp_path, PretrainConfiguration).plan == plan
    refused = 0
    for changed in altered(whole):
        (tmp_path / "run.json").write_text(json.dumps(changed))
        try:
            configuration.read(tmp_path, PretrainConfiguration)
        except UserError as error:
            refused += "run.json" in str(error)
    assert refused > 200
