"""CUDA graphs of work that is done again and again: one call to the device, instead of hundreds from Python.

A network of a few hundred kernels takes the interpreter longer to launch than a GPU to run, the more so beside threads
that decode and encode. What is recorded has one shape; the second time that a shape comes it is recorded, and replayed
from then on. A replay runs the very kernels that were recorded: no byte depends on which of the two was done.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_LOG = logging.getLogger("sr_kernel")
_KEPT = 6
"""recordings at a time: shapes of windows and pictures that take turns"""
_REMEMBERED = 512
"""shapes of which it is known that they came once: an archive has as many as it has sizes of pictures"""
_ROOM_SHARE = 0.5
"""of the device's memory: where more is taken, nothing more is recorded"""
_SLOW_S = 2.0

Work = Callable[..., Sequence[Tensor]]


@dataclass(slots=True)
class _Recording:
    """One graph, the tensors that it reads and fills, and whatever else must outlive it."""

    graph: Any
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    held: object


class Recorder:
    """Runs work on one GPU, recorded where it comes again. Not thread-safe: the thread that calls torch calls it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._seen: dict[Hashable, None] = {}
        """those of late, the oldest first"""
        self._kept: dict[Hashable, _Recording] = {}
        """the one used last is the last"""
        self._can_record = True

    @property
    def count(self) -> int:
        """Recordings that are kept."""
        return len(self._kept)

    def run(self, key: Hashable, work: Work, inputs: Sequence[Tensor], held: Callable[[], object]) -> Sequence[Tensor]:
        """`work(*inputs)`; the tensors that it gives hold until the next run.

        `key` says all that the work depends on but the samples of `inputs`, their shapes included. `held()`, called
        after a run, gives what the work keeps from call to call: it lives as long as the recording. Raises what the
        work raises.
        """
        kept = self._kept.pop(key, None)
        if kept is None:
            if key not in self._seen:
                return self._first(key, work, inputs)
            if not self._can_record or not self._has_room():
                return work(*inputs)
            kept = self._record(work, inputs, held)
            if kept is None:
                return work(*inputs)
        self._kept[key] = kept
        if len(self._kept) > _KEPT:
            torch.cuda.synchronize(self._device)  # it may be running, in memory that goes with it
            self._kept.pop(next(iter(self._kept)))
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

    def _has_room(self) -> bool:
        cuda: Any = torch.cuda
        total: int = cuda.get_device_properties(self._device).total_memory
        return cuda.memory_reserved(self._device) < _ROOM_SHARE * total

    def _first(self, key: Hashable, work: Work, inputs: Sequence[Tensor]) -> Sequence[Tensor]:
        """Run as it is; kernels are compiled here, which is told."""
        begun = time.perf_counter()
        made = work(*inputs)
        self._seen[key] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        if (taken := time.perf_counter() - begun) > _SLOW_S:
            _LOG.warning("took %.1f s to compile kernels for the GPU; they are kept for the next run", taken)
        return made

    def _record(self, work: Work, inputs: Sequence[Tensor], held: Callable[[], object]) -> _Recording | None:
        """None, and no further try, where the device has no memory for it."""
        own = tuple(tensor.clone(memory_format=torch.preserve_format) for tensor in inputs)
        graph: Any = torch.cuda.CUDAGraph()
        side, main = torch.cuda.Stream(self._device), torch.cuda.current_stream(self._device)
        side.wait_stream(main)
        try:
            with torch.cuda.stream(side):
                graph.capture_begin(capture_error_mode="thread_local")
                try:
                    outputs = tuple(work(*own))
                except BaseException:
                    with suppress(RuntimeError):  # what broke the recording is told already
                        graph.capture_end()
                    raise
                graph.capture_end()
        except (torch.OutOfMemoryError, MemoryError):
            self._can_record = False
            self.clear()
            _LOG.warning("the GPU has no memory to record this work: it is launched piece by piece, which is slower")
            return None
        main.wait_stream(side)
        return _Recording(graph, own, outputs, held())
