"""The program of the fused kernels itself, conv.cu, run by a CPU: every thread, ring, barrier and register of it.

`emulated/machine.h` stands in for what only the machine can do. What it cannot tell is whether the machine does that:
tests/gpu.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sr_kernel.fused import layer, program
from sr_kernel.fused.layer import FusedConv, FusedDoubling, Residual, geometry_of, program_of
from sr_kernel.fused.plane import Extent, Plane
from sr_kernel.fused.program import Program, code_of, compiled

HERE = Path(__file__).parent
BLOCKS = 2
SMALL = Extent(count=2, height=5, width=70)
"""two blocks of 64 pixels a row, the second nearly empty; shares that begin and end anywhere"""
PROGRAMS = [
    Program(outputs=outputs, taps=3, source_steps=steps, extra_steps=extra, mode=mode, bfloat=bfloat, groups=groups)
    for outputs, groups, steps, extra, mode in (
        (64, 2, 1, 0, 0), (64, 2, 3, 0, 0), (64, 2, 4, 0, 0), (64, 2, 4, 0, 1), (32, 2, 4, 0, 0), (32, 2, 4, 2, 0),
        (32, 2, 4, 4, 0), (32, 2, 4, 6, 0), (32, 2, 4, 8, 1), (32, 2, 4, 8, 2), (8, 3, 4, 0, 0),
    )
    for bfloat in (False, True)
]  # fmt: skip
PROGRAMS += [
    Program(outputs=64, taps=2, source_steps=4, extra_steps=0, mode=0, bfloat=bfloat) for bfloat in (False, True)
]
SLOW = ("C7510", "C7513", "C7514", "C7520")
"""what ptxas says where it waits for products one by one"""

needs_compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++ to compile the emulated program with")
needs_nvrtc = pytest.mark.skipif(find_spec("cuda") is None, reason="torch of this platform comes without NVRTC")


class _Map(ctypes.Structure):
    """machine.h's Map."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("pixels", ctypes.c_longlong),
        ("channels", ctypes.c_int),
        ("rest", ctypes.c_char * 44),
    )


