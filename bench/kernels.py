"""The fused kernels against the plain networks on one NVIDIA GPU: equal within half precision, and how fast.

    PYTHONPATH=. python bench/kernels.py [--out FILE] [--precision fp16] [--results FOLDER]

Every sort of convolution of `sr_kernel.fused` alone, then whole networks, seeded, over frames, and over windows in
batches of 1, 8 and 16: rate, share of the matmul, memory, PSNR to fp32. A check that fails is a line that says so and
makes the exit code 1. FLOP as `flop_per_px` counts them, without halos; times are medians of events. One line of
kernels.jsonl.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from gpu_checks import Sizes, seeded_file  # beside this file
from recorded import RESULTS, Figures, keep, machine
from torch import Tensor

from sr_kernel.archs import ARCHS
from sr_kernel.backend import DTYPES
from sr_kernel.fused.layer import FusedConv, FusedDoubling, Residual
from sr_kernel.fused.plane import Extent, Plane
from sr_kernel.fused.rrdb import FusedRRDBNet
from sr_kernel.fused.srvgg import FusedSRVGG
from sr_kernel.models import MODELS, flop_per_px
from sr_kernel.tiles import Box
from sr_kernel.weights import load_state

DEVICE = torch.device("cuda:0")
CONVOLUTIONS = (
    (3, 0, 64), (64, 0, 64), (64, 0, 32), (64, 32, 32), (64, 64, 32), (64, 96, 32), (64, 128, 32), (64, 0, 8),
)  # fmt: skip
"""channels of the first plane and of the second, and those that are made"""


def milliseconds(call: Callable[[], object], most: int = 20, budget_s: float = 1.5) -> float:
    """Median time of a call on the device."""
    call()
    torch.cuda.synchronize()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < most and (len(times) < 3 or time.perf_counter() - begun < budget_s):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        call()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


class Lines:
    """What is printed, kept for the file, and whether anything was wrong."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.failed = False
        self.matmul = 0.0
        """TFLOP/s"""
        self.networks: list[Figures] = []

    def say(self, line: str) -> None:
        self.text.append(line)
        print(line, flush=True)

    def trying(self, what: str, call: Callable[[], str]) -> None:
        begun = time.perf_counter()
        try:
            self.say(f"{what}: {call()} ({time.perf_counter() - begun:.1f} s)")
        except Exception as error:  # whatever a compiler or a device raises belongs into the table
            self.failed = True
            self.say(f"{what}: FAILED {type(error).__name__}: {' '.join(str(error).split())[-600:]}")


def peak(lines: Lines, dtype: torch.dtype) -> None:
    a, b = (torch.randn(8192, 8192, dtype=dtype, device=DEVICE) for _ in range(2))
    taken = milliseconds(lambda: a @ b)
    lines.matmul = 2 * 8192**3 / taken / 1e9
    lines.say(f"matmul 8192: {lines.matmul:.0f} TFLOP/s")
    x = torch.randn(1, 64, 1080, 1920, dtype=dtype, device=DEVICE).contiguous(memory_format=torch.channels_last)
    w = torch.randn(64, 64, 3, 3, dtype=dtype, device=DEVICE).contiguous(memory_format=torch.channels_last)
    taken = milliseconds(lambda: F.conv2d(x, w, padding=1))
    lines.say(f"cuDNN conv 64 to 64 at 1080p: {taken:.3f} ms, {18 * 64 * 64 * 1080 * 1920 / taken / 1e9:.0f} TFLOP/s")


