"""The programs that `conv.cu` is compiled to, by NVRTC, once a machine; and their launch on a GPU by CUDA's driver.

`cuda.bindings` and NVRTC come with torch's CUDA builds: no compiler has to be installed.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_kernel.cache import cache_folder
from sr_kernel.fused.plane import STEP

_LOG = logging.getLogger("sr_kernel")
GROUP_PX = 64
"""pixels of a row that a group of four warps computes"""
CHUNK = 64
"""channels that are brought at once"""
_ARCHITECTURE = "sm_90a"
_BOX_PX = GROUP_PX + 2
_STAGE_BYTES = -(-_BOX_PX * CHUNK * 2 // 1024) * 1024
_SHARED_BYTES = 227 * 1024
_MOST_STAGES = 8
_SMALL_BYTES = 2048
"""barriers, biases and slopes, amply"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What conv.cu is compiled for: the constants that its first lines tell of."""

    outputs: int
    taps: int
    source_steps: int
    extra_steps: int
    mode: int
    bfloat: bool
    groups: int = 2

    @property
    def chunks(self) -> int:
        return 1 + -(-self.extra_steps * STEP // CHUNK)

    @property
    def weight_bytes(self) -> int:
        return self.chunks * self.taps**2 * self.outputs * CHUNK * 2

    @property
    def stages(self) -> int:
        """Rows, of a chunk each, that are on their way or being multiplied, of each group."""
        room = _SHARED_BYTES - _SMALL_BYTES - self.weight_bytes
        return min(_MOST_STAGES, room // (self.groups * _STAGE_BYTES))

    @property
    def shared_bytes(self) -> int:
        return self.weight_bytes + self.groups * self.stages * _STAGE_BYTES + _SMALL_BYTES

    @property
    def threads(self) -> int:
        return (self.groups + 1) * 128

    @property
    def constants(self) -> list[str]:
        """As a compiler is told of them."""
        numbers = {name.upper(): value for name, value in asdict(self).items() if name != "bfloat"}
        return [f"-D{name}={value}" for name, value in numbers.items()] + [
            f"-DSTAGES={self.stages}",
            *(["-DBFLOAT"] if self.bfloat else []),
        ]


class Geometry(ctypes.Structure):
    """conv.cu's struct of the same name, which says what its fields are."""

    _fields_ = [(name, ctypes.c_int) for name in (
        "height", "width", "blocks", "lines", "share", "first_row", "first_column", "out_first", "out_image", "out_row",
        "out_step", "out_channels", "out_at",
    )] + [("alpha", ctypes.c_float)]  # fmt: skip


def source_text() -> str:
    """All of the program's source."""
    return "".join((Path(__file__).parent / name).read_text(encoding="utf-8") for name in ("machine.cu", "conv.cu"))


def compiled(program: Program) -> bytes:
    """The program for a GPU, compiled here and now. Raises RuntimeError with what the compiler says."""
    return compiled_and_said(program)[0]


def compiled_and_said(program: Program) -> tuple[bytes, str]:
    """The same, and what ptxas says of registers and products."""
    api = _bound("nvrtc")
    made = _checked(api.nvrtcCreateProgram(source_text().encode(), b"conv.cu", 0, [], []))
    try:
        options = [f"--gpu-architecture={_ARCHITECTURE}", "--std=c++17", "--ptxas-options=-v", *program.constants]
        (result,) = api.nvrtcCompileProgram(made, len(options), [option.encode() for option in options])
        log = bytearray(_checked(api.nvrtcGetProgramLogSize(made)))
        _checked(api.nvrtcGetProgramLog(made, log))
        said = " ".join(log.decode(errors="replace").split())
        if int(result):
            raise RuntimeError(f"NVRTC cannot compile a convolution: {said[:600]}")
        code = bytearray(_checked(api.nvrtcGetCUBINSize(made)))
        _checked(api.nvrtcGetCUBIN(made, code))
    finally:
        api.nvrtcDestroyProgram(made)
    return bytes(code), said


def code_of(program: Program, *, anew: bool = False) -> bytes:
    """As `compiled`, kept on the disk from one process to the next; `anew`: what is kept is of no use."""
    try:
        path = cache_folder("kernels") / f"{_name(program)}.cubin"
    except RuntimeError:  # no home folder, as in some containers
        return compiled(program)
    if not anew:
        with suppress(OSError):  # most often not there
            return path.read_bytes()
    begun = time.perf_counter()
    code = compiled(program)
    _LOG.info("compiled a convolution of %d outputs in %.1f s", program.outputs, time.perf_counter() - begun)
    staged = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        staged.write_bytes(code)
        staged.replace(path)
    except OSError as error:  # a cache that cannot be written costs seconds in each process, nothing else
        _LOG.info("a compiled convolution is not kept: %s", error)
        with suppress(OSError):
            staged.unlink(missing_ok=True)
    return code


def _name(program: Program) -> str:
    version = _checked(_bound("nvrtc").nvrtcVersion())
    said = [source_text(), _ARCHITECTURE, str(version), *program.constants]
    return hashlib.sha256("\0".join(said).encode()).hexdigest()[:32]


@cache
def _function(program: Program, device: torch.device) -> Any:
    """The program on a GPU, whose context is this thread's."""
    api = _bound("driver")
    del device  # the key
    try:
        module = _checked(api.cuModuleLoadData(code_of(program)))
    except RuntimeError:  # the disk has damaged what was kept, or there is no memory, which is told again
        module = _checked(api.cuModuleLoadData(code_of(program, anew=True)))
    function = _checked(api.cuModuleGetFunction(module, b"conv"))
    limit = api.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
    _checked(api.cuFuncSetAttribute(function, limit, program.shared_bytes))
    return function


@lru_cache(maxsize=1024)
def _map(address: int, pixels: int, channels: int, bfloat: bool) -> bytes:
    """How the copy engine finds boxes of `_BOX_PX` pixels by `CHUNK` channels in a plane; beyond its end lie zeros."""
    api = _bound("driver")
    types = api.CUtensorMapDataType
    made = _checked(
        api.cuTensorMapEncodeTiled(
            types.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 if bfloat else types.CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
            2,
            address,
            [api.cuuint64_t(channels), api.cuuint64_t(pixels)],
            [api.cuuint64_t(channels * 2)],
            [api.cuuint32_t(CHUNK), api.cuuint32_t(_BOX_PX)],
            [api.cuuint32_t(1), api.cuuint32_t(1)],
            api.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
            api.CUtensorMapSwizzle.CU_TENSOR_MAP_SWIZZLE_128B,
            api.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_128B,
            api.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
        )
    )
    return ctypes.string_at(int(made.getPtr()), 128)


def start(
    program: Program, planes: tuple[Tensor, Tensor], pointers: tuple[Tensor, ...], geometry: Geometry, blocks: int
) -> None:
    """Starts `blocks` blocks on the stream that torch works on.

    `planes` [pixels, channels] are read, both inputs; `pointers` are weights, biases, slopes, both residuals, output.
    """
    device = pointers[0].device
    with torch.cuda.device(device):
        function = _function(program, device)
        room = ctypes.create_string_buffer(2 * 128 + 64)
        first = -(-ctypes.addressof(room) // 64) * 64
        for at, plane in enumerate(planes):
            ctypes.memmove(first + at * 128, _map(plane.data_ptr(), *plane.shape, program.bfloat), 128)
        addresses = [ctypes.c_void_p(tensor.data_ptr()) for tensor in pointers]
        values = [first, first + 128, *map(ctypes.addressof, addresses), ctypes.addressof(geometry)]
        arguments = (ctypes.c_void_p * len(values))(*values)
        stream: int = torch.cuda.current_stream(device).cuda_stream
        api = _bound("driver")
        _checked(
            api.cuLaunchKernel(
                function, blocks, 1, 1, program.threads, 1, 1, program.shared_bytes, stream,
                ctypes.addressof(arguments), 0,
            )
        )  # fmt: skip


def _bound(name: str) -> Any:
    """A module of `cuda.bindings`, which comes with CUDA builds of torch only."""
    return import_module(f"cuda.bindings.{name}")


def _checked(answer: tuple[Any, ...]) -> Any:
    """What a call of `cuda.bindings` gives beside its error. Raises RuntimeError, in words as torch's are."""
    if int(answer[0]):
        raise RuntimeError(answer[0].name.lower().replace("_", " "))  # cuda error out of memory
    return answer[1] if len(answer) > 1 else None
