"""The queue of the runs that share a cluster: entries that its head keeps, and the places that Ray has for workers.

Which entry may do what is decided in farm.turn. A run's entry is a key of Ray's internal store, which it takes back
when it ends; of one that was killed the beat stands still, and whoever looks next leaves it out and removes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import ray
import ray._private.state as ray_state
import ray.exceptions as rx
from ray.util.placement_group import (
    placement_group,
    placement_group_table,  # pyright: ignore[reportUnknownVariableType]
    remove_placement_group,
)

from farm.errors import UnreachableError
from farm.head import HeadWatch
from farm.session import head_client
from farm.turn import Entry, Pulse, State, Wait, before, fitting, from_bytes, next_state, to_bytes

_NAMESPACE = b"farm-queue"
_BEAT_S = 2.0
DEAD_S = 12.0
"""without another beat, after which a run does not count"""
_ASK_S = 4.0
_LEAVE_S = 2.0
"""for the head to forget an entry; the run has ended by then and nobody is to wait for it"""
_LOOK_S = 0.5
"""between two looks at the other runs"""
_TRIES = 2
_STEPS = 3
"""of a turn that are taken at once: claim it, have it"""
_CREATED = "CREATED"
_DECIMALS = 4
"""of amounts of resources: Ray counts no finer"""
_LOG = logging.getLogger("farm.sharing")


class Queue:
    """The entry of one run, from when it is made until `leave`. `address`: HOST:PORT of the head. Raises
    UnreachableError.

    A thread keeps the beat, and looks at the others.
    """

    def __init__(self, address: str, run: str, priority: int, now: Callable[[], float] = time.monotonic) -> None:
        self.address = address
        self._gcs = head_client(address)
        self._now = now
        self._pulse = Pulse(DEAD_S)
        self._lock = threading.RLock()
        """an entry is written whole, and never an old one after a new one"""
        self._over = threading.Event()
        self.others: list[Entry] = []
        """of runs that live, as they were read last"""
        self.workers: Mapping[str, int] = {}
        """of this run, by Ray's id of the node; the others hear of it with the next beat"""
        self.mine = Entry(run=run, priority=priority, number=0)
        if not any(self.look() for _ in range(_TRIES)):  # who knows of nobody would be before all
            raise UnreachableError(f"cluster {address} does not say which runs are there; try again when it answers")
        self.say(number=1 + max((one.number for one in self.others), default=0))
        self._thread = threading.Thread(target=self._keep, name="queue", daemon=True)
        self._thread.start()

    def say(self, state: State | None = None, **changes: Any) -> bool:
        """Write the entry, in a state; whether that is there now. Where the head does not answer, a turn that was to be
        claimed or had is not; all else is written with the next beat."""
        with self._lock:
            if self._over.is_set():
                return False
            mine = self.mine
            new = replace(mine, beat=mine.beat + 1, state=state or mine.state, workers=dict(self.workers), **changes)
            put = self._gcs.internal_kv_put
            is_there = self._asked(lambda: put(new.run.encode(), to_bytes(new), True, _NAMESPACE, timeout=_ASK_S))
            if is_there is None and state in (State.CLAIMING, State.PLACING):
                return False
            self.mine = new
            return is_there is not None

    def look(self) -> bool:
        """Read the entries of the others; whether the head has answered. Those of runs that are dead are removed."""
        with self._lock:
            if self._over.is_set():
                return False
            found: list[Entry] | None = self._asked(self._read)
            if found is None:
                return False
            others = [one for one in found if one.run != self.mine.run]
            self.others = self._pulse.living(others, self._now())
            for gone in {one.run for one in others} - {one.run for one in self.others}:
                self._forget(gone, _ASK_S)
            return True

    def on_node(self, node: str) -> int:
        """How many workers of the farm are on a node, by Ray's id of it: ours, and those of other runs."""
        return self.workers.get(node, 0) + sum(one.workers.get(node, 0) for one in self.others)

    def leave(self, *, is_lost: bool) -> None:
        """Take the entry back. `is_lost`: whether there is no head any more that could hear of it."""
        self._over.set()
        if not self._lock.acquire(timeout=_LEAVE_S):
            return  # somebody waits for the head's answer, and this one would too
        try:
            if not is_lost:
                self._forget(self.mine.run, _LEAVE_S)
        finally:
            self._lock.release()
        self._thread.join(_LEAVE_S)

    def _keep(self) -> None:
        while not self._over.wait(_BEAT_S):
            self.say()
            self.look()

    def _read(self) -> list[Entry]:
        keys: list[bytes] = self._gcs.internal_kv_keys(b"", _NAMESPACE, timeout=_ASK_S)
        texts: Mapping[bytes, bytes] = self._gcs.internal_kv_multi_get(keys, _NAMESPACE, timeout=_ASK_S) if keys else {}
        return [entry for entry in map(from_bytes, texts.values()) if entry is not None]

    def _forget(self, run: str, limit_s: float) -> None:
        self._asked(lambda: self._gcs.internal_kv_del(run.encode(), False, _NAMESPACE, timeout=limit_s))

    def _asked(self, call: Callable[[], Any]) -> Any:
        """Its answer; None where the head gives none: whether it is lost, others decide (farm.head)."""
        try:
            return call()
        except rx.RayError as error:
            _LOG.debug("the head of the cluster was asked of its queue: %s", error)
            return None


