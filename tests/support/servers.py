"""Servers of small models, on free ports of this machine."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from openai import OpenAI

from nextword.serving.app import make_app
from nextword.serving.models import Models
from nextword.serving.server import Running, address_of, listen
from nextword.settings import ServeSettings


@contextmanager
def served(model: Path, keep: list[Running] | None = None, **settings: Any) -> Iterator[str]:
    """A server of a model, on a free port: its address; what runs is added to `keep`."""
    torch.set_num_threads(1)
    chosen = ServeSettings(**{"port": 0, **settings})
    listening = listen(chosen)
    models = Models({"tiny": model}, chosen)
    models.open_now("tiny")
    running = Running(make_app(models, chosen))
    if keep is not None:
        keep.append(running)
    thread = threading.Thread(target=running.run, args=([listening],))
    thread.start()
    try:
        yield address_of(listening)
    finally:
        running.stop()
        thread.join(20)
        assert not thread.is_alive()


def client(address: str, key: str = "none", strict: bool = True) -> OpenAI:
    return OpenAI(
        base_url=f"{address}/v1", api_key=key, max_retries=0, _strict_response_validation=strict
    )


@contextmanager
def process(
    model: Path,
    *words: str,
    nextword: Sequence[str | Path] = (sys.executable, "-m", "nextword.cli.main"),
    **options: Any,
) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`nextword serve` in a process of its own: its address, and the process. `nextword` is how the
    command is called, `options` are Popen's."""
    command = [*nextword, "serve", str(model), "--port", "0", "--name", "tiny", *words]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **options)
    assert running.stderr is not None
    line = ""
    while "http://" not in line:
        line = running.stderr.readline()
        assert line, "it has ended"
    drain = threading.Thread(target=running.stderr.read, daemon=True)
    drain.start()
    try:
        yield "http://" + line.partition("http://")[2].split()[0], running
    finally:
        running.send_signal(signal.SIGINT)
        try:
            running.wait(20)
        finally:
            running.kill()
