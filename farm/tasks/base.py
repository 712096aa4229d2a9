"""The Task protocol: what a worker asks of every kind of work, and what it gives in return.

A task lives in the actor process. It is made once, when the worker starts; `run` is called from several input/output
threads at once. Whatever touches torch goes through the worker's one `Lane`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from farm.records import Done, Part, Split


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerContext:
    """What a worker is told when it starts; the same for every task it runs."""

    name: str
    run: str
    """attempt that owns this worker; nothing is published once it is over"""
    driver_host: str
    out: str
    """output root"""
    device: str
    """cpu or cuda:0, as the worker's own process sees it"""
    io_threads: int
    """0: as many as the worker finds good for its device"""
    units_in_flight: int
    memory_bytes: int
    """what all pictures in this process may occupy together; 0: a share of its machine's, by how many workers it is
    told to share that with"""
    decoder: str = "software"
    """software or nvdec, for films; of no effect on a CPU"""
    core: int | None = None
    """the core this process stays on, or None"""
    weights_dir: str | None = None
    model_files: tuple[tuple[str, str], ...] = ()
    """(model name, path) of models given as weight files"""
    face_files: tuple[tuple[str, str], ...] = ()
    """(name, path) of weights that restore faces, where they are given as files"""


class Task(Protocol):
    """One kind of work."""

    def run(self, part: Part, batch_limit: int | None) -> Done | Split:
        """Do one part. Raises ItemError when the row is at fault, any other FarmError when the run cannot go on."""
        ...

    def stop(self) -> None:
        """Stop at the next forward pass; whoever waits gets LaneStopped."""
        ...
