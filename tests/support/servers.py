"""Servers of small models, on free ports of this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
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
