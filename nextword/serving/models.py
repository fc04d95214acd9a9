"""The models that a server has open: what each can do, and the thread that computes with it."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from nextword.errors import UserError, nearest
from nextword.hub.config import read_config
from nextword.hub.model_files import find_directory
from nextword.inference.engine.engine import Engine, EngineOptions
from nextword.inference.language_model import LanguageModel, load_language_model
from nextword.inference.loading import boundary_ids, sampling_of
from nextword.inference.masked_model import MaskedLanguageModel, load_masked_model
from nextword.models.encoder_decoder import EncoderDecoder, GenerativeModel
from nextword.models.heads import ModelWithHead
from nextword.serving.constraint import Grammars
from nextword.serving.errors import ApiError
from nextword.settings import PredictSettings, ServeSettings
from nextword.tasks.generate.chat_template import ChatTemplate, choose_template, has_template
from nextword.tasks.opening import AnyTask, open_task, task_of
from nextword.tokens.tokenizer import Tokenizer

T = TypeVar("T")
ROUTES = {"classify": "classify", "tag": "tag", "qa": "answer"}  # of tasks, where not their name


@dataclass
class Served:
    """An open model, and what it is: one that goes on with texts (`language_model`), an encoder
    that fills gaps (`masked`), or one that has learned a task (`trained`); the first and the last
    may be one and the same. `engine` batches what is generated; where there is none, jobs run one
    after the other."""

    id: str
    place: str
    body: GenerativeModel
    tokenizer: Tokenizer
    language_model: LanguageModel | None = None
    masked: MaskedLanguageModel | None = None
    trained: AnyTask | None = None
    engine: Engine | None = None
    chat: ChatTemplate | None = None
    created: int = field(default_factory=lambda: int(time.time()))
    stamp: tuple[int, ...] = ()  # of the files that it was read from
    _worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))

    @property
    def task(self) -> str | None:
        return None if self.trained is None else self.trained.name

    @property
    def abilities(self) -> tuple[str, ...]:
        """What can be asked of the model; each is an endpoint."""
        found = ["completions"] if self.engine is not None else []
        found += ["chat"] if self.chat is not None else []
        found += ["embeddings"]
        found += ["fill"] if self.masked is not None else []
        if self.task in ("classify", "tag", "qa", "summarize", "translate"):
            found.append(ROUTES.get(self.task, self.task))
        return tuple(found)

    @property
    def context(self) -> int:
        """How many tokens the model sees at once."""
        return self.body.config.context_length

    @property
    def sampling(self) -> dict[str, Any]:
        """How the model's makers have it write, for what a request leaves open."""
        return {} if self.language_model is None else self.language_model.sampling

    @functools.cached_property
    def end_ids(self) -> frozenset[int]:
        """What texts end with; in conversations, answers too."""
        ends = frozenset() if self.language_model is None else self.language_model.end_ids
        return ends if self.chat is None else ends | self.chat.end_ids()

    @functools.cached_property
    def grammars(self) -> Grammars:
        """What compiles the forms of answers. Raises UserError where the tokenizer does not do."""
        return Grammars(self.tokenizer, self.end_ids)

    def run(self, job: Callable[[], T]) -> Future[T]:
        """Compute with the model, at low priority where it generates; `body` and what is beside it
        must be used in such jobs alone."""
        if self.engine is not None:
            return self.engine.run(lambda _: job())
        return self._worker.submit(job)

    def require_engine(self, what: str) -> Engine:
        """Return the engine. Raises ApiError for a model that cannot generate."""
        if self.engine is None:
            raise ApiError(404, f"{self.id} {what}", param="model", code="unsupported_model")
        return self.engine

    def retire(self) -> None:
        """Close the model once nothing is being written with it any more."""

        def wait() -> None:
            while self.engine is not None and (stats := self.engine.stats).alive:
                if not stats.running and not stats.queued:
                    break
                time.sleep(0.1)
            self.close()

        threading.Thread(target=wait, daemon=True, name=f"retiring {self.id}").start()

    def close(self) -> None:
        if self.engine is not None:
            self.engine.close()
        self._worker.shutdown(wait=False, cancel_futures=True)


def open_served(id: str, place: str | Path, settings: ServeSettings) -> Served:
    """Open a model from a run, a Hugging Face directory or the Hub, for whatever it can do.

    Raises UserError where it cannot be opened.
    """
    directory = find_directory(place)
    if task_of(place) is not None:
        return _open_trained(id, place, directory, settings)
    if not read_config(directory / "config.json").is_generative:
        masked = load_masked_model(place)
        return Served(id, str(place), masked.transformer, masked.tokenizer, masked=masked)
    return _generating(id, load_language_model(place, precision=settings.precision), settings)