def one_convolution(cut: tuple[int, int, int], dtype: torch.dtype, mode: int) -> str:
    """A convolution alone: correct on a small odd extent of several images, timed on a frame."""
    source, extra, out = cut
    into = source + extra
    weight = torch.randn(out, into, 3, 3, device=DEVICE, dtype=dtype) / (9 * into) ** 0.5
    bias = torch.randn(out, device=DEVICE, dtype=dtype)
    slope = torch.rand(out, device=DEVICE, dtype=dtype)
    conv = FusedConv(weight, bias, slope if mode == 0 else None, extra=extra)
    said = ""
    for extent in (Extent(count=3, height=37, width=150), Extent(count=1, height=1080, width=1920)):
        x, grown = drawn(extent, 64, dtype), drawn(extent, 128, dtype)
        base, made = drawn(extent, 64, dtype), drawn(extent, max(out, 8), dtype)
        made = drawn(extent, 64, dtype) if out > 8 else made
        x.fill(x.images[..., :source].clone())
        at = made.data.shape[1] - out
        residual = Residual(plane=x, alpha=0.2, base=base if mode == 2 else None) if mode else None

        def run(
            x: Plane = x, made: Plane = made, grown: Plane = grown, residual: Residual | None = residual, at: int = at
        ) -> None:
            conv(x, made, extra=grown if extra else None, at=at, residual=residual)

        run()
        both = torch.cat([x.images[..., :source], grown.images[..., :extra]], dim=3)
        wanted = convolved(both, weight, bias)
        if residual is None:
            wanted = torch.where(wanted >= 0, wanted, wanted * slope.float())
        else:
            wanted = x.images[..., at : at + out].float() + 0.2 * wanted
            wanted = base.images.float()[..., at : at + out] + 0.2 * wanted if mode == 2 else wanted
        same_again(run, made)
        said += f"off by {difference(made, at, wanted):.4f}; "
        taken = milliseconds(run)
    return f"{said}1080p {taken:.3f} ms, {18 * into * out * 1080 * 1920 / taken / 1e9:.0f} TFLOP/s"


def same_again(run: Callable[[], None], made: Plane, times: int = 20) -> None:
    """Raises AssertionError where a race gives other bytes."""
    first = made.data.clone()
    for _ in range(times):
        run()
        if not torch.equal(made.data, first):
            raise AssertionError(f"{made.extent}: other bytes for the same")


def doubling(dtype: torch.dtype) -> str:
    """A convolution over a picture of twice the size, from the small one; FLOP as of the large one."""
    weight = torch.randn(64, 64, 3, 3, device=DEVICE, dtype=dtype) / 24
    bias, slope = (torch.rand(64, device=DEVICE, dtype=dtype) for _ in range(2))
    conv, said = FusedDoubling(weight, bias, slope), ""
    for small in (Extent(count=3, height=37, width=150), Extent(count=1, height=540, width=960)):
        large = Extent(count=small.count, height=2 * small.height, width=2 * small.width)
        x, made = drawn(small, 64, dtype), drawn(large, 64, dtype)
        conv(x, made)
        doubled = x.images.repeat_interleave(2, 1).repeat_interleave(2, 2)
        wanted = convolved(doubled, weight, bias)
        wanted = torch.where(wanted >= 0, wanted, wanted * slope.float())
        said += f"off by {difference(made, 0, wanted):.4f}; "
        taken = milliseconds(lambda x=x, made=made: conv(x, made))
    return f"{said}1080p {taken:.3f} ms, {18 * 64 * 64 * 1080 * 1920 / taken / 1e9:.0f} TFLOP/s"


def drawn(extent: Extent, channels: int, dtype: torch.dtype) -> Plane:
    made = Plane.zeros(extent, channels, torch.empty(0, dtype=dtype, device=DEVICE))
    made.images[:] = torch.randn(made.images.shape, device=DEVICE)
    return made


