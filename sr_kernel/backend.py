"""How a network runs on a device: precision, memory layout, static shapes, and what running out of memory means."""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any, cast

import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.archs import ARCHS, Network, SRVGGNetCompact
from sr_kernel.archs.output import Output, WholeOutput
from sr_kernel.fused.triton_here import has_triton
from sr_kernel.hardware import FUSED_CAPABILITY, cpu_has_bf16, cpu_runs_bf16, keep_freed_memory
from sr_kernel.models import ModelSpec, has_fused_kernels
from sr_kernel.pixels import Pixels, stack_windows
from sr_kernel.recorded import Keeper, Recorder
from sr_kernel.streams import streams_of
from sr_kernel.tiles import Box

DTYPES: Mapping[str, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_OUT_OF_MEMORY = ("out of memory", "defaultcpuallocator", "not enough memory", "_status_alloc_failed")
"""in messages of torch and, the last, of cuDNN and cuBLAS, which allocate beside torch"""
_RECORDED = ("rrdb", "srvgg")
_RECORDED_PX = 1 << 20
"""source pixels of a pass, up to which launching it can take longer than running it"""


class PrecisionError(ValueError):
    """A device was asked to compute in a precision that it has not."""


class KernelError(ValueError):
    """A device was asked to run a network in kernels that it, or the network, has not."""


class DeviceMemoryError(MemoryError):
    """The device's memory does not hold even the smallest piece of work."""


def _check_fused(spec: ModelSpec, device: torch.device) -> None:
    if not has_fused_kernels(spec):
        raise KernelError(f"kernel: {spec.name} is no network that the fused kernels are made for; use plain")
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] != FUSED_CAPABILITY:
        raise KernelError(f"kernel: the fused kernels are for GPUs of capability {FUSED_CAPABILITY}; use plain")
    if fault := fused_fault(device):
        raise KernelError(f"kernel: the fused kernels do not work on {device} ({fault}); use plain")


@cache
def fused_fault(device: torch.device) -> str:
    """Why the fused kernels do not work on a device; empty where they give what torch gives: tried once.

    Raises DeviceMemoryError.
    """
    from sr_kernel.fused.trial import TOLERANCE, worst_difference

    try:
        with memory_errors():
            worst = worst_difference(device)
    except DeviceMemoryError:
        raise
    except Exception as error:  # whatever a compiler, a linker, a driver or a cache folder has to say
        return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return "" if worst <= TOLERANCE else f"a convolution is off by {worst:g}"


@contextmanager
def memory_errors() -> Generator[None]:
    """Turns every way in which torch says that memory is out into DeviceMemoryError."""
    try:
        yield
    except DeviceMemoryError:
        raise
    except (RuntimeError, MemoryError) as error:
        if is_out_of_memory(error):
            raise DeviceMemoryError(str(error)) from error
        raise


def is_out_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether it is one of the ways in which torch says so."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(sign in str(error).lower() for sign in _OUT_OF_MEMORY)


def keep_to_fp32(device: torch.device) -> None:
    """On a GPU fp32 means fp32: no TF32 in convolutions, and one algorithm a shape whatever else was run."""
    if device.type == "cuda":
        # Said of convolutions themselves: the older `allow_tf32` leaves the word to torch.backends.fp32_precision.
        torch.backends.cudnn.conv.fp32_precision = "ieee"  # pyright: ignore[reportAttributeAccessIssue]
        keep_to_one_algorithm(device)


def keep_to_one_algorithm(device: torch.device) -> None:
    """On a GPU convolutions of one shape are computed by one algorithm, which gives the same twice."""
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True


