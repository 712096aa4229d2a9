"""What the processor and the C library of this machine can do, asked without loading torch."""

from __future__ import annotations

import ctypes
import math
import os
import platform
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

from sr_kernel import control_group

FUSED_CAPABILITY = 9
"""major CUDA capability of the GPUs whose tensor cores and copy engine `sr_kernel.fused` is written for: Hopper"""
TRITON_CAPABILITY = (8, 0)
"""the least that Triton makes kernels for, and that they are tried on"""
CPUINFO = Path("/proc/cpuinfo")

# x86: a dot product of bfloat16 pairs in one instruction; arm: FEAT_BF16. Without these torch emulates bf16, slowly.
_BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_BF16_EMULATED = frozenset({"avx512bw", "avx512vl", "avx512dq"})
"""x86: with these, or with avx_ne_convert, torch emulates convolutions in bf16; without, it refuses them"""


_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
"""parameters of glibc's mallopt (malloc.h)"""
_LARGEST_KEPT = 32 << 20
"""glibc takes no higher threshold; larger blocks always go back to the system"""
_MOST_KEPT = 512 << 20
_HEAP_BYTES = 64 << 20
"""the largest heap of an arena: with so much to spare asked for, glibc gives none back (malloc/arena.c, heap_trim)"""


def keep_freed_memory() -> bool:
    """Makes this process keep freed blocks of up to 32 MB, 512 MB in all, instead of handing them back.

    Every layer of a network allocates its output. glibc returns such blocks to the system when they are freed, and the
    next layer pays for fresh zeroed pages, one fault a page: with this, animevideov3 in bf16 reached 91 % of the
    machine's peak inside the network, without it 86 % (bench/network.py, one core of Zen 4). No further arenas, since
    the thread that calls the network is seldom the first; those that are there keep their heaps, which one of two
    workers otherwise took and gave back with every frame. False where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL(None)
    wanted = {
        _M_MMAP_THRESHOLD: _LARGEST_KEPT,
        _M_TRIM_THRESHOLD: _MOST_KEPT,
        _M_TOP_PAD: _HEAP_BYTES,
        _M_ARENA_MAX: 1,
    }
    taken = [bool(libc.mallopt(parameter, value)) for parameter, value in wanted.items()]
    return all(taken)


def give_back_freed_memory() -> bool:
    """Gives the whole pages of all freed blocks of this process back to the system; whether there were any.

    Blocks that live long lie between those of a few frames, so that with time a heap gets holes that nothing fits into.
    It takes some 30 ms a gigabyte, and whoever allocates next pays for fresh pages. False where the C library is not
    glibc.
    """
    return platform.libc_ver()[0] == "glibc" and bool(ctypes.CDLL(None).malloc_trim(0))


def cpu_flags(cpuinfo: Path = CPUINFO) -> frozenset[str]:
    """Feature flags of the first processor as Linux names them; empty where the system does not tell."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()


def cpu_has_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether this processor multiplies bfloat16 natively, so that bf16 is faster than fp32.

    False on macOS and wherever flags cannot be read: fp32 is right everywhere. Measured by bench/network.py on one core
    of Zen 4 (avx512_bf16), animevideov3: 0.154 megapixels a second in bf16, 0.079 in fp32.
    """
    if platform.system() != "Linux":
        return False
    return bool(_BF16_FLAGS & cpu_flags(cpuinfo))


def cpu_runs_bf16(cpuinfo: Path = CPUINFO) -> bool:
    """Whether torch computes convolutions in bf16 on this processor at all, however slowly."""
    flags = cpu_flags(cpuinfo)
    x86 = "sse2" in flags
    return not x86 or "avx_ne_convert" in flags or flags >= _BF16_EMULATED


def physical_bytes() -> int:
    """Memory of this machine, whoever may use it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def memory_bytes(root: Path = control_group.ROOT) -> int:
    """Memory of this machine, or what the control groups of this process allow when that is less."""
    return min(physical_bytes(), control_group.memory_limit(root) or sys.maxsize)


def cores_here() -> tuple[int, ...]:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def core_quota() -> float:
    """Of how many cores the control groups give this process the time; infinite without a limit."""
    return control_group.cores_limit() or math.inf


def busy_cores(cores: int) -> int:
    """How many of so many this process can keep busy: a quota may leave it the time of fewer (`docker run --cpus`)."""
    return math.ceil(min(cores, core_quota()))


def nvidia_smi(*arguments: str) -> str:
    """What the driver's program says; empty where it is not installed, fails or does not answer in 10 s.

    A process asks each question until it is answered, and not again: a GPU or a driver comes with a reboot.
    """
    program = shutil.which("nvidia-smi")
    if program is None:
        return ""
    try:
        return _answer(program, arguments)
    except (OSError, subprocess.SubprocessError):
        return ""


@cache
def _answer(program: str, arguments: tuple[str, ...]) -> str:
    """Raises, so that nothing is kept, where there is none."""
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=10, check=True).stdout


def listed_gpus() -> str:
    """What the driver's nvidia-smi lists, a line a GPU; empty where there is none."""
    return nvidia_smi("-L")


def driver_gpus() -> tuple[tuple[str, tuple[int, int]], ...]:
    """Name and CUDA capability of each GPU that the driver knows, without loading torch; (0, 0): it does not say."""
    lines = (line.rpartition(",")[0] for line in _queried())
    return tuple((name.strip(), _capability(text)) for name, _, text in (line.rpartition(",") for line in lines))


def driver_version() -> str:
    """Of NVIDIA's driver; empty where there is none."""
    return next((line.rpartition(",")[2].strip() for line in _queried()), "")


def _queried() -> list[str]:
    """Name, CUDA capability and the driver's version, a line a GPU."""
    return nvidia_smi("--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader").splitlines()


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.strip().partition(".")
    return (int(major), int(minor)) if major.isdecimal() and minor.isdecimal() else (0, 0)


def visible_gpus() -> int:
    """NVIDIA GPUs that this process may use, without loading torch; CUDA_VISIBLE_DEVICES is respected."""
    there = sum(line.startswith("GPU ") for line in listed_gpus().splitlines())
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return there
    return min(there, sum(bool(part.strip()) and part.strip() != "-1" for part in chosen.split(",")))
