"""Requests served in the thread of whoever asks, and for nobody else."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from nextword.inference.cache import decoder_prompts
from nextword.inference.engine.batch import Batch
from nextword.inference.engine.lookup import Lookup
from nextword.inference.engine.prefixes import PrefixStore
from nextword.inference.engine.request import Event, Request
from nextword.inference.engine.row import Row
from nextword.inference.engine.slots import WIDTH, half_of_memory
from nextword.inference.engine.stream import Stream
from nextword.inference.engine.tuning import PROBED_ROWS, Served

ROWS_AT_ONCE = 32
PREFIX_BYTES = 256 * 2**20
LONG_CHUNK = 512  # tokens of prompts in a pass, where their number may change bits


class Writing:
    """A list of requests, as many at once as ROWS_AT_ONCE."""

    def __init__(self, served: Served, requests: Sequence[Request]) -> None:
        """Prepare to serve requests that were checked. Raises UserError where there is no memory
        for what they may need."""
        self._served, self._requests = served, requests
        self._events: list[tuple[int, Event | Exception]] = []
        self._streams = [self._stream(number) for number in range(len(requests))]
        model = served.sourced or served.model
        self._texts = decoder_prompts(model, [request.prompt for request in requests])
        device, exact = served.model.embedding.weight.device, served.setup.exact
        self._slots = max(1, min(len(requests), ROWS_AT_ONCE))
        prefixes = PrefixStore(PROBED_ROWS[-1] if exact else LONG_CHUNK, PREFIX_BYTES)
        self._batch = Batch(served, [], self._slots, prefixes, half_of_memory(device))
        most = WIDTH
        for text, request in zip(self._texts, requests, strict=True):
            self._batch.check_room(replace(request, prompt=text))
            most = max(most, len(text) + request.settings.max_new_tokens)
        cache = self._batch.cache
        cache.limit = min(cache.limit, -(-most // WIDTH) * WIDTH)

    def events(self) -> Iterator[tuple[int, Event]]:
        """Yield what comes of the requests, each with its request's number, until all are over.

        Raises what a request fails with.
        """
        waiting, batch = deque(range(len(self._requests))), self._batch
        while waiting or batch.rows:
            with torch.inference_mode():
                batch.drop_cancelled()
                while waiting and len(batch.rows) < self._slots:
                    batch.admit(self._row(waiting.popleft()))
                if batch.rows:
                    batch.step()
            events, self._events = self._events, []
            for number, event in events:
                if isinstance(event, Exception):
                    raise event
                yield number, event

    def stop(self, number: int) -> None:
        """Generate no more for a request."""
        self._streams[number].cancel()

    def _stream(self, number: int) -> Stream:
        stream = Stream(lambda: None)
        stream.on_event(lambda event: self._events.append((number, event)))
        return stream

    def _row(self, number: int) -> Row:
        served, request, text = self._served, self._requests[number], self._texts[number]
        lookup = Lookup(text, served.setup.lookup_cost)
        begun, order = replace(request, prompt=text), (0, number)
        device = served.model.embedding.weight.device
        row = Row(begun, self._streams[number], order, lookup, served.vocab_size, device)
        row.source = list(request.prompt)
        return row
