"""CUDA graphs of work that is done again and again: one call to the device, instead of hundreds from Python.

A network of a few hundred kernels takes the interpreter longer to launch than a GPU to run, the more so beside threads
that decode and encode. What is recorded has one shape; the second time that a shape comes it is recorded, and replayed
from then on. A replay runs the very kernels that were recorded: no byte depends on which of the two was done.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from sr_kernel.streams import streams_of

_LOG = logging.getLogger("sr_kernel")
_KEPT = 6
"""recordings at a time: shapes of windows and pictures that take turns"""
_REMEMBERED = 512
"""shapes of which it is known that they came once: an archive has as many as it has sizes of pictures"""
_ROOM_SHARE = 0.5
"""of the device's memory: where we have taken more, or others have left less than half of that, nothing is recorded"""
_STALE_RUNS = 64
"""a recording that was not replayed in so many runs makes room for another, and no other does: where more shapes take
turns than are kept, each new recording would cost more than it saves"""

Work = Callable[..., Sequence[Tensor]]


class Keeper(Protocol):
    """Who keeps memory from call to call of its work."""

    @property
    def planes(self) -> object:
        """All of it."""
        ...

    def release(self) -> None:
        """Forgets it; the next call makes it anew."""
        ...


@dataclass(slots=True)
class _Recording:
    """One graph, the tensors that it reads and fills, and whatever else must outlive it."""

    graph: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    held: object
    used: int = 0
    """number of the run that replayed it last"""


class Recorder:
    """Runs work on one GPU, recorded where it comes again. Not thread-safe: the thread that calls torch calls it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seen: dict[Hashable, None] = {}
        """those of late, the oldest first"""
        self._refused: set[Hashable] = set()
        """what cannot be recorded"""
        self._kept: dict[Hashable, _Recording] = {}
        """the one used last is the last"""
        self._runs = 0

    @property
    def count(self) -> int:
        """Recordings that are kept."""
        return len(self._kept)

    def run(
        self, key: Hashable, work: Work, inputs: Sequence[Tensor], keeper: Keeper | None = None
    ) -> Sequence[Tensor]:
        """`work(*inputs)`; the tensors that it gives hold until the next run.

        `key` says all that the work depends on but the samples of `inputs`, their shapes included. `keeper`: who keeps
        memory from call to call; what the recorded work uses of it lives as long as the recording. Raises what the work
        raises.
        """
        self._runs += 1
        kept = self._kept.pop(key, None)
        if kept is None:
            if key not in self._seen:
                return self._first(key, work, inputs)
            if key in self._refused or not self._make_room():
                return work(*inputs)
            kept = self._record(key, work, inputs, keeper)
            if kept is None:
                return work(*inputs)
        self._kept[key] = kept
        kept.used = self._runs
        for own, given in zip(kept.inputs, inputs, strict=True):
            own.copy_(given)
        kept.graph.replay()
        return kept.outputs

    def clear(self) -> None:
        """Gives the memory of all recordings back; what comes twice again is recorded anew."""
        if self._kept:
            torch.cuda.synchronize(self._device)
        self._kept.clear()
        self._seen.clear()
        self._refused.clear()

    def _drop_oldest(self) -> None:
        torch.cuda.synchronize(self._device)  # it may be running, in memory that goes with it
        self._kept.pop(next(iter(self._kept)))

    def _make_room(self) -> bool:
        """Whether there is room for one more recording, once those that are of no use any more have gone."""
        while len(self._kept) >= _KEPT or not self._has_room():
            oldest = next(iter(self._kept.values()), None)
            if oldest is None or self._runs - oldest.used < _STALE_RUNS:
                return False
            self._drop_oldest()
            torch.cuda.empty_cache()
        return True

    def _has_room(self) -> bool:
        cuda: Any = torch.cuda
        free, total = cuda.mem_get_info(self._device)
        reserved: int = cuda.memory_reserved(self._device)
        return reserved < _ROOM_SHARE * total and free > _ROOM_SHARE / 2 * total

    def _first(self, key: Hashable, work: Work, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run as it is; kernels are compiled here."""
        made = work(*inputs)
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        return made

    def _record(self, key: Hashable, work: Work, inputs: Sequence[Tensor], keeper: Keeper | None) -> _Recording | None:
        """None where it cannot be, or the device has no memory for it; that is not tried again."""
        graph: Any = torch.cuda.CUDAGraph()
        main, side = torch.cuda.current_stream(self._device), streams_of(self._device).record
        try:
            own = tuple(tensor.clone(memory_format=torch.preserve_format) for tensor in inputs)
            if keeper is not None:
                # Memory that is kept must be there before, and filled: what a recording makes is filled by replays.
                keeper.release()
                work(*own)
            held = None if keeper is None else keeper.planes
            side.wait_stream(main)
            with torch.cuda.stream(side):
                outputs = _captured(graph, work, own)
        except (RuntimeError, MemoryError) as error:
            self._refused.add(key)
            if keeper is not None:
                keeper.release()
            _LOG.warning("this work is launched piece by piece, which is slower: it cannot be recorded (%s)", error)
            return None
        main.wait_stream(side)
        return _Recording(graph, own, outputs, held)


def _captured(graph: Any, work: Work, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    graph.capture_begin(capture_error_mode="thread_local")
    try:
        outputs = tuple(work(*inputs))
    except BaseException:
        with suppress(RuntimeError):  # what broke the recording is told already
            graph.capture_end()
        raise
    graph.capture_end()
    return outputs
