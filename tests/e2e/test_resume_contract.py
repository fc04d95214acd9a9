"""A run that was stopped, after any of its steps, leaves the files of one that never was."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from resume_cases import KINDS, Workshop, outcome

from nextword.cli.main import main
from nextword.training import loop
from nextword.verbs import finetune_plan


class DiedError(Exception):
    """What no part of a run expects: nothing is saved when it comes."""


class Lives:
    """Ends the lives of a run: by a signal in their first step or, as a crash would, before the
    second."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._end, self._taken, self._train_step = "", 0, loop.train_step
        monkeypatch.setattr(loop, "train_step", self._step)

    def begin(self, end: str) -> None:
        """Begin a life with another `end`: "crash", "signal" or none."""
        self._end, self._taken = end, 0

    def _step(self, *arguments: Any) -> Any:
        self._taken += 1
        if (self._taken, self._end) == (2, "crash"):
            raise DiedError
        if (self._taken, self._end) == (1, "signal"):
            os.kill(os.getpid(), signal.SIGTERM)
        return self._train_step(*arguments)


@pytest.fixture(scope="session")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    return Workshop(tmp_path_factory.mktemp("workshop"))


@pytest.mark.parametrize("name", KINDS)
def test_a_run_stopped_after_every_step_ends_as_one_that_never_was(
    name: str, workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, run = KINDS[name], tmp_path / "stopped"
    whole = workshop.carry_out(kind, tmp_path / "whole")
    lives, stops = Lives(monkeypatch), 0
    for end in ["crash", "signal"] * 20:  # each step is the last before the one and the other
        lives.begin(end)
        # After a crash the command is repeated, after a signal no more is said than has to be.
        start = workshop.go_on if end == "crash" and stops else workshop.carry_out
        try:
            ended = start(kind, run)
        except DiedError:
            assert end == "crash"
        else:
            if ended.finished:
                break
            assert (end, ended.signal) == ("signal", signal.SIGTERM)
        stops += 1
    assert stops > 2 * (whole.steps - 1) - 1
    found, expected = outcome(run), outcome(tmp_path / "whole")
    assert found.keys() == expected.keys()
    for file, content in expected.items():
        assert found[file] == content, file


def test_a_line_of_the_log_that_means_several_steps_is_the_same_after_a_stop(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = finetune_plan.plan
    monkeypatch.setattr(finetune_plan, "plan", lambda *given: replace(plan(*given), log_every=2))
    kind, losses = KINDS["classes"], []
    lives = Lives(monkeypatch)
    for ends in ([""], ["signal", ""]):
        run = tmp_path / f"run{len(ends)}"
        for end in ends:
            lives.begin(end)
            workshop.carry_out(kind, run)
        lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        losses.append([line["loss"] for line in lines if line["kind"] == "train"])
    assert len(losses[0]) == 2
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("verb", "name"), [("pretrain", "decoder, adamw, cosine"), ("finetune", "classes")]
)
def test_a_command_that_is_stopped_says_how_to_go_on_and_exits_as_a_shell_counts_it(
    verb: str,
    name: str,
    workshop: Workshop,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = [verb, *workshop.command(KINDS[name], tmp_path / "run")]
    lives = Lives(monkeypatch)
    lives.begin("signal")
    with pytest.raises(SystemExit) as ended:
        main(words)
    said = capsys.readouterr().err.splitlines()
    assert ended.value.code == 128 + signal.SIGTERM
    assert all(words in said[-1] for words in ("saved", "at step 1", "--resume"))
    lives.begin("")
    assert main([*words, "--resume"]) == 0
    assert "Going on from step 1 of 4" in capsys.readouterr().err
