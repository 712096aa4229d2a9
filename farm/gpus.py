"""What torch can do on this machine's GPUs: tried in processes of their own, and remembered where it works."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path

from farm import __version__
from farm.fetch import cache_folder
from sr_kernel import hardware

_LOG = logging.getLogger("farm")
_COMPUTE = """
import torch
torch.nn.functional.conv2d(torch.ones(1, 3, 8, 8, device="cuda"), torch.ones(3, 3, 3, 3, device="cuda"))
torch.cuda.synchronize()
"""
_FUSED = """
import sys, torch
from sr_kernel.backend import fused_fault
sys.exit(fused_fault(torch.device("cuda:0")) or 0)
"""
_LIBRARIES = ("torch", "triton", "cuda-bindings", "nvidia-cuda-nvrtc", "nvidia-cuda-nvrtc-cu12")
"""that kernels are compiled and launched by; the last is that of torch for CUDA 12"""
_LIMIT_S = 300
_COMPILERS = ("cc", "gcc", "clang")
"""one of which Triton asks for, and whatever CC says"""


def compute_fault() -> str:
    """Why torch does not compute on the first GPU that this process may use; empty where it does."""
    return _fault(_COMPUTE, "whether torch computes on this machine's GPU")


def fused_fault() -> str:
    """Why the fused kernels do not work on the first GPU that this process may use; empty where they do."""
    return _fault(_FUSED, "whether the fused kernels work on this machine's GPU")


@cache
def say_once(text: str) -> None:
    """For people, on stderr: logged where nobody has asked for logs."""
    _LOG.warning("%s", text)


@cache
def _fault(program: str, what: str) -> str:
    """What a program says against a GPU. Asked once: whoever plans a run and whoever starts it must be told the same.

    Only what works is remembered beyond this process. What does not may be a driver that is just being loaded, or a GPU
    whose memory others hold.
    """
    mark = _mark(program)
    with suppress(OSError):
        if mark.read_bytes() == b"yes":
            return ""
    say_once(f"trying {what}: takes some seconds, and is remembered if so")
    try:
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=_LIMIT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"no answer in {_LIMIT_S} s"
    except OSError as error:
        return f"Python does not start: {error}"
    if ran.returncode != 0:
        lines = ran.stderr.decode(errors="replace").strip().splitlines()
        return lines[-1][:300] if lines else f"its process ended with {ran.returncode}"
    with suppress(OSError):  # a cache that cannot be written costs seconds, nothing else
        mark.parent.mkdir(parents=True, exist_ok=True)
        staged = mark.with_name(f"{mark.name}.{os.getpid()}")
        staged.write_bytes(b"yes")
        staged.replace(mark)
    return ""


def _mark(program: str) -> Path:
    """The file that says that a program works: of these GPUs, driver, libraries, and what kernels are compiled with."""
    known = (
        program,
        hardware.listed_gpus(),
        hardware.driver_version(),
        os.environ.get("CUDA_VISIBLE_DEVICES"),
        sys.executable,
        *(_version(package) for package in _LIBRARIES),
        _kernels(),
        __version__,
        os.environ.get("CC"),
        *map(shutil.which, _COMPILERS),
    )
    return cache_folder("gpus") / hashlib.sha256(repr(known).encode()).hexdigest()


def _kernels() -> str:
    """A digest of the fused kernels: what another version of them gave says nothing of these."""
    folder = Path(hardware.__file__).parent / "fused"
    files = sorted(path for path in folder.iterdir() if path.suffix in (".py", ".cu"))
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in files)).hexdigest()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""
