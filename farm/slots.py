"""What an engine is told: places for workers, and what it needs to know beside them and the schedule. No Ray."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from farm.records import Unit
from farm.tasks.base import WorkerContext


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One place for a worker; a fresh actor is put into it after a death."""

    context: WorkerContext
    num_cpus: float
    num_gpus: float

    @property
    def name(self) -> str:
        return self.context.name


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """What the engine needs to know; everything else is in the schedule and the slots."""

    address: str | None
    """a Ray cluster, or None for an embedded one that ends with the run"""
    embedded_cpus: int
    embedded_gpus: int
    wait_s: float
    """how long to wait for all workers on a cluster, while no other run of ours has some there or gets some before"""
    priority: int = 0
    """among the runs that share a cluster; higher ones get their workers first"""
    dashboard: bool = False
    """whether an embedded one serves its dashboard"""
    min_workers: int
    """go on with so many when the wait is over; 0 means all are needed"""
    deaths_per_slot: int = 12
    """in a row, without a unit that came back: more than a part's strikes; then the slot is given up"""
    ends_s: float = math.inf
    """by `farm.clock`, when the run is to be over; no unit is begun that would last longer"""
    deadline_s: Callable[[Unit], float]
    metrics_port: int | None = None
    """where an embedded one serves metrics; None: nowhere, unless with its dashboard"""
    at_first: int | None = None
    """workers that an embedded one starts with, the others once more waits than those can take; None: all of them"""
