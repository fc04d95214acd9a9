"""The events of one request, on their way from the engine's thread to whoever waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator

from nextword.inference.engine.request import Event, Finished

Callback = Callable[[Event | Exception], None]


class Stream:
    """The events of a request: scores of the prompt if asked for, tokens, and `Finished`.

    Any thread may read it. The last event is `Finished` or an exception: where the request or the
    engine failed, reading raises it.
    """

    def __init__(self, on_cancel: Callable[[], None]) -> None:
        """Begin without events; `on_cancel` is called once if it is cancelled."""
        self._events: queue.SimpleQueue[Event | Exception] = queue.SimpleQueue()
        self._callback: Callback | None = None
        self._lock = threading.Lock()
        self._on_cancel = on_cancel
        self._is_over = False  # its last event was read
        self.is_cancelled = False

    def __iter__(self) -> Iterator[Event]:
        """Yield events up to the last one, `Finished`."""
        while not self._is_over:
            yield self.get()

    def get(self, timeout: float | None = None) -> Event:
        """Return the next event.

        Raises TimeoutError where there is none after `timeout` seconds, EOFError after the last
        one, and whatever the request failed with.
        """
        if self._is_over:
            raise EOFError("the stream has ended")
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"no token in {timeout} seconds") from None
        if isinstance(event, Exception):
            self._is_over = True
            raise event
        self._is_over = isinstance(event, Finished)
        return event

    def on_event(self, callback: Callback) -> None:
        """Have events given to a function instead: first those that are waiting, then each as it
        comes, on the engine's thread. An exception is given like an event, and is the last one.

        The function must return at once. If it raises, the request is cancelled.
        """
        with self._lock:
            while not self._events.empty():
                callback(self._events.get())
            self._callback = callback

    def cancel(self) -> None:
        """Ask that no more be generated; what follows is `Finished` with "cancelled", unless the
        text ended before."""
        if not self.is_cancelled:
            self.is_cancelled = True
            self._on_cancel()

    def put(self, event: Event | Exception) -> None:
        """Add an event; for the engine's thread."""
        with self._lock:
            if self._callback is None:
                self._events.put(event)
                return
            try:
                self._callback(event)
            except Exception:  # whoever listened is gone
                self._callback = None
                self.is_cancelled = True
