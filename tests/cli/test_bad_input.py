"""Whatever is wrong with a command line, it is said in one sentence that says how to mend it."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from nextword.cli.main import VERBS, main
from nextword.hub.heads import Outputs
from nextword.hub.writing import save, save_headed
from nextword.models.heads import SequenceClassificationModel
from nextword.models.sizes import config_for
from nextword.models.transformer import Transformer
from nextword.settings import ModelSettings
from nextword.tokens.prepare import prepare
from nextword.tokens.tokenizer_training import byte_tokenizer

YAML = {
    "type.yaml": "# a comment\nsteps: many\n",
    "unit.yaml": "budget: 5\n",
    "twice.yaml": "steps: 1\nseed: 2\nsteps: 3\n",
    "dashes.yaml": "batch_size: 1\nbatch-size: 2\n",
    "near.yaml": "batch_sizes: 4\n",
    "far.yaml": "qqqqqq: 4\n",
    "nested.yaml": "model:\n  layers: 4\n",
    "yes.yaml": "steps: yes\n",
    "list.yaml": "- steps\n- 3\n",
    "scalar.yaml": "just words\n",
    "broken.yaml": "steps: [1\nseed: 2\n",
    "tab.yaml": "steps:\n\t- 1\n",
    "code.yaml": '!!python/object/apply:os.system ["true"]\n',
    "key.yaml": "[1, 2]: 3\n",
    "deep.yaml": "stop: " + "[" * 5000 + "]" * 5000 + "\n",
    "bomb.yaml": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(
        f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n"
        for a, b in zip("abcdefgh", "bcdefghi", strict=True)
    )
    + "languages: *i\n",
    "loop.yaml": "languages: &a [*a]\n",
    "inf.yaml": "learning_rate: .inf\n",
    "nan.yaml": "learning_rate: .nan\n",
    "float.yaml": "steps: 2.5\n",
    "text.yaml": "text_column: 5\n",
    "data.yaml": "data: 5\n",
    "out.yaml": "out: [a, b]\n",
    "json.yaml": "json: perhaps\n",
    "long.yaml": "# " + "x" * 1_000_001,
    "huge.yaml": "steps: " + "9" * 5000 + "\n",
    "date.yaml": "steps: 2020-01-01\n",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of everything that a command may be given, sound and not."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("bad")
    text = "It was a dark night, and the lamp burned low over the unread letters.\n"
    (folder / "text.txt").write_text(text * 400)
    (folder / "empty.txt").write_text("")
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    (folder / "latin.txt").write_bytes(b"It was a caf\xe9 \xff\xfe\x00 night.\n")
    (folder / "folder").mkdir()
    for name, content in YAML.items():
        (folder / name).write_text(content)
    (folder / "latin.yaml").write_bytes(b"text_column: caf\xe9\n")
    prepare([str(folder / "text.txt")], folder / "store", tokenizer="bytes", workers=1)
    tokenizer = byte_tokenizer()
    size = ModelSettings(layers=1, width=32, heads=2, context_length=64)
    save(folder / "model", Transformer(config_for(size, tokenizer.vocab_size)), tokenizer)
    encoder = Transformer(config_for(size.model_copy(update={"family": "bert"}), 260))
    labels = Outputs("single", ("bad", "good"))
    classifier = SequenceClassificationModel(encoder, 2)
    save_headed(folder / "classifier" / "model", classifier, byte_tokenizer(), labels)
    (folder / "pickled").mkdir()
    (folder / "pickled" / "config.json").write_text((folder / "model" / "config.json").read_text())
    (folder / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "used").mkdir()
    (folder / "used" / "notes.txt").write_text("mine")
    (folder / "young").mkdir()
    (folder / "young" / "config.yaml").write_text("seed: 1\n")
    (folder / "young" / "metrics.jsonl").write_text("{\n")
    return folder


# A name in braces is a file of `place`; {new} is there not yet.
CASES = [
    ("pretain DATA", "unknown verb 'pretain'; did you mean 'pretrain'?"),
    ("--steps 3", "unknown verb"),
    ("prepare", "no DATA was given; nextword prepare DATA... --out STORE"),
    ("prepare {text.txt}", "no --out was given; nextword prepare DATA... --out STORE"),
    ("prepare {none.txt} --out {new}", "none.txt: no such file"),
    ("prepare {empty.txt} --out {new}", "empty"),
    ("prepare {folder} --out {new}", "folder"),
    ("prepare {none}/*.txt --out {new}", "*.txt"),
    ("prepare {picture.png} --out {new}", "picture.png"),
    ("prepare {latin.txt} --out {new}", "latin.txt"),
    ("prepare {text.txt} --out {text.txt}", "text.txt"),
    ("prepare {text.txt} --out {used}", "used"),
    ("prepare {text.txt} --out {text.txt}/new", "text.txt"),
    ("prepare {text.txt} --out {new} --languages", "--languages: expected at least one argument"),
    ("prepare {text.txt} --out {new} --val-fraction 1", "--val-fraction: '1': expected less than"),
    ("prepare {text.txt} --out {new} --val-fraction -0.1", "expected at least 0"),
    ("prepare {text.txt} --out {new} --val-fraction nan", "--val-fraction"),
    ("prepare {text.txt} --out {new} --vocab-size 12", "--vocab-size: '12': expected at least 257"),
    ("prepare {text.txt} --out {new} --vocab-size 1e6", "expected a whole number"),
    ("prepare {text.txt} --out {new} --split lines", "expected 'document' or 'position'"),
    ("prepare {text.txt} --out {new} --deduplicate all", "expected 'near', 'exact' or 'none'"),
    ("prepare {text.txt} --out {new} --workers 0", "--workers: '0': expected at least 1"),
    ("prepare {text.txt} --out {new} --tokenizer {none}/x", "none/x"),
    ("prepare {text.txt} --out {new} --tokenizer {text.txt}", "text.txt"),
    ("prepare {text.txt} --out {new} --tokenizer bpee", "'bpee'; did you mean 'bpe'?"),
    (
        "prepare {text.txt} --out {new} --tokenizer some/one",
        "and the Hub cannot be reached;",
    ),
    ("prepare {text.txt} --out {new} --quality-filter=yes", "--quality-filter"),
    ("prepare {text.txt} --out {new} --tokeniser bytes", "did you mean '--tokenizer'?"),
    (
        "prepare {text.txt} --out {new} --config {text.yaml}",
        "text.yaml:1: text_column = 5: expected",
    ),
    ("prepare --config {data.yaml} --out {new}", "data.yaml:1: data: expected texts"),
    ("prepare --config {out.yaml} {text.txt}", "out.yaml:1: out: expected text; put it in quotes"),
    ("prepare --config {bomb.yaml} {text.txt} --out {new}", "bomb.yaml:1: unknown setting"),
    ("prepare --config {loop.yaml} {text.txt} --out {new}", "loop.yaml:1"),
    ("prepare --config {latin.yaml} {text.txt} --out {new}", "latin.yaml: is not UTF-8 at byte 16"),
    ("prepare hf:// --out {new}", "hf://"),
    ("pretrain", "no --out was given; nextword pretrain [DATA...] --out RUN"),
    ("pretrain --out {new}", "no DATA was given"),
    ("pretrain {text.txt} --out {new} --steps", "--steps: expected one argument"),
    ("pretrain {text.txt} --out {new} --steps many", "--steps: 'many': expected a whole number"),
    ("pretrain {text.txt} --out {new} --steps 0", "--steps: '0': expected at least 1"),
    ("pretrain {text.txt} --out {new} --steps 1.5", "--steps: '1.5': expected a whole number"),
    ("pretrain {text.txt} --out {new} --epochs -1", "--epochs: '-1': expected more than 0"),
    ("pretrain {text.txt} --out {new} --budget soon", "expected a time such as 90s, 10m or 1h30m"),
    ("pretrain {text.txt} --out {new} --budget 0s", "--budget: '0s': expected more than 0"),
    ("pretrain {text.txt} --out {new} --budget 5", "'5': has no unit; write 5s, 5m or 5h"),
    ("pretrain {text.txt} --out {new} --budget 1.5", "has no unit; write 1.5s, 1.5m or 1.5h"),
    ("pretrain {text.txt} --out {new} --budget -5m", "--budget: '-5m': expected a time such as"),
    (
        "pretrain {text.txt} --out {new} --config {unit.yaml}",
        "unit.yaml:1: budget = 5: has no unit",
    ),
    ("plan {text.txt} --budget 5", "has no unit"),
    ("pretrain {text.txt} --out {new} --budget inf", "--budget"),
    ("pretrain {store} --out {new} --steps 3 --epochs 2", "since steps gives the run's length"),
    ("pretrain {store} --out {new} --steps 3 --budget 1m", "--budget"),
    ("pretrain {store} --out {new} --epochs 3 --budget 1m", "since epochs gives the run's length"),
    ("pretrain {store} --out {new} --size 10x", "10x"),
    ("pretrain {store} --out {new} --size enormous", "known are"),
    ("pretrain {store} --out {new} --precision fp16", "expected 'auto', 'bf16' or 'fp32'"),
    ("pretrain {store} --out {new} --optimizer adam", "expected 'muon', 'adamw' or 'sgd'"),
    ("pretrain {store} --out {new} --learning-rate inf", "expected a finite number"),
    ("pretrain {store} --out {new} --learning-rate 0", "expected more than 0"),
    ("pretrain {store} --out {new} --width 33 --heads 2 --steps 1", "heads"),
    ("pretrain {store} --out {new} --size 1m --layers 3 --kv-heads 3 --steps 1", "kv"),
    ("pretrain {store} --out {new} --context-length 99999 --steps 1", "--context-length"),
    ("pretrain {store} --out {new} --log-to wandb --steps 1", "pip install"),
    ("pretrain {store} --out {new} --log-to paper", "expected 'tensorboard', 'wandb' or 'mlflow'"),
    ("pretrain {store} --out {used} --steps 1", "used: exists already; --resume"),
    ("pretrain {store} --out {text.txt} --steps 1", "text.txt: is a file"),
    ("pretrain {store} --out {new} --layer 3", "unknown flag --layer; did you mean '--layers'?"),
    (
        "pretrain {store} --out {new} --qqqq 3",
        "unknown flag --qqqq; see `nextword pretrain --help`",
    ),
    ("pretrain --log-to tensorboard {store} --out {new}", "--log-to takes all words after it"),
    ("pretrain {store} --out {new} --config {none.yaml}", "none.yaml: cannot be read (No such"),
    ("pretrain {store} --out {new} --config {folder}", "folder: cannot be read (Is a directory"),
    (
        "pretrain {store} --out {new} --config {type.yaml}",
        "type.yaml:2: steps = 'many': expected a",
    ),
    ("pretrain {store} --out {new} --config {twice.yaml}", "twice.yaml:3: 'steps' is given twice"),
    ("pretrain {store} --out {new} --config {dashes.yaml}", "dashes.yaml:2: 'batch_size' is given"),
    ("pretrain {store} --out {new} --config {near.yaml}", "near.yaml:1: unknown setting"),
    ("pretrain {store} --out {new} --config {near.yaml}", "did you mean 'batch_size'?"),
    (
        "pretrain {store} --out {new} --config {far.yaml}",
        "unknown setting 'qqqqqq'; nextword pretrain --help lists them",
    ),
    (
        "pretrain {store} --out {new} --config {nested.yaml}",
        "nested.yaml:1: unknown setting 'model'",
    ),
    ("pretrain {store} --out {new} --config {yes.yaml}", "expected a value, not yes or no"),
    ("pretrain {store} --out {new} --config {list.yaml}", "list.yaml:1: expected settings, one"),
    ("pretrain {store} --out {new} --config {scalar.yaml}", "scalar.yaml:1: expected settings"),
    ("pretrain {store} --out {new} --config {broken.yaml}", "broken.yaml:2: is not valid YAML"),
    ("pretrain {store} --out {new} --config {tab.yaml}", "tab.yaml:2: is not valid YAML"),
    ("pretrain {store} --out {new} --config {code.yaml}", "code.yaml:1: is not valid YAML"),
    ("pretrain {store} --out {new} --config {key.yaml}", "key.yaml:1: is not valid YAML"),
    ("generate {model} --config {deep.yaml}", "deep.yaml: is not valid YAML (nested too deep)"),
    ("pretrain {store} --out {new} --config {inf.yaml}", "expected a finite number"),
    ("pretrain {store} --out {new} --config {nan.yaml}", "expected"),
    ("pretrain {store} --out {new} --config {float.yaml}", "steps = 2.5: expected a whole number"),
    ("pretrain {store} --out {new} --config {long.yaml}", "is too long to be a file of settings"),
    ("pretrain {store} --out {new} --config {huge.yaml}", "huge.yaml"),
    ("pretrain {store} --out {new} --config {date.yaml}", "date.yaml:1: steps = "),
    ("pretrain {store} --out {new} --config {json.yaml}", "json.yaml:1: json: expected yes or no"),
    ("evaluate", "no MODEL was given; nextword evaluate MODEL [DATA...] [settings]"),
    ("evaluate {none}/x", "none/x: no such directory"),
    ("evaluate {text.txt}", "text.txt: is a file"),
    ("evaluate {model}", "no held-out text of its own; name some"),
    ("evaluate {model} {none.txt}", "none.txt: no such file"),
    ("evaluate {model} {empty.txt}", "holds no text"),
    ("evaluate {model} {text.txt} --stride 65", "at most 64"),
    ("evaluate {model} {text.txt} --batch-size 0", "--batch-size: '0': expected at least 1"),
    ("evaluate {folder} {text.txt}", "holds no model"),
    ("evaluate {store} {text.txt}", "holds no model"),
    ("evaluate {pickled} {text.txt}", "pickled"),
    ("generate {classifier}", "classifier: classifies texts and cannot write or fill in words"),
    ("chat {classifier}", "classifier: classifies texts and cannot write or fill in words"),
    ("generate", "no MODEL was given; nextword generate MODEL [PROMPT] [settings]"),
    ("generate {model} one two", "'two' is one argument too many; nextword generate MODEL"),
    ("generate {model} --temperature warm", "--temperature: 'warm': expected a number"),
    ("generate {model} --temperature -1", "expected at least 0"),
    ("generate {model} --top-p 1.1", "--top-p: '1.1': expected at most 1"),
    ("generate {model} --max-new-tokens 0", "--max-new-tokens: '0': expected at least 1"),
    ("generate {model} --num-samples 99999", "expected at most 4096"),
    ("generate {model} --repetition-penalty 0", "expected more than 0"),
    ("generate {model} --seed -1", "--seed: '-1': expected at least 0"),
    ("generate --stop END {model}", "--stop takes all words after it: put it last"),
    ("generate {young}", "this run has kept no model yet"),
    ("info", "no PATH was given"),
    ("info {none}", "none: no such file or folder"),
    ("info {folder}", "is not a store"),
    ("info {text.txt}", "is not a store"),
    ("info {pickled}", "holds no .safetensors weights"),
    ("info {young}", "metrics.jsonl:1: is not a record of metrics"),
    ("report", "no RUN was given; nextword report RUN"),
    ("report {none}", "none: no such run"),
    ("report {text.txt}", "is a file, not a run"),
    ("report {folder}", "is not a run"),
    ("report {model}", "is not a run"),
    ("report {young} --out {none}/x", "metrics.jsonl:1"),
]


def words_of(line: str, place: Path, new: Path) -> list[str]:
    line = line.replace("{new}", str(new))
    return [word.replace("{", f"{place}/").replace("}", "") for word in line.split()]


@pytest.mark.parametrize(("line", "expected"), CASES, ids=[line for line, _ in CASES])
def test_a_bad_command_line_gets_one_sentence(
    place: Path, tmp_path: Path, line: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words_of(line, place, tmp_path / "new")) == 2
    captured = capsys.readouterr()
    sentence = captured.err.splitlines()[-1]
    assert sentence.startswith("nextword: ") and expected in sentence
    assert captured.out == "" and len(sentence) < 600
    assert not (tmp_path / "new").exists(), "something half done is left"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("--size 10x", "size '10x' is not known"),
        ("--width 100 --heads 3", "width 100 is not divisible by 3 heads"),
        ("--heads 6 --kv-heads 4 --width 96", "6 heads cannot share 4 key/value heads"),
        ("--width 33 --heads 33", "a head is 1 wide"),
        ("--family gpt2 --heads 4 --kv-heads 2", "gpt2 has a key/value head for every head"),
        ("--objective masked --family llama", "--family takes modernbert or bert"),
        ("--family bert", "--objective causal does not train bert"),
        ("--mask-rate 0.5", "--mask-rate does nothing for --objective causal"),
        ("--objective masked --span-length 5", "leave it out, or take --objective denoise"),
        ("--objective masked --mask-keep 0.6 --mask-random 0.5", "no more than mask_keep leaves"),
        ("--objective masked --fim-rate 0.5", "expected 0 for --objective masked"),
    ],
)
def test_a_model_that_cannot_be_is_refused_before_any_text_is_read(
    place: Path,
    tmp_path: Path,
    flags: str,
    expected: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> None:
    def read(*_: object) -> None:
        raise AssertionError("text was read")

    monkeypatch.setattr("nextword.tokens.prepare.prepare", read)
    line = f"pretrain {{text.txt}} --out {{new}} {flags}"
    assert main(words_of(line, place, tmp_path / "new")) == 2
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_programs_get_errors_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "no/such/model", "--json"]) == 2
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert error["where"] == "no/such/model" and error["what"] in captured.err


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (MemoryError(), "not enough memory for this; try a smaller --batch-size"),
        (torch.OutOfMemoryError("CUDA out of memory."), "not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "not enough memory"),
        (OSError(errno.ENOSPC, "No space left on device", "a/b.bin"), "a/b.bin: the disk is full;"),
        (OSError(errno.EFBIG, "File too large", "a/b.bin"), "a/b.bin: the disk is full;"),
        (PermissionError(errno.EACCES, "Permission denied", "a/b"), "a/b: cannot be used (Permis"),
        (ValueError("two\nlines"), "a bug in nextword, not your mistake: ValueError at test_bad"),
    ],
)
def test_what_nobody_foresaw_is_one_sentence_too(
    raised: Exception, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr("nextword.verbs.info.info", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert main(["info", "x"]) == (2 if isinstance(raised, PermissionError) else 1)
    err = capsys.readouterr().err
    assert err.startswith("nextword: ") and expected in err and err.count("\n") == 1
    details = list(tmp_path.iterdir())
    assert bool(details) == ("bug" in err)
    assert all("Traceback" in file.read_text() and str(file) in err for file in details)


def test_a_reader_that_has_gone_is_no_error(place: Path) -> None:
    command = [sys.executable, "-m", "nextword.cli.main", "generate", str(place / "model")]
    flags = ["--max-new-tokens", "40", "--seed", "1"]
    process = subprocess.Popen(
        [*command, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    assert (process.stderr.read(), process.wait()) == ("", 141)


def test_every_verb_takes_all_it_needs_from_a_file(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = {"data": [str(place / "text.txt")], "tokenizer": "bytes", "workers": 1}
    for verb, values in (
        ("prepare", text | {"out": str(tmp_path / "store")}),
        ("evaluate", {"model": str(place / "model"), "data": str(place / "text.txt")}),
        ("generate", {"model": str(place / "model"), "prompt": "It", "max-new-tokens": 2}),
        ("info", {"path": str(place / "store")}),
    ):
        config = tmp_path / f"{verb}.yaml"
        config.write_text(yaml.safe_dump(values | {"json": True}))
        assert main([verb, "--config", str(config)]) == 0
        assert isinstance(json.loads(capsys.readouterr().out), dict)
    assert (tmp_path / "store" / "manifest.json").is_file()


def test_help_of_every_verb_needs_nothing_heavy() -> None:
    for verb in VERBS:
        code = (
            f"import sys; sys.argv = ['nextword', {verb!r}, '--help']\n"
            "from nextword.cli.main import main\n"
            "try: main()\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'numpy', 'rich', 'yaml', 'transformers'} & set(sys.modules)\n"
            "assert not heavy, heavy"
        )
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