def supports_bf16(device: str = "cpu") -> bool:
    """Whether bf16 is native on the device: by the processor's flags on a CPU, by torch on a GPU."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bf16()


def check_precision(precision: str, device: torch.device) -> torch.dtype:
    """The dtype of a precision's name; PrecisionError for what the device must not be asked for.

    bf16 runs on most CPUs, but slowly where it is not native: whether it should is the caller's choice.
    """
    if precision not in DTYPES:
        raise PrecisionError(f"precision: {precision!r} is not one of {', '.join(DTYPES)}")
    if precision == "fp16" and device.type == "cpu":
        raise PrecisionError("precision: fp16 on a CPU is hundreds of times slower than fp32; use bf16 or fp32")
    if precision == "bf16" and device.type == "cpu" and not cpu_runs_bf16():
        raise PrecisionError("precision: torch has no bf16 on this processor; use fp32")
    return DTYPES[precision]


@dataclass(frozen=True, slots=True)
class Fetch:
    """Tensors on their way from the device to main memory."""

    arriving: tuple[Tensor, ...]
    done: torch.cuda.Event | None
    """reached when all have arrived; None where nothing has to travel"""

    def arrays(self) -> list[NDArray[Any]]:
        """The tensors as arrays, once they are there. Raises DeviceMemoryError for what the device found on the way."""
        with memory_errors():
            if self.done is not None:
                self.done.synchronize()
        return [tensor.numpy() for tensor in self.arriving]


class _Copies:
    """Copies to a GPU and from it, beside its work."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._into, self._out = streams_of(device).into, streams_of(device).out

    def send(self, samples: Tensor) -> Tensor:
        """Pinned samples on the device, there for what is given to it from now on."""
        work = torch.cuda.current_stream(self._device)
        with torch.cuda.stream(self._into):
            sent = samples.to(self._device, non_blocking=True)
        work.wait_stream(self._into)
        sent.record_stream(work)
        return sent

    def fetch(self, tensors: Sequence[Tensor]) -> Fetch:
        """Tensors as they are when all work given so far is done, whatever becomes of them afterwards."""
        work = torch.cuda.current_stream(self._device)
        places: dict[torch.dtype, list[int]] = {}
        for place, tensor in enumerate(tensors):
            places.setdefault(tensor.dtype, []).append(place)
        flat = {dtype: torch.cat([_carried(tensors[place]) for place in own]) for dtype, own in places.items()}
        self._out.wait_stream(work)
        arriving: list[Tensor] = list(tensors)
        with torch.cuda.stream(self._out):
            for dtype, own in places.items():
                # To pinned memory: from the device to any other a copy waits and is several times slower.
                there = torch.empty(flat[dtype].shape, dtype=flat[dtype].dtype, pin_memory=True)
                there.copy_(flat[dtype], non_blocking=True)
                flat[dtype].record_stream(self._out)
                first = 0
                for place in own:
                    last = first + tensors[place].numel()
                    arriving[place] = there.view(dtype)[first:last].view(tensors[place].shape)
                    first = last
            done = torch.cuda.Event()
            done.record(self._out)
        return Fetch(tuple(arriving), done)


def _carried(tensor: Tensor) -> Tensor:
    """Its samples in a row, of a type that can be joined."""
    flat = tensor.reshape(-1)
    return flat.view(torch.int16) if flat.dtype == torch.uint16 else flat