def _open_trained(id: str, place: str | Path, directory: Path, settings: ServeSettings) -> Served:
    trained = open_task(place, PredictSettings(precision=settings.precision))
    if isinstance(trained.model, ModelWithHead):
        return Served(id, str(place), trained.body, trained.tokenizer, trained=trained)
    start_id, end_ids = boundary_ids(directory, trained.tokenizer)
    sampling = sampling_of(place, directory)
    model = LanguageModel(str(place), trained.model, trained.tokenizer, start_id, end_ids, sampling)
    return _generating(id, model, settings, trained)


def _generating(
    id: str, model: LanguageModel, settings: ServeSettings, trained: AnyTask | None = None
) -> Served:
    tokenizer, body = model.tokenizer, model.transformer
    if isinstance(body, EncoderDecoder):  # it writes one text of another, in jobs
        return Served(id, model.name, body, tokenizer, language_model=model, trained=trained)
    chat: ChatTemplate | None = None
    if has_template(tokenizer) or (trained and trained.name == "chat"):
        chat = ChatTemplate(tokenizer, choose_template(tokenizer, model.start_id, "en"))
    options = EngineOptions(
        slots=settings.slots,
        max_queue=settings.max_queue,
        fast=settings.fast,
        quantize=settings.quantize,
        threads=settings.threads,
    )
    engine = Engine(model, options)
    return Served(
        id,
        model.name,
        body,
        tokenizer,
        language_model=model,
        trained=trained,
        engine=engine,
        chat=chat,
    )


class Models:
    """The models of a server by name. Those that are not open yet are opened when asked for; one
    whose files have been replaced, as a run does when it has a better model, is opened anew; and
    the one that was used least recently is closed when there are more than `most`."""

    def __init__(
        self,
        places: Mapping[str, str | Path] | Callable[[], Mapping[str, str | Path]],
        settings: ServeSettings,
        most: int = 2,
    ) -> None:
        """`places` are where the models are by name, or what tells that anew each time."""
        self._places = places if callable(places) else lambda: places
        self.settings, self.most = settings, most
        self.open: OrderedDict[str, Served] = OrderedDict()
        self._opening = asyncio.Lock()

    @property
    def places(self) -> dict[str, str | Path]:
        return dict(self._places())

    def open_now(self, name: str) -> Served:
        """Open a model; for use before the server answers."""
        place = self.places[name]
        stamp = stamp_of(place)  # before it is read: what changes meanwhile is read again
        served = open_served(name, place, self.settings)
        served.stamp = stamp
        self.open[name] = served
        return served

    async def get(self, name: str | None = None) -> Served:
        """Return the model of this name; without one, the last used or the first.

        Raises ApiError where there is none, or it cannot be opened.
        """
        places = self.places
        if name is None:
            name = next(reversed(self.open), None) or next(iter(places), None)
            if name is None:
                raise ApiError(404, "there is no model yet", code="model_not_found")
        if name not in places:
            hint = nearest(name, places)
            what = f"no model is called {name[:100]!r}; {hint}"
            raise ApiError(404, what, param="model", code="model_not_found")
        if not self._is_current(name, places[name]):
            async with self._opening:
                if not self._is_current(name, places[name]):
                    await asyncio.to_thread(self._open, name)
        self.open.move_to_end(name)
        return self.open[name]

    def _is_current(self, name: str, place: str | Path) -> bool:
        return name in self.open and self.open[name].stamp == stamp_of(place)

    def _open(self, name: str) -> None:
        old = self.open.get(name)
        try:
            self.open_now(name)
        except UserError as error:
            if old is None:
                raise ApiError(409, f"{name}: {error.what}", param="model") from None
            return  # what is being replaced is tried again at the next request
        if old is not None:
            old.retire()
        while len(self.open) > self.most:
            _, unused = self.open.popitem(last=False)
            unused.retire()

    def close(self) -> None:
        for served in self.open.values():
            served.close()
        self.open.clear()


def stamp_of(place: str | Path) -> tuple[int, ...]:
    """Return what changes when the files of a model's directory are replaced; nothing where the
    model is on the Hub."""
    path = Path(place).expanduser()
    folder = path / "model" if (path / "model").is_dir() else path
    try:
        told = [entry.stat() for entry in (folder, folder / "config.json")]
    except OSError:
        return ()
    return tuple(number for one in told for number in (one.st_ino, one.st_mtime_ns))


def model_id(place: str | Path) -> str:
    """Return what a model is called: a name on the Hub as it is, otherwise the folder's own."""
    path = Path(place).expanduser()
    if not path.is_dir():
        return str(place)
    path = path.resolve()
    return path.parent.name if path.name == "model" else path.name
