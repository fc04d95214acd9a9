from __future__ import annotations

import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from nextword.errors import UserError
from nextword.tasks.generate import rendering
from nextword.tasks.generate.chat_template import CHATML
from nextword.tasks.generate.rendering import MARK, Renderer


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    processes: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(start(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(rendering.subprocess, "Popen", popen)
    return processes


def test_one_process_renders_turn_after_turn(started: list[subprocess.Popen[bytes]]) -> None:
    renderer = Renderer(CHATML)
    for turns in range(1, 30):
        (text,) = renderer.render([(["user"] * turns, True)])
        assert text.count(MARK) == 2 * turns
    assert len(started) == 1
    del renderer
    assert started[0].wait(10) is not None, "it ends with the last who needs it"


def test_a_template_that_is_too_much_is_stopped_and_the_next_one_is_rendered(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 1)
    endless = (
        "{% if messages | length > 1 %}{% set r = range(99999) %}{% for a in r %}"
        "{% for b in r %}{% endfor %}{% endfor %}{% else %}short{% endif %}"
    )
    renderer = Renderer(endless)
    for _ in range(2):
        assert renderer.render([(["user"], True)]) == ["short"]
        with pytest.raises(UserError, match="too much time or memory"):
            renderer.render([(["user", "user"], True)])
    assert len(started) == 2


@pytest.mark.skipif(not Path("/proc/self/stat").is_file(), reason="reads the time from /proc")
def test_the_time_is_bounded_of_each_rendering_not_of_all(
    started: list[subprocess.Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rendering, "SECONDS", 2)
    busy = "{% for a in range(30) %}{% for b in range(30000) %}{% endfor %}{% endfor %}done"
    renderer = Renderer(busy)
    while len(started) < 1 or cpu_seconds(started[0].pid) < 3:
        assert renderer.render([(["user"], True)]) == ["done"]
    assert len(started) == 1


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_threads_take_turns() -> None:
    renderer, texts = Renderer(CHATML), dict[int, str]()

    def render(turns: int) -> None:
        (texts[turns],) = renderer.render([(["user"] * turns, False)])

    threads = [threading.Thread(target=render, args=(turns,)) for turns in range(1, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(text.count(MARK) == 2 * turns for turns, text in texts.items())
    assert len(texts) == 19
