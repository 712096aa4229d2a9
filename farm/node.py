"""Why a worker died: what Ray says of it, and whether the node that it lived on is still there.

A worker whose raylet is gone ends by itself, and Ray can tell of that end before it has missed the node. Who goes by
Ray's words alone then blames what the worker had in flight.
"""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any, cast

import ray
import ray.exceptions as rx

from farm.head import HeadWatch
from farm.schedule import DeathCause
from farm.worker import Worker, WorkerInfo

_CONNECT_S = 1.0
_ASK_S = 3.0
"""for Ray to say what nodes there are; asked of a head that is lost in this moment it would wait for a minute"""


def introduce(worker: Worker) -> WorkerInfo:
    """In the actor's own process: what the worker says of itself, and which node Ray says it is on."""
    return replace(worker.info(), node_id=ray.get_runtime_context().get_node_id())


class Nodes:
    """Where the raylets of nodes answer, as far as there are workers on them."""

    def __init__(self) -> None:
        self._raylets: dict[str, tuple[str, int]] = {}
        """host and port by the id of the node"""

    def learn(self, node_id: str) -> None:
        """Remember where a node's raylet answers; asks Ray where it is a new node."""
        if node_id and node_id not in self._raylets:
            self._raylets |= {str(node["NodeID"]): _raylet_of(node) for node in _asked() or ()}

    def death_cause(self, error: BaseException, node_id: str, head: HeadWatch | None) -> DeathCause:
        """Of what a worker on a node died, by the error that its calls gave."""
        cause = _said_cause(error)
        is_lost = cause is DeathCause.CRASH and self.is_gone(node_id, head)
        return DeathCause.NODE if is_lost else cause

    def is_gone(self, node_id: str, head: HeadWatch | None) -> bool:
        """Whether a node is lost, or being lost: its machine says that nobody listens there any more, Ray counts it as
        dead, or there is no head that could say. `head`: of the cluster; None for a Ray of our own.

        Takes some milliseconds where all is well, seconds where nobody answers. For deaths only.
        """
        raylet = self._raylets.get(node_id)
        if raylet is None:
            return False  # Ray has never named it
        if _refuses(raylet) or (head is not None and not head.answers()):
            return True
        nodes = _asked()
        return nodes is None or not any(node["NodeID"] == node_id and node["Alive"] for node in nodes)


def _said_cause(error: BaseException) -> DeathCause:
    """As far as Ray's words go; of a node that it has not missed yet they say nothing."""
    text = str(error)
    if isinstance(error, rx.OutOfMemoryError) or "memory usage threshold" in text or "OutOfMemory" in text:
        return DeathCause.MEMORY
    if isinstance(error, rx.NodeDiedError) or "node has died" in text.lower() or "node was terminated" in text.lower():
        return DeathCause.NODE
    return DeathCause.CRASH


def _asked() -> list[dict[str, Any]] | None:
    """What Ray says of its nodes; None where it does not answer in time."""
    answer: list[list[dict[str, Any]]] = []
    thread = threading.Thread(target=lambda: answer.append(_nodes()), name="nodes", daemon=True)
    thread.start()
    thread.join(_ASK_S)
    return answer[0] if answer else None


def _nodes() -> list[dict[str, Any]]:
    return cast("list[dict[str, Any]]", ray.nodes())


def _raylet_of(node: dict[str, Any]) -> tuple[str, int]:
    return str(node["NodeManagerAddress"]), int(node["NodeManagerPort"])


def _refuses(where: tuple[str, int]) -> bool:
    """Whether nobody listens there for sure. Silence is none: we may not be let through, and a machine that is gone
    with all it had is told of by Ray alone."""
    try:
        socket.create_connection(where, timeout=_CONNECT_S).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return False
