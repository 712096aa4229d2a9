"""What runs inside an actor's process: threads, parts, and failure as a value. Knows nothing of Ray or of pixels.

One worker holds one accelerator, or one core. `run` is called by as many threads as units are in flight; the parts of
all of them go through one pool of input/output threads, so that while the lane infers one picture the next is decoded
and the last is encoded.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from farm.errors import FULL, DiskError, ErrorKind, FarmError, ItemError, is_of_the_machine, said_by
from farm.records import Done, Failed, Outcome, Part, Split, Unit
from farm.tasks.memory import budget_of, memory_share
from sr_kernel import hardware

if TYPE_CHECKING:
    from farm.tasks.base import Task, WorkerContext

_LOG = logging.getLogger("farm.worker")
_SWITCH_S = 0.0001
"""after which a thread lets others have the interpreter: the lane of a GPU asks for it between any two calls"""
_CPU_THREADS = 3
_GPU_THREADS = 8
"""more than these take the interpreter from the lane: with animevideov3 on an H100 8 threads made 65 pictures a second,
16 threads 56 (bench/gpu_folder.py)"""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """Where a worker lives, as it says itself."""

    name: str
    node: str
    """name of the machine"""
    pid: int
    device: str
    node_id: str = ""
    """what Ray calls the node; empty where nobody has asked Ray"""


class Worker:
    """Made once in the actor process; see the module."""

    def __init__(self, context: WorkerContext) -> None:
        _keep_to_one_core(context)
        if context.device != "cpu":
            sys.setswitchinterval(_SWITCH_S)
        from farm.tasks.registry import make_tasks  # torch comes in here, after the process is pinned

        self._context = context
        self._node = socket.gethostname()
        self._stopping = False
        self._memory = budget_of(context.memory_bytes)
        self._tasks: dict[str, Task] = make_tasks(context, self._memory)
        self._pool = ThreadPoolExecutor(
            context.io_threads or io_threads_for(context.device),
            "io",
            initializer=_keep_to_one_core,
            initargs=(context,),
        )

    def __repr__(self) -> str:
        """What Ray calls it in logs and on its dashboard."""
        return self._context.name

    def info(self) -> WorkerInfo:
        """Answers when the worker is ready."""
        return WorkerInfo(name=self._context.name, node=self._node, pid=os.getpid(), device=self._context.device)

    def run(self, unit: Unit, sharing: int = 0) -> tuple[Outcome, ...]:
        """Do every part of a unit. A part that was stopped has no outcome. `sharing`: among how many workers the memory
        of this machine is to be shared; 0: this one was told how much it has.

        Raises a FarmError other than ItemError when the run cannot go on (disk full, bad model, credentials).
        """
        if sharing:
            self._memory.resize(memory_share(sharing))
        futures = [self._pool.submit(self._run_part, part, unit.batch_limit) for part in unit.parts]
        return tuple(outcome for future in futures if (outcome := _result(future, futures)) is not None)

    def stop(self) -> None:
        """Start nothing more and stop at the next forward pass."""
        self._stopping = True
        for task in self._tasks.values():
            task.stop()

    def _run_part(self, part: Part, batch_limit: int | None) -> Done | Split | Failed | None:
        if self._stopping:
            return None
        try:
            return self._tasks[part.item.task].run(part, batch_limit)
        except ItemError as error:
            failed = self._failed(part, error.kind, str(error), is_final=error.is_final)
            return replace(failed, suspect=error.suspect)
        except FarmError:
            raise
        except OSError as error:
            if not is_of_the_machine(error):
                return self._unexpected(part, error)
            if error.errno in FULL:
                raise DiskError(_refused(part, error, "free space, then run the same command again")) from error
            message = f"storage_error: {_refused(part, error, 'check the disk, then run the same command again')}"
            return self._failed(part, ErrorKind.STORAGE_ERROR, message)
        except MemoryError as error:
            return self._failed(part, ErrorKind.OUT_OF_MEMORY, _out_of_memory(part, error))
        except Exception as error:
            return self._unexpected(part, error)

    def _unexpected(self, part: Part, error: Exception) -> Failed | None:
        if self._stopping:
            return None
        _LOG.error("part %s of %s", part.part_id, part.item.row.source_url, exc_info=error)
        return self._failed(part, ErrorKind.WORKER_DIED, _unexpected(part, error))

    def _failed(self, part: Part, kind: ErrorKind, message: str, *, is_final: bool = False) -> Failed:
        return Failed(
            part_id=part.part_id,
            kind=kind,
            message=message,
            node=self._node,
            worker=self._context.name,
            is_final=is_final,
        )


def _result(future: Future[Done | Split | Failed | None], siblings: list[Future[Done | Split | Failed | None]]):
    try:
        return future.result()
    except FarmError:
        for sibling in siblings:
            sibling.cancel()
        raise


def _refused(part: Part, error: OSError, advice: str) -> str:
    """What the machine said in a place that is about no one file: scratch, or a library in the middle of its work."""
    where = f" ({error.filename})" if error.filename else ""
    return f"{part.item.row.source_url}: {said_by(error)} while it was worked on{where}; {advice}"


def _out_of_memory(part: Part, error: MemoryError) -> str:
    return (
        f"out_of_memory: {part.item.row.source_url}: {error or 'allocation refused'}; "
        "lower --exact-px (bounded mode above it), --tile-px or --batch"
    )


def _unexpected(part: Part, error: Exception) -> str:
    return (
        f"worker_died: {part.item.row.source_url}: unexpected {type(error).__name__}: {error}; "
        "this is a defect of the farm, please report it with the worker's log"
    )


def io_threads_for(device: str, cores: int | None = None) -> int:
    """Threads that read, decode, encode and write for one device.

    On a GPU as many as it has `cores`, within bounds; where nobody says, half of the machine's.
    """
    if device == "cpu":
        return _CPU_THREADS
    if cores is None:
        cores = hardware.busy_cores(len(hardware.cores_here())) // 2
    return max(_CPU_THREADS, min(_GPU_THREADS, cores))


def _keep_to_one_core(context: WorkerContext) -> None:
    """One-thread workers on their own core: measured faster than few workers with many threads."""
    if context.device == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"
    if context.core is None or not hasattr(os, "sched_setaffinity"):
        return
    for thread in os.listdir("/proc/self/task"):  # affinity belongs to a thread; those of Ray are here already
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread), {context.core})