class Emulated:
    """`sr_kernel.fused.layer.launch` by a CPU."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._built: dict[Program, ctypes.CDLL] = {}

    def __call__(self, conv: FusedConv, x: Plane, out: Plane, extra: Plane, at: int, residual: Residual | None) -> None:
        wanted = program_of(conv, residual)
        if wanted not in self._built:
            self._built[wanted] = self._build(wanted)
        first = out if residual is None else residual.plane
        second = first if residual is None or residual.base is None else residual.base
        maps = [_Map(plane.data.data_ptr(), *plane.data.shape, b"") for plane in (x, extra)]
        tensors = (conv.weight, conv.bias, conv.slope, first.data, second.data, out.data)
        place = geometry_of(conv, x.extent, out, at, residual, BLOCKS * wanted.groups)
        pointers = [ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
        self._built[wanted].launch(*map(ctypes.byref, maps), *pointers, ctypes.byref(place), BLOCKS)

    def _build(self, wanted: Program) -> ctypes.CDLL:
        source = self._folder / f"{len(self._built)}.cpp"
        parts = (
            HERE / "emulated" / "machine.h",
            Path(program.__file__).parent / "conv.cu",
            HERE / "emulated" / "launch.h",
        )
        source.write_text("".join(part.read_text(encoding="utf-8") for part in parts), encoding="utf-8")
        made = source.with_suffix(".so")
        command = [
            "g++",
            "-std=c++20",
            "-O1",
            "-w",
            "-fPIC",
            "-shared",
            "-pthread",
            *wanted.constants,
            source,
            "-o",
            made,
        ]
        built = subprocess.run(command, capture_output=True, text=True, check=False)
        assert built.returncode == 0, built.stderr
        return ctypes.CDLL(str(made))


@pytest.fixture(scope="module")
def emulated(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return Emulated(tmp_path_factory.mktemp("emulated"))


def drawn(extent: Extent, channels: int, dtype: torch.dtype) -> Plane:
    plane = Plane.zeros(extent, channels, torch.empty(0, dtype=dtype))
    plane.images[:] = torch.randn(plane.images.shape)
    return plane


def convolved(pixels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    made = F.conv2d(pixels.permute(0, 3, 1, 2).float(), weight.float(), bias.float(), padding=1)
    return made.permute(0, 2, 3, 1)


def check(plane: Plane, at: int, wanted: Tensor) -> None:
    """Equal within rounding, and nothing written beside."""
    tolerance = 0.004 if plane.data.dtype == torch.float16 else 0.03
    part = plane.images[..., at : at + wanted.shape[3]]
    torch.testing.assert_close(part.float(), wanted, atol=tolerance, rtol=0)
    part.zero_()
    assert not plane.data.any()


@needs_compiler
@pytest.mark.parametrize(
    ("into", "extra", "out", "mode", "dtype"),
    [
        (3, 0, 64, 0, torch.float16),
        (64, 0, 64, 1, torch.float16),
        (64, 96, 32, 0, torch.bfloat16),
        (64, 128, 32, 2, torch.float16),
        (64, 0, 8, 0, torch.float16),
    ],
)
def test_the_program_is_the_convolution(
    into: int, extra: int, out: int, mode: int, dtype: torch.dtype, emulated: Emulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layer, "launch", emulated)
    torch.manual_seed(out + extra)
    weight = (torch.randn(out, into + extra, 3, 3) / (9 * (into + extra)) ** 0.5).to(dtype)
    bias, slope = torch.randn(out).to(dtype), torch.rand(out).to(dtype)
    x, base, grown = drawn(SMALL, 64, dtype), drawn(SMALL, 64, dtype), drawn(SMALL, 128, dtype)
    if into < 64:
        pixels = x.images[..., :into].clone()
        x.images[:] = float("nan")
        x.fill(pixels)
    at = 64 - out if mode else 0
    made = Plane.zeros(SMALL, 64 if mode else out, x.data)
    residual = Residual(plane=x, alpha=0.2, base=base if mode == 2 else None) if mode else None
    conv = FusedConv(weight, bias, None if mode else slope, extra=extra)
    conv(x, made, extra=grown if extra else None, at=at, residual=residual)
    wanted = convolved(torch.cat([x.images[..., :into], grown.images[..., :extra]], dim=3), weight, bias)
    if mode == 0:
        wanted = torch.where(wanted >= 0, wanted, wanted * slope.float())
    else:
        part = slice(at, at + out)
        wanted = x.images[..., part].float() + 0.2 * wanted
        wanted = base.images[..., part].float() + 0.2 * wanted if mode == 2 else wanted
    check(made, at, wanted)


@needs_compiler
def test_the_program_convolves_a_doubled_plane(emulated: Emulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "launch", emulated)
    weight, bias, slope = (torch.randn(64, 64, 3, 3) / 24).half(), torch.randn(64).half(), torch.rand(64).half()
    x = drawn(SMALL, 64, torch.float16)
    made = Plane.zeros(Extent(count=2, height=10, width=140), 64, x.data)
    FusedDoubling(weight, bias, slope)(x, made)
    wanted = convolved(x.images.repeat_interleave(2, 1).repeat_interleave(2, 2), weight, bias)
    check(made, 0, torch.where(wanted >= 0, wanted, wanted * slope.float()))


@pytest.mark.parametrize("wanted", PROGRAMS, ids=str)
def test_weights_and_rings_fit_what_a_block_shares(wanted: Program) -> None:
    assert wanted.stages >= 4
    assert wanted.shared_bytes <= 227 * 1024


@needs_nvrtc
@pytest.mark.parametrize("wanted", PROGRAMS, ids=str)
def test_every_program_compiles_to_products_that_overlap(wanted: Program) -> None:
    code, said = program.compiled_and_said(wanted)
    assert code[:4] == b"\x7fELF"
    if wanted.source_steps > 1:  # a single step is waited for anyway, before its registers are filled again
        assert not [sign for sign in SLOW if sign in said], said
        assert "0 bytes spill stores" in said or wanted.groups == 3


@needs_nvrtc
def test_a_program_is_compiled_once_a_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    code = code_of(PROGRAMS[0])
    (kept,) = tmp_path.rglob("*.cubin")
    assert kept.read_bytes() == code
    kept.write_bytes(b"\x7fELF, another")
    assert code_of(PROGRAMS[0]) == b"\x7fELF, another"
    assert code_of(PROGRAMS[0], anew=True) == code  # a disk that damaged it
    assert kept.read_bytes() == code
    assert [*tmp_path.rglob("*")] == [tmp_path / "farm", tmp_path / "farm" / "kernels", kept]
    monkeypatch.setenv("XDG_CACHE_HOME", str(kept))  # no folder: nothing can be kept
    assert code_of(PROGRAMS[0]) == code

    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", homeless)
    assert code_of(PROGRAMS[0]) == code


@needs_nvrtc
def test_what_does_not_compile_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "source_text", lambda: "nonsense")
    with pytest.raises(RuntimeError, match=r"NVRTC cannot compile a convolution: .*nonsense"):
        compiled(PROGRAMS[0])
