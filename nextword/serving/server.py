"""Runs an application: uvicorn, on an address that is checked, with patience for no one."""

from __future__ import annotations

import errno
import ipaddress
import logging
import socket
from asyncio import TimerHandle, Transport
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from nextword.errors import UserError
from nextword.serving.app import make_app
from nextword.serving.limits import SLOWEST
from nextword.serving.models import Models, model_id
from nextword.serving.security import is_loopback
from nextword.serving.shelf import Shelf, find_runs
from nextword.settings import ServeSettings, with_overrides
from nextword.terminal import say

GRACE = 5  # seconds that answers may still take when the server is stopped


class Impatient(H11Protocol):
    """Closes a connection on which no whole request head arrives in time; uvicorn alone would
    wait for ever."""

    _closing: TimerHandle | None = None

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        requests = self.cycle
        if self._closing is None and not self._is_answering:
            self._wait()
        super().data_received(data)
        if self.cycle is not requests:  # the head is whole; Limits bounds the body
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._closing = self.loop.call_later(SLOWEST, self._close)

    def _stop_waiting(self) -> None:
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None

    def _close(self) -> None:
        self._closing = None
        if not self._is_answering and not self.transport.is_closing():
            self.transport.close()

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete


def serve(model: str | Path, settings: ServeSettings | None = None, **overrides: Any) -> None:
    """Serve a model over HTTP until it is interrupted: OpenAI's API, and a page that opens it.

    `model` may be a run that is still under way, whose best model so far is served, or a folder of
    runs, each by its path in it. Raises UserError where the model cannot be opened, the address is
    not free, or it can be reached from elsewhere and there is no key.
    """
    settings = with_overrides(ServeSettings, settings, overrides)
    settings = with_key(settings)
    listening = listen(settings)
    try:
        models, shelf = open_models(model, settings)
        try:
            what = ", ".join(models.open) or "a run that has no model yet"
            for name, served in models.open.items():
                if served.engine is not None:
                    say(f"{name}: {served.engine.setup}")
            say(f"{address_of(listening)} answers for {what}; Ctrl-C stops it")
            Running(make_app(models, settings, shelf)).run([listening])
        finally:
            models.close()
    finally:
        listening.close()


def open_models(model: str | Path, settings: ServeSettings) -> tuple[Models, Shelf | None]:
    """Return the models of a run, of a folder of runs or of a model alone, the newest one open, and
    the runs where there are some. Raises UserError where there is no model, and none will come."""
    path = Path(model).expanduser()
    runs = find_runs(path) if path.is_dir() else {}
    if not runs:
        models = Models({settings.name or model_id(model): model}, settings)
        models.open_now(next(iter(models.places)))
        return models, None
    shelf = Shelf(path)
    places: Callable[[], Mapping[str, Path]] = shelf.models
    if settings.name is not None:
        if len(runs) > 1:
            raise UserError("several runs are served", where="--name", mend="leave it out")
        places = partial(_renamed, shelf, settings.name)
    models = Models(places, settings)
    newest = max(places().items(), key=lambda pair: pair[1].stat().st_mtime, default=None)
    if newest is not None:
        models.open_now(newest[0])
    return models, shelf


def _renamed(shelf: Shelf, name: str) -> dict[str, Path]:
    return dict(zip([name], shelf.models().values(), strict=False))  # none, or one


def with_key(settings: ServeSettings) -> ServeSettings:
    """Return settings with the key that their file holds. Raises UserError where one is needed and
    none is there."""
    if settings.key_file is not None:
        try:
            key = Path(settings.key_file).expanduser().read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            what = f"cannot be read ({getattr(error, 'strerror', 'it is not UTF-8')})"
            raise UserError(what, where=settings.key_file) from None
        settings = with_overrides(ServeSettings, settings, {"key": key})
    if settings.key is None and not is_loopback(settings.host):
        raise UserError(
            f"{settings.host} can be reached from other machines, and there is no key",
            where="--host",
            mend="give --key-file FILE, whose content requests must carry, or leave --host out",
        )
    if settings.key is not None and not (settings.key.isascii() and settings.key.isprintable()):
        raise UserError("the key holds what no header can", mend="take letters and digits")
    return settings


def listen(settings: ServeSettings) -> socket.socket:
    """Return a socket that listens. Raises UserError where the address is not free."""
    host, port = settings.host, settings.port
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
        listening = socket.socket(family, kind, protocol)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        what = "is in use" if taken else f"cannot be listened at ({error.strerror})"
        mend = "choose another --port, or 0 for any that is free" if taken else "check --host"
        raise UserError(what, where=f"{host}:{port}", mend=mend) from None
    return listening


class Running:
    """An application that answers; `stop` ends it from any thread."""

    def __init__(self, app: FastAPI) -> None:
        self.server = uvicorn.Server(
            uvicorn.Config(
                app,
                http=Impatient,
                ws="none",
                loop="asyncio",
                access_log=False,
                log_config=None,
                server_header=False,
                timeout_graceful_shutdown=GRACE,
            )
        )

    def run(self, sockets: list[socket.socket]) -> None:
        """Answer until it is stopped, or the process interrupted."""
        logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
        logging.getLogger("asyncio").addFilter(_is_news)
        self.server.run(sockets=sockets)

    def stop(self) -> None:
        self.server.should_exit = True


def _is_news(record: logging.LogRecord) -> bool:
    """Whether a line of asyncio's log is worth reading: that a client has left is not."""
    return "socket.send() raised exception" not in record.getMessage()


def address_of(listening: socket.socket) -> str:
    """Return the address that a browser is given."""
    host, port = listening.getsockname()[:2]
    address = ipaddress.ip_address(host)
    shown = f"[{host}]" if address.version == 6 else host
    return f"http://{'localhost' if address.is_unspecified else shown}:{port}"