def convolved(pixels: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(pixels.permute(0, 3, 1, 2).float(), weight.float(), bias.float(), padding=1).permute(0, 2, 3, 1)


def difference(made: Plane, at: int, wanted: Tensor) -> float:
    """The largest one. Raises AssertionError where it is not rounding, or where the border was written to."""
    worst = (made.images[..., at : at + wanted.shape[3]].float() - wanted).abs().max().item()
    if not worst < 0.06:
        raise AssertionError(f"{made.extent}: off by {worst:.4f}")
    made.images.zero_()
    if made.data.any():
        raise AssertionError(f"{made.extent}: wrote to the border")
    return worst


def psnr_db(made: Tensor, exact: Tensor) -> float:
    """Of samples 0..1, not rounded."""
    return -10 * math.log10(float((made - exact).square().mean()))


def network(lines: Lines, name: str, precision: str, size: tuple[int, int, int], scratch: Path) -> str:
    """A whole network against the plain one in the same precision and in fp32, and both timed."""
    count, height, width = size
    spec, path = seeded_file(MODELS[name], scratch, Sizes())
    state = load_state(path, spec)
    like = torch.empty(0, dtype=DTYPES[precision], device=DEVICE)
    make = FusedSRVGG if spec.arch == "srvgg" else FusedRRDBNet
    fused, plain = make(spec, state, like), ARCHS[spec.arch].make(spec, state, like, trimmed=False)
    exact = ARCHS[spec.arch].make(spec, state, like.float(), trimmed=False)
    with torch.inference_mode():
        small = torch.rand(2, 3, 64, 96, device=DEVICE).contiguous(memory_format=torch.channels_last)
        whole = Box(x0=0, y0=0, x1=96, y1=64)
        wanted = exact(small, whole)
        made = [net(small, whole).clone() for net in (fused, plain)]
        errors = [(one - wanted).abs().max().item() * 255 for one in made]
        near = [psnr_db(one, wanted) for one in made]
        x = torch.rand(count, 3, height, width, device=DEVICE).contiguous(memory_format=torch.channels_last)
        keep = Box(x0=0, y0=0, x1=width, y1=height)
        rates: list[str] = []
        for kernel, net, error, psnr in zip(("fused", "plain"), (fused, plain), errors, near, strict=True):
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            taken = milliseconds(lambda net=net: net(x, keep), most=7)
            memory = (torch.cuda.max_memory_allocated() - before) / 2**30
            rate = flop_per_px(spec) * count * height * width / taken / 1e9
            share = rate / lines.matmul
            rates.append(f"{taken:.2f} ms = {rate:.0f} TFLOP/s, {share:.0%} of matmul, {memory:.2f} GiB, {psnr:.1f} dB")
            lines.networks.append(
                {
                    "model": name,
                    "kernel": kernel,
                    "precision": precision,
                    "batch": count,
                    "window": [width, height],
                    "ms": round(taken, 3),
                    "source_mpx_s": round(count * height * width / taken / 1e3, 2),
                    "share_of_matmul": round(share, 4),
                    "memory_gib": round(memory, 3),
                    "levels_off_fp32": round(error, 3),
                    "psnr_to_fp32_db": round(psnr, 1),
                }
            )
    if errors[0] > max(2.0, 2 * errors[1]):
        raise AssertionError(f"off by {errors[0]:.2f} levels, plain {errors[1]:.2f}")
    return f"levels off fp32: fused {errors[0]:.2f}, plain {errors[1]:.2f}; fused {rates[0]}; plain {rates[1]}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--precision", choices=("fp16", "bf16"), default="fp16")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of kernels.jsonl")
    options = parser.parse_args()
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    lines, dtype = Lines(), DTYPES[options.precision]
    lines.say(f"{torch.cuda.get_device_name(0)}, torch {torch.__version__}, {options.precision}")
    with torch.inference_mode():
        peak(lines, dtype)
        for cut in CONVOLUTIONS:
            for mode in (0, 1, 2) if cut[1] == 128 else (0,):
                lines.trying(f"{cut} mode {mode}", lambda cut=cut, mode=mode: one_convolution(cut, dtype, mode))
        lines.trying("doubling", lambda: doubling(dtype))
    for name, size in (
        ("animevideov3", (1, 1080, 1920)),
        ("animevideov3", (1, 292, 292)),
        ("animevideov3", (8, 292, 292)),
        ("animevideov3", (16, 292, 292)),
        ("animevideov3", (8, 548, 548)),
        ("general-x4v3", (1, 1080, 1920)),
        ("x4plus-anime", (1, 1080, 1920)),
        ("x4plus", (1, 540, 960)),
        ("x4plus", (1, 256, 256)),
        ("x4plus", (8, 256, 256)),
        ("x4plus", (16, 256, 256)),
    ):
        what = f"{name} {options.precision} {size[0]} x {size[2]}x{size[1]}"
        lines.trying(what, lambda name=name, size=size: network(lines, name, options.precision, size, options.scratch))
    if options.out:
        options.out.write_text("\n".join(lines.text) + "\n", encoding="utf-8")
    told = {"gpu": torch.cuda.get_device_name(0), "matmul_tflop_s": round(lines.matmul, 1), "networks": lines.networks}
    keep("kernels", {**machine("torch", "triton"), **told}, options.results)
    return 1 if lines.failed else 0


if __name__ == "__main__":
    sys.exit(main())
