"""Of what a worker died: what Ray says, and where it says too little, whether the worker's node still answers."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import ray.exceptions as rx

from farm import node
from farm.head import HeadWatch
from farm.node import Nodes
from farm.schedule import DeathCause

HERE = "127.0.0.1"
CRASHED = rx.WorkerCrashedError()


class Said(rx.RayActorError):
    """An actor's death with the words that Ray puts to it."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self._words = words

    def __str__(self) -> str:
        return self._words


@contextmanager
def raylet(monkeypatch: pytest.MonkeyPatch, node_id: str, *, is_alive: bool = True) -> Iterator[dict[str, Any]]:
    """A node that listens, and how Ray speaks of it."""
    with socket.create_server((HERE, 0)) as server:
        port = server.getsockname()[1]
        said = {"NodeID": node_id, "Alive": is_alive, "NodeManagerAddress": HERE, "NodeManagerPort": port}
        monkeypatch.setattr(node, "_nodes", lambda: [said])
        yield said


def silent() -> str:
    """HOST:PORT at which nobody listens."""
    with socket.create_server((HERE, 0)) as server:
        return f"{HERE}:{server.getsockname()[1]}"


@contextmanager
def vanishing() -> Iterator[int]:
    """A port of which nobody hears anything: its queue is full."""
    with socket.create_server((HERE, 0), backlog=0) as server, ExitStack() as waiting:
        for _ in range(4):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextmanager
def watched(address: str) -> Iterator[HeadWatch]:
    watch = HeadWatch(address, lambda _: True)
    yield watch
    watch.stop()


def test_deaths_are_told_apart_by_what_ray_says() -> None:
    cause = lambda error: Nodes().death_cause(error, "", None)  # noqa: E731
    assert cause(rx.OutOfMemoryError("x")) is DeathCause.MEMORY
    assert cause(Said("killed: memory usage threshold exceeded")) is DeathCause.MEMORY
    assert cause(rx.NodeDiedError("gone")) is DeathCause.NODE
    assert cause(Said("The actor died because its node has died.")) is DeathCause.NODE
    assert cause(CRASHED) is DeathCause.CRASH


def test_a_crash_on_a_node_that_answers_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    with raylet(monkeypatch, "a") as said:
        nodes.learn("a")
        assert nodes.death_cause(CRASHED, "a", None) is DeathCause.CRASH
        with watched(f"{HERE}:{said['NodeManagerPort']}") as head:
            assert nodes.death_cause(CRASHED, "a", head) is DeathCause.CRASH


def test_a_crash_on_a_node_that_does_not_answer_any_more_is_the_loss_of_the_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although Ray still counts it as alive."""
    nodes = Nodes()
    with raylet(monkeypatch, "a"):
        nodes.learn("a")
    assert nodes.death_cause(CRASHED, "a", None) is DeathCause.NODE


def test_of_a_node_that_cannot_be_reached_from_here_ray_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    monkeypatch.setattr(node, "_CONNECT_S", 0.1)
    with raylet(monkeypatch, "a") as said, vanishing() as port:
        said["NodeManagerPort"] = port
        nodes.learn("a")
        assert nodes.death_cause(CRASHED, "a", None) is DeathCause.CRASH
        said["Alive"] = False
        assert nodes.death_cause(CRASHED, "a", None) is DeathCause.NODE


def test_a_crash_on_a_node_that_ray_has_missed_is_the_loss_of_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although its raylet still answers: one that is told to end takes its workers along first."""
    nodes = Nodes()
    with raylet(monkeypatch, "a") as said:
        nodes.learn("a")
        said["Alive"] = False
        assert nodes.death_cause(CRASHED, "a", None) is DeathCause.NODE
        monkeypatch.setattr(node, "_nodes", list)
        assert nodes.death_cause(CRASHED, "a", None) is DeathCause.NODE, "or does not know any more"


def test_nobody_is_blamed_and_ray_not_asked_where_there_is_no_head_to_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()

    def waits_for_ever() -> list[dict[str, Any]]:
        raise AssertionError

    with raylet(monkeypatch, "a"), watched(silent()) as head:
        nodes.learn("a")
        monkeypatch.setattr(node, "_nodes", waits_for_ever)
        assert nodes.death_cause(CRASHED, "a", head) is DeathCause.NODE


def test_a_head_that_is_lost_while_it_is_asked_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes, ends = Nodes(), threading.Event()
    monkeypatch.setattr(node, "_ASK_S", 0.1)

    def waits() -> list[dict[str, Any]]:
        ends.wait()
        return []

    with raylet(monkeypatch, "a"):
        nodes.learn("a")
        monkeypatch.setattr(node, "_nodes", waits)
        assert nodes.death_cause(CRASHED, "a", None) is DeathCause.NODE
    ends.set()


def test_a_node_is_asked_for_once_and_one_that_ray_never_named_is_no_excuse(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = Nodes()
    with raylet(monkeypatch, "a"):
        nodes.learn("a")
        monkeypatch.setattr(node, "_nodes", list)
        nodes.learn("a")
        nodes.learn("b")
        assert nodes.death_cause(CRASHED, "b", None) is DeathCause.CRASH
        assert nodes.death_cause(CRASHED, "", None) is DeathCause.CRASH
