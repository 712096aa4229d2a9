"""A whole run in one process: the real engine, worker, tasks, storage and ledger, and in place of Ray a few threads.

What the real engine asks of Ray is answered here: actors, references, waiting, killing. A killed actor is told to stop
and its answers are lost, but its threads go on, which the end of Ray waits for: one that hangs hangs until the process
ends.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import SimpleNamespace
from typing import Any

import ray.exceptions

from farm import actors, engine, node
from farm.worker import Worker

_ENDING_S = 3.0


class _Method:
    def __init__(self, handle: _Handle, name: str) -> None:
        self._pool = handle.pool
        self._made = handle.made
        self._calls = handle.calls
        self._name = name

    def options(self, **_names: object) -> _Method:
        return self

    def remote(self, *args: object) -> Future[Any]:
        call = self._pool.submit(lambda: getattr(self._made.result(), self._name)(*args))
        self._calls.append(call)
        return call


class _Introduction(_Method):
    def remote(self, *args: object) -> Future[Any]:
        assert args == (node.introduce,)
        return super().remote()


class _Handle:
    """An actor: one thread a call, as Ray gives those of one actor."""

    def __init__(self, context: Any, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads)
        self.made: Future[Worker] = Future()
        self.calls: list[Future[Any]] = []
        threading.Thread(target=self._make, args=(context,), daemon=True).start()

    def _make(self, context: Any) -> None:
        try:
            self.made.set_result(Worker(context))
        except BaseException as error:
            self.made.set_exception(error)

    def __getattr__(self, name: str) -> _Method:
        return _Method(self, name)

    @property
    def __ray_call__(self) -> _Method:
        """A function of the engine's that is called with the worker; there is one, and no node to be found out."""
        return _Introduction(self, "info")

    def kill(self) -> None:
        if self.made.done() and not self.made.exception():
            self.made.result().stop()
        self.pool.shutdown(wait=False, cancel_futures=True)


class _Remote:
    """As ray.remote(Worker)."""

    def __init__(self) -> None:
        self.handles: list[_Handle] = []

    def options(self, *, max_concurrency: int, **_resources: object) -> SimpleNamespace:
        def start(context: Any) -> _Handle:
            self.handles.append(_Handle(context, max_concurrency))
            return self.handles[-1]

        return SimpleNamespace(remote=start)


class _TaskError(ray.exceptions.RayTaskError):
    """As Ray hands on what an actor raised."""

    def __init__(self, cause: BaseException) -> None:
        self.cause = cause

    def __str__(self) -> str:
        return f"{type(self.cause).__name__}: {self.cause}"


class _Session:
    """As farm.session.Session."""

    def __init__(self, remote: _Remote) -> None:
        self._remote = remote
        self.on_connected: Callable[[], None] = lambda: None
        self.on_terminated: Callable[[], None] = lambda: None
        self.head = None
        self.dashboard = ""

    def connect(self) -> None:
        self.on_connected()

    def disconnect(self) -> None:
        """After it nothing is in work, as where processes are killed; but what hangs."""
        wait([call for handle in self._remote.handles for call in handle.calls], _ENDING_S)

    def abandon(self) -> None:
        """There is nothing to end."""

    break_off = abandon


def _get(reference: Future[Any]) -> Any:
    try:
        return reference.result()
    except Exception as error:
        raise _TaskError(error) from error


def _wait(references: Sequence[Future[Any]], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
    found = wait(references, timeout, "FIRST_COMPLETED" if num_returns == 1 else "ALL_COMPLETED")
    ready = [one for one in references if one in found.done][:num_returns]
    return ready, [one for one in references if one not in ready]


def install() -> None:
    """From now on runs of this process start no Ray."""
    kill = lambda handle, no_restart: handle.kill()  # noqa: E731
    engine.ray = actors.ray = SimpleNamespace(wait=_wait, get=_get, kill=kill)
    remote = actors._RemoteWorker = _Remote()
    engine.Session = lambda *_, **__: _Session(remote)
