from __future__ import annotations

import getpass
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from nextword.cli.main import main
from nextword.resources import available_cores
from nextword.verbs.doctor import doctor, remarks


def run(*words: str, **environment: str) -> dict:
    """The facts as a process of its own tells them, with these variables set."""
    command = [sys.executable, "-m", "nextword.cli.main", "doctor", "--json", *words]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def test_memory_and_cores_are_what_the_system_says() -> None:
    facts = doctor(measure=False)
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert facts["memory"]["total"] == pytest.approx(pages, rel=0.05)
    assert facts["processor"]["cores"] == os.cpu_count()
    assert facts["software"]["Python"] == platform.python_version()
    assert "speed" not in facts


def test_rates_are_measured_for_both_types() -> None:
    rates = doctor()["speed"]
    assert set(rates) == {"fp32 matmul", "bf16 matmul"} and all(rate > 0 for rate in rates.values())


def test_more_threads_than_processors_are_remarked_on() -> None:
    facts = run("--no-measure", OMP_NUM_THREADS=str(4 * available_cores()))
    assert any("OMP_NUM_THREADS" in remark for remark in facts["remarks"])
    assert facts["environment"]["OMP_NUM_THREADS"] == str(4 * available_cores())


def test_what_may_cause_trouble_is_said() -> None:
    facts = doctor(measure=False)
    assert remarks(facts | {"speed": {"fp32 matmul": 2e10, "bf16 matmul": 1e9}}) != []
    assert any("space" in r for r in remarks(facts | {"disk": {"free": 1, "writable": True}}))
    assert any("memory" in r for r in remarks(facts | {"memory": {"free": 1}}))
    software = facts["software"] | {"text encoding": "ascii"}
    assert any("PYTHONUTF8" in remark for remark in remarks(facts | {"software": software}))


def test_a_folder_that_does_not_exist_yet_is_measured_where_it_would_stand(tmp_path: Path) -> None:
    assert doctor(tmp_path / "a" / "b", measure=False)["disk"]["writable"]


def test_nothing_tells_who_asks() -> None:
    told = json.dumps(run("--no-measure"))
    private = {str(Path.home()), platform.node(), str(Path.cwd())} - {"/", ""}
    assert not [word for word in private if f'"{word}' in told or f"{word}/" in told]
    assert f'"{getpass.getuser()}"' not in told


def test_the_screen_has_every_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--no-measure"]) == 0
    shown = capsys.readouterr().err
    assert all(word in shown for word in ("software", "processor", "memory", "disk", "torch"))


def test_the_version_says_what_it_runs_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert platform.python_version() in capsys.readouterr().out
