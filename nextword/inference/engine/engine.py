"""The engine: one thread that owns a model and serves many requests at once.

Continuous batching (Yu et al. 2022): requests join and leave between steps. Long prompts are
computed in chunks between the others' tokens (Agrawal et al. 2023).
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from nextword.errors import UserError
from nextword.inference.engine.batch import Batch
from nextword.inference.engine.lookup import Lookup
from nextword.inference.engine.prefixes import PrefixStore
from nextword.inference.engine.request import Request, check_request
from nextword.inference.engine.row import Row
from nextword.inference.engine.slots import half_of_memory
from nextword.inference.engine.stream import Stream
from nextword.inference.engine.threads import end_helpers
from nextword.inference.engine.tuning import Quantize, prepare
from nextword.models.encoder_decoder import EncoderDecoder

if TYPE_CHECKING:
    from nextword.inference.language_model import LanguageModel

T = TypeVar("T")
STEPS_BETWEEN_JOBS = 4  # a job waits for so many steps, so that jobs cannot stop all generating


class QueueFull(UserError):
    """More requests wait than may."""


class EngineStopped(UserError):
    """The engine was closed, or has failed."""


@dataclass(frozen=True)
class EngineOptions:
    """How to serve. `slots` requests are served at once and `max_queue` wait; prompts are computed
    `chunk` tokens at a time, and `prefix_bytes` of them are kept for others that begin alike. The
    slots' cache grows with the texts to at most `cache_bytes`, by default half of the machine's
    memory.

    Unless `fast`, a text does not depend on who else is served, to the last bit. `threads` are
    chosen by measurement if not given; "auto" quantizes where that is faster and changes little.
    With `lookup`, what the text foretells is guessed while one request is served alone, which
    changes no bit either.
    """

    slots: int = 16
    max_queue: int = 256
    chunk: int = 64
    fast: bool = False
    quantize: Quantize = "none"
    threads: int | None = None
    lookup: bool = True
    prefix_bytes: int = 256 * 2**20
    cache_bytes: int | None = None


@dataclass(frozen=True)
class EngineStats:
    """What the engine has done and is doing. `last_step_at` is when it took its last step, or had
    something to do again, in seconds of time.monotonic; `looked_up` are
    generated tokens that were guessed from earlier text."""

    alive: bool
    error: BaseException | None
    slots: int
    running: int
    queued: int
    prompt_tokens: int
    generated_tokens: int
    steps: int
    last_step_at: float
    cached_tokens: int
    cancelled: int
    looked_up: int


class Engine:
    """Serves requests with a generative model, in a thread of its own."""

    def __init__(self, model: LanguageModel, options: EngineOptions | None = None) -> None:
        """Start the thread. Raises UserError for a model or options that cannot be served."""
        self.model, self.options = model, options or EngineOptions()
        options = self.options
        if options.slots < 1 or options.chunk < 1 or options.max_queue < 0:
            raise UserError("an engine needs at least one slot, and chunks of at least one token")
        if isinstance(model.transformer, EncoderDecoder):
            raise UserError(
                f"is an encoder–decoder ({model.transformer.config.family}), which the engine "
                "does not serve",
                where=model.name,
                mend="use `nextword generate` or `nextword predict`",
            )
        self._transformer = model.transformer.eval()
        self._vocab_size = min(model.tokenizer.vocab_size, self._transformer.config.vocab_size)
        self._rows: list[Row] = []  # being served
        self._wake = threading.Condition()
        self._waiting: list[Row] = []  # in the order in which they will be served
        self._jobs: deque[tuple[Callable[[LanguageModel], Any], Future[Any]]] = deque()
        self._arrivals = self._steps = self._steps_since_job = 0
        self._prompt_tokens = self._generated = self._cached = self._cancelled = 0
        self._is_closing = False
        self._error: BaseException | None = None
        self._last_step_at = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._ready = threading.Event()
        end_helpers()
        self._thread.start()
        self._ready.wait()
        if self._error is not None:
            raise self._error
        atexit.register(self.close)  # a thread that PyTorch computes in must not outlive Python

    def submit(self, request: Request) -> Stream:
        """Queue a request; return the stream of its events.

        Raises UserError for a request that does not fit the model, QueueFull where too many wait,
        and EngineStopped where nobody would serve it.
        """
        check_request(request, self._transformer, self._vocab_size)
        self._batch.check_room(request)
        stream = Stream(self._notify)
        with self._wake:
            self._check_alive()
            free = self.options.slots - len(self._rows)
            if len(self._waiting) >= self.options.max_queue + max(free, 0):
                raise QueueFull(
                    f"{len(self._waiting):,} requests are waiting, and no more may",
                    mend="try again later",
                )
            self._arrivals += 1
            order = (-request.priority, self._arrivals)
            device = self._transformer.embedding.weight.device
            cost = self.setup.lookup_cost if self.options.lookup else math.inf
            lookup = Lookup(request.prompt, cost)
            row = Row(request, stream, order, lookup, self._vocab_size, device)
            if not (self._rows or self._waiting):  # idle until now, which is no standstill
                self._last_step_at = time.monotonic()
            self._waiting.append(row)
            self._waiting.sort(key=lambda row: row.order)
            self._wake.notify()
        return stream

    def run(self, job: Callable[[LanguageModel], T]) -> Future[T]:
        """Have the engine's thread call a function with the model, between steps.

        Raises EngineStopped where nobody would call it.
        """
        future: Future[T] = Future()
        with self._wake:
            self._check_alive()
            self._jobs.append((job, future))
            self._wake.notify()
        return future

    @property
    def stats(self) -> EngineStats:
        """Return what the engine has done so far and is doing."""
        return EngineStats(
            alive=self._error is None and not self._is_closing and self._thread.is_alive(),
            error=self._error,
            slots=self.options.slots,
            running=len(self._rows),
            queued=len(self._waiting),
            prompt_tokens=self._prompt_tokens,
            generated_tokens=self._generated,
            steps=self._steps,
            last_step_at=self._last_step_at,
            cached_tokens=self._cached,
            cancelled=self._cancelled,
            looked_up=self._batch.looked_up,
        )

    def close(self) -> None:
        """Cancel what is being served and end the thread."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        if threading.current_thread() is not self._thread:
            self._thread.join()
            atexit.unregister(self.close)

    def _notify(self) -> None:
        with self._wake:
            self._wake.notify()

    def _check_alive(self) -> None:
        if self._error is not None:
            raise EngineStopped(f"the engine has stopped: {self._error}", mend="start it again")
        if self._is_closing:
            raise EngineStopped("the engine is closed")

    def _run(self) -> None:
        try:
            with torch.inference_mode():
                self._start()
                while not self._is_closing:
                    self._wait()
                    self._drop_cancelled()
                    self._admit()
                    self._step()
                    self._run_job()
        except BaseException as error:
            self._error = error
        self._end_all()

    def _start(self) -> None:
        options = self.options
        served = prepare(
            self._transformer,
            self.model.tokenizer,
            options.quantize,
            options.threads,
            exact=not options.fast,
        )
        self.setup = served.setup
        prefixes = PrefixStore(options.chunk, options.prefix_bytes)
        most = options.cache_bytes or half_of_memory(self._transformer.embedding.weight.device)
        self._batch = Batch(served, self._rows, options.slots, prefixes, most)
        self._ready.set()

    def _wait(self) -> None:
        with self._wake:
            while not (self._rows or self._waiting or self._jobs or self._is_closing):
                self._wake.wait()

    def _drop_cancelled(self) -> None:
        for row in self._batch.drop_cancelled():
            self._cancel(row)
        with self._wake:
            dropped = [row for row in self._waiting if row.stream.is_cancelled]
            if dropped:
                self._waiting = [row for row in self._waiting if not row.stream.is_cancelled]
        for row in dropped:
            self._cancel(row)

    def _cancel(self, row: Row) -> None:
        self._cancelled += 1
        row.stream.put(row.finish("cancelled"))

    def _admit(self) -> None:
        batch = self._batch
        while self._waiting and len(batch.rows) < self.options.slots:
            with self._wake:
                row = self._waiting.pop(0)
            batch.admit(row)
            self._cached += row.cached
            self._prompt_tokens += row.cached

    def _step(self) -> None:
        if not self._batch.rows:
            return
        generated, read = self._batch.step()
        self._generated += generated
        self._prompt_tokens += read
        self._steps += 1
        self._steps_since_job += 1
        self._last_step_at = time.monotonic()

    def _run_job(self) -> None:
        if not self._jobs or (self._rows and self._steps_since_job < STEPS_BETWEEN_JOBS):
            return
        job, future = self._jobs.popleft()
        self._steps_since_job = 0
        if not future.set_running_or_notify_cancel():
            return
        try:
            future.set_result(job(self.model))
        except Exception as error:
            future.set_exception(error)

    def _end_all(self) -> None:
        """Tell all who wait that nothing more comes."""
        self._ready.set()
        with self._wake:
            self._is_closing = True
            rows, jobs = [*self._rows, *self._waiting], list(self._jobs)
            self._waiting, self._rows[:] = [], []
            self._jobs.clear()
        for row in rows:
            if self._error is None:
                self._cancel(row)
            else:
                row.stream.put(EngineStopped(f"the engine has stopped: {self._error}"))
        for _, future in jobs:
            future.set_exception(EngineStopped("the engine has stopped"))
