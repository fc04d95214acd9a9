from __future__ import annotations

import itertools
import random
import resource
import time
from pathlib import Path
from typing import Any

import pytest

from nextword.cli import options
from nextword.cli.main import VERBS, load_command, main
from nextword.cli.options import read_config
from nextword.errors import UserError
from nextword.settings import PretrainSettings, resolve

CONFIG = """# settings of a run
steps: 200
val-fraction: 0.1
languages: [en, zh]
tokenizer: "bpe"
size: 10m
stop:
  - one
  - 'two'
notes: |
  several
  lines
"""
PARTS = ["[", "{", "&a ", "*a ", "<<: ", "? ", "- ", "!!python/name:os.system ", "!!int ", "\t"]
PARTS += ["2001-99-99", "1e999", "\u2028", "\x85", "%YAML 9.9\n---\n", "...", "\ud83d", "\0", ": "]


def mutated(text: str, rng: random.Random) -> bytes:
    damaged = bytearray(text.encode())
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        place = rng.randrange(len(damaged) + 1)
        match rng.randrange(5):
            case 0:
                damaged[place : place + 1] = rng.randbytes(1)
            case 1:
                del damaged[place : place + rng.randrange(1, 30)]
            case 2:
                part = rng.choice(PARTS).encode("utf-8", "surrogatepass")
                damaged[place:place] = part * rng.choice([1, 1, 3, 300, 3000])
            case 3:
                start = rng.randrange(len(damaged) + 1)
                damaged[place:place] = damaged[start : start + 40]
            case 4:
                damaged[place:place] = rng.randbytes(rng.randrange(1, 9))
    return bytes(damaged)


def read_damaged(count: int, folder: Path) -> dict[str, float]:
    path, rng = folder / "config.yaml", random.Random(1)
    read = refused = longest = 0.0
    for _ in range(count):
        path.write_bytes(mutated(CONFIG, rng))
        started = time.process_time()
        try:
            values, places = read_config(path)
            read += 1
            resolve(PretrainSettings, values, places)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and len(str(error)) < 1500
        longest = max(longest, time.process_time() - started)
    return {"read": read, "refused": refused, "longest": longest}


def test_a_damaged_configuration_is_read_or_refused(tmp_path: Path) -> None:
    counts = read_damaged(200, tmp_path)
    assert counts["refused"] > 50 and counts["longest"] < 5


@pytest.mark.slow(cases=10_000)
def test_ten_thousand_damaged_configurations_are_read_or_refused(tmp_path: Path) -> None:
    read_damaged(100, tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    counts = read_damaged(10_000, tmp_path)
    print(counts)
    assert counts["longest"] < 5
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= 2 * before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("steps: 200\nsteps: 300\n", "config.yaml:2: 'steps' is given twice"),
        ("- steps\n", "config.yaml:1: expected settings"),
        ("steps: [1\n", "is not valid YAML"),
        ("? [a, b]\n: 1\n", "is not valid YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
        ("a: " + "[" * 5000 + "\n", "is not valid YAML"),
        ("a: '" + "x" * 2_000_000 + "'\n", "is too long"),
    ],
)
def test_a_configuration_that_cannot_be_meant_is_named(
    text: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_config(tmp_path / "config.yaml")
    assert words in str(caught.value) and len(str(caught.value)) < 400


# For each verb its positionals, in their order, and flags of every kind beside them.
LINES: dict[str, tuple[dict[str, Any], list[list[str]]]] = {
    "prepare": ({"data": ["a", "b"]}, [["--out", "s"], ["--clean"], ["--similarity", "0.9"]]),
    "plan": ({"data": ["a", "b"]}, [["--threads", "2"], ["--json"], ["--budget=10m"]]),
    "pretrain": ({"data": ["a", "b"]}, [["--out", "r"], ["--resume"], ["--budget=10m"]]),
    "finetune": ({"model": "m", "data": ["a", "b"]}, [["--out", "r"], ["--lora"], ["--task=qa"]]),
    "predict": ({"model": "m", "data": ["a", "b"]}, [["--out", "f"], ["--num-beams", "2"]]),
    "compare": ({"first": "m", "second": "n", "data": ["a", "b"]}, [["--json"], ["--seed=5"]]),
    "evaluate": ({"model": "m", "data": ["a", "b"]}, [["--json"], ["--stride", "8"]]),
    "generate": ({"model": "m", "prompt": "a b"}, [["--temperature", "0.7"], ["--seed=5"]]),
    "trace": ({"run": "r", "text": "a b"}, [["--top", "3"], ["--json"]]),
    "fill": ({"model": "m", "text": "a b"}, [["--top-k", "3"], ["--json"]]),
    "chat": ({"model": "m"}, [["--system", "s"], ["--seed=5"]]),
    "serve": ({"model": "m"}, [["--port", "0"], ["--json"]]),
    "export": ({"model": "m"}, [["--out", "f"], ["--quantize=q8_0"]]),
    "info": ({"path": ["p", "q"]}, [["--json"], ["--task=qa"]]),
    "report": ({"run": "r"}, [["--out", "f"], ["--json"]]),
    "doctor": ({"folder": "f"}, [["--no-measure"], ["--json"]]),
}


def understood(line: list[str]) -> dict[str, Any]:
    """What a command line is taken for: its words and settings."""
    _, parser = load_command(line[0])
    return vars(options.parse_mixed(parser, line[1:]))


@pytest.mark.parametrize("verb", VERBS)
def test_flags_and_positionals_may_stand_in_any_order(verb: str) -> None:
    positionals, flags = LINES[verb]
    words = [w for v in positionals.values() for w in (v if isinstance(v, list) else [v])]
    expected = understood([verb, *words, *itertools.chain(*flags)])
    assert {name: expected[name] for name in positionals} == positionals
    for places in itertools.product(range(len(words) + 1), repeat=len(flags)):
        line = [
            part
            for place in range(len(words) + 1)
            for part in [
                *(f for at, flag in zip(places, flags, strict=True) if at == place for f in flag),
                *words[place : place + 1],
            ]
        ]
        assert understood([verb, *line]) == expected, line


@pytest.mark.parametrize("verb", VERBS)
def test_words_after_two_dashes_are_no_flags(verb: str) -> None:
    positionals, flags = LINES[verb]
    last = list(positionals)[-1]
    before = [positionals[name] for name in list(positionals)[:-1]]
    for line in ([*before, *flags[0], "--", "--odd"], [*flags[0], "--", *before, "--odd"]):
        parsed = understood([verb, *line])
        assert parsed[last] in ("--odd", ["--odd"]) and all(parsed[n] for n in positionals)


def test_a_prompt_may_follow_a_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["generate", "no/such", "--temperature", "0.7", "a prompt"]) == 2
    assert "no/such" in capsys.readouterr().err