class Backend:
    """One model on one device. Networks are made from the fp32 state per precision, when first asked for."""

    def __init__(self, spec: ModelSpec, state: Mapping[str, Tensor], device: str, kernel: str = "plain") -> None:
        """`kernel`: fused runs half precision in `sr_kernel.fused`. Raises KernelError where that cannot be."""
        self.device = torch.device(device)
        self._fused = kernel == "fused"
        if self._fused:
            _check_fused(spec, self.device)
        self._spec = spec
        self._state = dict(state)
        self._numbers = sum(tensor.numel() for tensor in state.values())
        self._networks: dict[str, Network] = {}
        self.recorder = Recorder(self.device) if self.device.type == "cuda" else None
        keep_freed_memory()
        keep_to_fp32(self.device)

    @property
    def static_shapes(self) -> bool:
        """Whether batches are filled up and halos kept: on a GPU bytes depend on the batch's shape."""
        return self.device.type == "cuda"

    @cached_property
    def _copies(self) -> _Copies | None:
        return _Copies(self.device) if self.device.type == "cuda" else None

    @property
    def compiles(self) -> bool:
        """Whether Triton makes kernels for the device."""
        return has_triton(self.device)

    def network(self, precision: str) -> Network:
        """The network in a precision; raises PrecisionError and DeviceMemoryError."""
        if precision not in self._networks:
            like = torch.empty(0, dtype=check_precision(precision, self.device), device=self.device)
            with memory_errors():
                self._networks[precision] = self._make(like)
        return self._networks[precision]

    def _make(self, like: Tensor) -> Network:
        if self._fused and like.dtype != torch.float32:
            from sr_kernel.fused.networks import make_fused

            return make_fused(self._spec, self._state, like)
        return ARCHS[self._spec.arch].make(self._spec, self._state, like, trimmed=not self.static_shapes)

    def upload(self, windows: Sequence[Pixels]) -> Tensor:
        """Windows (H, W, 3) of one shape and dtype as one tensor of integers (N, H, W, 3) on the device.

        Raises DeviceMemoryError.
        """
        with memory_errors():
            stacked = stack_windows(windows, pinned=self._copies is not None)
        return self.send(stacked)

    def send(self, samples: Tensor) -> Tensor:
        """Samples of main memory on the device, which is not waited for. Raises DeviceMemoryError."""
        if self._copies is None:
            return samples
        with memory_errors(), torch.inference_mode():
            # From memory that is not pinned a copy waits for all work before it.
            return self._copies.send(samples if samples.is_pinned() else samples.pin_memory())

    def run(self, x: Tensor, keep: Box, precision: str) -> Tensor:
        """The part `keep` of each window (N, 3, H, W), fp32, 0..1, channels last, in pixels of the window, restored.

        Returns (N, keep.height * scale, keep.width * scale, 3) in fp32 on the device, about 0..1, not clamped. Raises
        DeviceMemoryError.
        """
        output = self.output(x, keep, precision)
        with memory_errors(), torch.inference_mode():
            return output.whole()

    def output(self, x: Tensor, keep: Box, precision: str) -> Output:
        """As `run`; on a CPU a compact network enlarges its output by parts. Asking for one may run out of memory."""
        network = self.network(precision)
        with memory_errors(), torch.inference_mode():
            if type(network) is SRVGGNetCompact and self.device.type == "cpu":
                return network.output(x, keep)
            if not self.records(x.shape[0] * x.shape[2] * x.shape[3]):
                return WholeOutput(network(x, keep), self._spec.scale)

            def work(x: Tensor) -> tuple[Tensor]:
                return (network(x, keep),)

            (made,) = self.recorded((precision, tuple(x.shape), keep), work, [x], network)
            return WholeOutput(made.clone(), self._spec.scale)  # the caller's own, to work on and to add up

    def records(self, pixels: int) -> bool:
        """Whether work on so many source pixels is worth a recording: on many it is not, and takes memory.

        Networks that we know only by their authors' code may do on the way what no recording holds.
        """
        return self.recorder is not None and pixels <= _RECORDED_PX and self._spec.arch in _RECORDED

    def recorded(
        self, key: Hashable, work: Callable[..., Sequence[Tensor]], inputs: Sequence[Tensor], network: Network
    ) -> Sequence[Tensor]:
        """`Recorder.run` of work with one network."""
        if self.recorder is None:
            raise ValueError(f"nothing is recorded on {self.device}")
        keeper = cast("Keeper", network) if hasattr(network, "planes") else None
        return self.recorder.run((id(network), key), work, inputs, keeper)

    def fetch(self, tensors: Sequence[Tensor]) -> Fetch:
        """Starts to bring tensors of the device to main memory, behind all work given to it so far.

        The device is not waited for: it goes on with what it is given next, which may change these tensors, while they
        travel and are used. Raises DeviceMemoryError.
        """
        if self._copies is None:
            return Fetch(tuple(tensors), None)
        with memory_errors(), torch.inference_mode():
            return self._copies.fetch(tensors)

    @property
    def held_bytes(self) -> int:
        """What the weights occupy: the fp32 state in main memory, and a network a precision on the device."""
        return self._numbers * (4 + sum(DTYPES[precision].itemsize for precision in self._networks))

    def release(self) -> None:
        """Gives back what is kept from call to call beside the weights: recordings, planes of fused networks."""
        if self.recorder is not None:
            self.recorder.clear()
        for network in self._networks.values():
            give_back: Callable[[], None] | None = getattr(network, "release", None)
            if give_back is not None:
                give_back()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def close(self) -> None:
        """Gives the memory of the networks back."""
        if self.recorder is not None:
            self.recorder.clear()
        self._networks.clear()
        self._state.clear()
        self._numbers = 0
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