class Places:
    """On the nodes of a cluster, for so many workers that each need the same (`need`: Ray's resources, by name)."""

    def __init__(self, count: int, need: Mapping[str, float]) -> None:
        self.count = count
        self._need = {name: amount for name, amount in need.items() if amount}
        self._group: Any = None
        """through which Ray is asked for all of them: it holds nothing until there is room for all, and then all"""

    def are_there(self) -> bool:
        """Whether there is one for each worker. Where not, Ray knows from now on what is wanted: a cluster can grow."""
        if self._group is not None:
            return cast("Any", placement_group_table(self._group)).get("state") == _CREATED
        if self.fitting() >= self.count:
            return True
        self._group = placement_group([dict(self._need)] * self.count)
        return False

    def give_back(self) -> None:
        """Ask for none any more; those that were held are free."""
        group, self._group = self._group, None
        if group is not None:
            remove_placement_group(group)

    def fitting(self) -> int:
        """How many workers find one now."""
        return self._fitting(_free())

    def _fitting(self, free: Sequence[Mapping[str, float]]) -> int:
        return min(self.count, fitting(free, self._need))

    def wait(self, queue: Queue) -> Wait:
        """What is wanted, and what there is of it."""
        free, there = _free(), cast("Mapping[str, float]", ray.cluster_resources())
        return Wait(
            workers=self.count,
            missing=self.count - self._fitting(free),
            wanted={name: round(amount * self.count, _DECIMALS) for name, amount in self._need.items()},
            free={name: round(sum(node.get(name, 0.0) for node in free), _DECIMALS) for name in self._need},
            there={name: there.get(name, 0.0) for name in self._need},
            before=before(queue.mine, queue.others),
            working=tuple(one for one in queue.others if one.state is State.WORKING),
        )


FEWER = "lower --gpus, or go on with fewer by --min-gpus"


class Turn:
    """A run's wait until its turn has come and there is a place for each of its workers.

    `limit_s`: for how long it waits for places while no other run has workers whose end could make room. `least`: it
    goes on with so many once it was first for as long; 0: with all of them alone. `advice`: where none is.
    """

    def __init__(
        self,
        queue: Queue,
        places: Places,
        limit_s: float,
        least: int,
        now: Callable[[], float] = time.monotonic,
        advice: str = FEWER,
    ) -> None:
        self._advice = advice
        self._queue = queue
        self._places = places
        self._limit_s = limit_s
        self._least = least
        self._now = now
        self._first_since_s = self._alone_since_s = now()
        self.workers = places.count
        """that there are places for, once it has come"""

    def wait(self, head: HeadWatch, is_over: Callable[[], bool], on_wait: Callable[[Wait], None]) -> None:
        """Until it is there, or all is over; `on_wait` is told several times a second what is waited for.

        Raises StalledError where the head is lost, UnreachableError where it is of no use to wait.
        """
        try:
            while not is_over() and (wait := self.poll()) is not None:
                on_wait(wait)
                time.sleep(_LOOK_S)
                if head.is_lost:
                    raise head.error()
        finally:
            if not head.is_lost:
                self._places.give_back()

    def poll(self) -> Wait | None:
        """What is waited for; None: go on, nobody else asks for places until we have said that we work.

        Raises UnreachableError where it is of no use to wait.
        """
        is_first = self._is_first()
        if is_first and self._places.are_there():
            return None
        now_s = self._now()
        if not is_first:
            self._first_since_s = now_s
        if not is_first or any(one.state is State.WORKING for one in self._queue.others):
            self._alone_since_s = now_s
        wait = self._places.wait(self._queue)
        there = wait.workers - wait.missing
        if self._least and there >= self._least and now_s - self._first_since_s > self._limit_s:
            self.workers = there
            return None
        if now_s - self._alone_since_s > self._limit_s:
            raise too_few(wait.missing, wait.workers, self._queue.address, self._limit_s, self._advice)
        return wait

    def _is_first(self) -> bool:
        """Take the turn, if it is ours."""
        queue = self._queue
        for _ in range(_STEPS):
            state = next_state(queue.mine, queue.others) if queue.look() else queue.mine.state
            if state is queue.mine.state:
                break
            if queue.mine.state is State.PLACING:
                self._places.give_back()
            if not queue.say(state):
                break
        return queue.mine.state is State.PLACING


def too_few(missing: int, workers: int, address: str, limit_s: float, advice: str = FEWER) -> UnreachableError:
    """Of a cluster that has no place for them."""
    return UnreachableError(
        f"{missing} of {workers} workers found no place on {address} within {limit_s:.0f} s; add nodes, {advice}"
    )


def _free() -> list[Mapping[str, float]]:
    """What is left of each node."""
    return list(cast("Mapping[str, Mapping[str, float]]", ray_state.available_resources_per_node()).values())
