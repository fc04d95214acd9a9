"""The workers of a Ray cluster: the stages of `prepare` on many machines, with the same result.

Every task is a Ray Core task. Text stays in files that all nodes see; only paths, counts and small
arrays travel. A task whose worker or node is lost runs again elsewhere: each writes its file in one
step, and the same bytes whenever it runs.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import nextword
from nextword.errors import UserError
from nextword.files import write_atomically
from nextword.terminal import count_of, say
from nextword.text.document import short_reason
from nextword.tokens.workers import Result, Workers, run_task

RETRIES = 8  # of a task whose worker or node was lost; one that brings down every worker must end
_CONNECT_SECONDS = 5.0
_PROBE_SECONDS = 60.0  # for which the first answer of a node is waited
_MEND = "start one with `ray start --head`, or give its address with --cluster"


class RayWorkers(Workers):
    """The processors of all nodes of a cluster, or at most `count` of them at once.

    `address` is Ray's: "auto" is the cluster that this machine belongs to. Raises UserError where
    Ray is not installed, no cluster answers, or a node lacks nextword or does not see `work`.
    """

    shares_memory = False

    def __init__(self, address: str, count: int | None, work: Path) -> None:
        self.address, self.work = address, work.absolute()
        self.count = count or 0
        self._ray = _import_ray()
        self._folder = str(Path.cwd())  # that names of files begin from
        self._is_own = False  # the connection to the cluster

    def __enter__(self) -> Self:
        self._is_own = not self._ray.is_initialized()
        if self._is_own:
            with _keeping_signals(), self._explaining():
                _knock(self.address)
                self._ray.init(self.address, log_to_driver=True, logging_level="error")
        try:
            nodes = [n["NodeID"] for n in self._ray.nodes() if n["Alive"] and _cpus(n)]
            processors = int(sum(_cpus(n) for n in self._ray.nodes() if n["Alive"]))
            self.count = min(self.count or processors, max(processors, 1))
            self._probe(nodes)
        except BaseException:
            self.__exit__()
            raise
        say(f"On {count_of(len(nodes), 'node')} of a Ray cluster, {self.count:,} tasks at once")
        return self

    def __exit__(self, *details: object) -> None:
        if self._is_own:
            self._ray.shutdown()  # ends what this process has started there

    def submit(self, function: Callable[..., Result], *arguments: Any) -> Callable[[], Result]:
        remote = self._ray.remote(_run_on_node).options(max_retries=RETRIES)
        reference = remote.remote(self._folder, function, *arguments)
        return lambda: self._result(reference)

    def _result(self, reference: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(reference)
        except errors.RayTaskError as error:
            raise error.cause from None
        except errors.RayError as error:
            raise UserError(
                f"a task was lost {RETRIES + 1} times over with its worker "
                f"({type(error).__name__}), perhaps for want of memory",
                where=f"the Ray cluster {self.address}",
                mend="run the same command again to go on from here, with fewer --workers",
            ) from None

    @contextlib.contextmanager
    def _explaining(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # of many kinds: versions that differ, nobody there, a bad name
            where = f"the Ray cluster {self.address}"
            what = f"cannot be reached ({short_reason(error)})"
            raise UserError(what, where=where, mend=_MEND) from None

    def _probe(self, nodes: list[str]) -> None:
        """Ask each node for its nextword, and for a file that was just written here."""
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        token = self.work / f"probe-{uuid.uuid4().hex}"
        write_atomically(token, token.name)
        try:
            answers = [
                self._ray.remote(_answer)
                .options(
                    num_cpus=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
                )
                .remote(self._folder, str(token))
                for node in nodes
            ]
            for answer in answers:
                self._check(answer)
        finally:
            token.unlink(missing_ok=True)

    def _check(self, answer: Any) -> None:
        errors, where = self._ray.exceptions, f"the Ray cluster {self.address}"
        mend = f"install nextword {nextword.__version__} on all its nodes"
        try:
            version, name, unseen = self._ray.get(answer, timeout=_PROBE_SECONDS)
        except errors.GetTimeoutError:
            what = f"a node does not answer within {_PROBE_SECONDS:.0f} s"
            raise UserError(what, where=where, mend="look at it with `ray status`") from None
        except errors.RayError as error:
            what = f"a node cannot run nextword ({short_reason(error)})"
            raise UserError(what, where=where, mend=mend) from None
        if version != nextword.__version__:
            raise UserError(f"has nextword {version}", where=f"node {name}", mend=mend)
        if unseen:
            what = f"does not see {Path(unseen).parent if unseen != self._folder else unseen}"
            mend = "name files, and an --out, on a file system that all nodes share"
            raise UserError(what, where=f"node {name}", mend=mend)


def _import_ray() -> Any:
    try:
        import ray
        import ray.exceptions
    except ImportError:
        raise UserError(
            "needs the package ray", where="--cluster", mend="pip install nextword[cluster]"
        ) from None
    return ray


def _knock(address: str) -> None:
    """Raise OSError or ValueError where nobody listens: Ray itself would wait for minutes."""
    if address != "auto":
        host, _, port = address.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_SECONDS).close()


def _cpus(node: dict[str, Any]) -> float:
    return float(node["Resources"].get("CPU", 0))


@contextlib.contextmanager
def _keeping_signals() -> Iterator[None]:
    """Undo what Ray does to the handlers of signals: stopping is `interruptible`'s to do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_on_node(folder: str, function: Callable[..., Result], *arguments: Any) -> Result:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # a task has one processor
    os.chdir(folder)
    return run_task(function, *arguments)


def _answer(*places: str) -> tuple[str, str, str]:
    """Return this node's version of nextword, its name, and the first place it does not see."""
    unseen = next((place for place in places if not Path(place).exists()), "")
    return nextword.__version__, platform.node(), unseen
