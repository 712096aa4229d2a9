"""How much of the machine's peak a model reaches inside its network on one CPU thread, and what surrounds it costs.

    python bench/network.py --model FILE [--size 768x512] [--tile-px 256 ...] [--batch 1 ...] [--precision bf16]

Peak is the best of a square matmul and of the model's own most frequent 3x3 convolution over five window shapes,
measured in the same run, in turns with the network, all in CPU seconds of the one thread; the share of the best matmul
alone is said, too. FLOP are counted by torch from the shapes that really ran, so that halos count as work; what they
cost is said apart: FLOP that ran over FLOP of the picture without any halo. For each window and batch: the largest
memory of the process meanwhile, and how near the output is to the whole picture's in fp32. Each is a line of
network.jsonl; exit code 1 where the share of the best matmul is less than it should be.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from figures import process_mb  # beside this file
from limits import SHARE_LEAST, Limit, add_flag, exit_code
from limits import kept as kept_limits
from limits import shown as shown_limits
from recorded import RESULTS, Figures, keep, machine
from torch.utils.flop_counter import FlopCounterMode

from sr_kernel.archs import RRDBNet
from sr_kernel.backend import DTYPES, Backend
from sr_kernel.models import ModelSpec
from sr_kernel.pixels import cut_window, to_unit
from sr_kernel.tiles import Box, PicturePlan, PictureSpec, Strategy, plan_picture
from sr_kernel.train.score import psnr
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file, load_state

Shape = tuple[int, ...]

_SHAPES_PX = (64, 128, 192, 256, 292)
_MATMULS = (1024, 2048)


def seconds_of(call: Callable[[], object]) -> float:
    """CPU seconds of the calling thread, which does all the work: what else runs on the machine counts less so."""
    start = time.thread_time()
    call()
    return time.thread_time() - start


def peak_calls(features: int, dtype: torch.dtype) -> dict[str, tuple[float, Callable[[], object]]]:
    """Name -> FLOP and call of everything whose rate may be the machine's peak."""
    calls: dict[str, tuple[float, Callable[[], object]]] = {}
    for side in _MATMULS:
        a, b = torch.randn(side, side).to(dtype), torch.randn(side, side).to(dtype)
        calls[f"matmul {side}"] = (2.0 * side**3, lambda a=a, b=b: a @ b)
    weight = torch.randn(features, features, 3, 3).to(dtype, memory_format=torch.channels_last)
    bias = torch.randn(features).to(dtype)
    for side in _SHAPES_PX:
        x = torch.randn(1, features, side, side).to(dtype, memory_format=torch.channels_last)
        calls[f"conv {side}"] = (18.0 * features**2 * side**2, lambda x=x: F.conv2d(x, weight, bias, padding=1))
    return calls


def conv_flop(x: Shape, weight: Shape, *_: object, **__: object) -> int:
    """FLOP of a padded 3x3 convolution of stride 1, from the shapes of input (N, C, H, W) and weight."""
    return 2 * x[0] * x[2] * x[3] * math.prod(weight)


def flop_of(call: Callable[[], object]) -> float:
    with FlopCounterMode(display=False, custom_mapping={torch.ops.aten.mkldnn_convolution: conv_flop}) as counter:
        call()
    return float(counter.get_total_flops())


def network_pass(
    backend: Backend, plan: PicturePlan, picture: np.ndarray, precision: str, batch: int = 1
) -> Callable[[], object]:
    """The network alone over a picture: uploads done before, all of its output written, nothing finished after."""
    if plan.strategy is Strategy.BODY:
        return body_pass(backend, plan, picture, precision)
    alike: dict[Box, list[np.ndarray]] = defaultdict(list)
    for tile in plan.tiles:
        read, keep = tile.read, tile.keep
        inner = Box(x0=keep.x0 - read.x0, y0=keep.y0 - read.y0, x1=keep.x1 - read.x0, y1=keep.y1 - read.y0)
        alike[inner].append(cut_window(picture, read))
    batches = [
        (to_unit(backend.upload(windows[at : at + batch]), torch.float32), inner)
        for inner, windows in alike.items()
        for at in range(0, len(windows), batch)
    ]

    def run() -> None:
        for x, inner in batches:
            backend.run(x, inner, precision)

    return run


def body_pass(backend: Backend, plan: PicturePlan, picture: np.ndarray, precision: str) -> Callable[[], object]:
    """As `network_pass` of a picture whose body runs whole: the body, then the tail tile by tile."""
    whole = Box(x0=0, y0=0, x1=plan.spec.padded_width, y1=plan.spec.padded_height)
    x = to_unit(backend.upload([cut_window(picture, whole)]), torch.float32)
    network = backend.network(precision)
    assert isinstance(network, RRDBNet)

    def run() -> None:
        with torch.inference_mode():
            features = network.body(x)
            for tile in plan.tiles:
                network.tail(features, whole, tile.keep)

    return run


def plan_of(spec: ModelSpec, width: int, height: int, tile_px: int) -> PicturePlan:
    return plan_picture(
        PictureSpec(
            width=width,
            height=height,
            scale=spec.scale,
            outscale=spec.scale,
            halo_px=spec.halo_px,
            align_px=spec.align_px,
            whole_body=False,
            tile_px=tile_px,
            exact_px=1,
        )
    )


def psnr_db(made: np.ndarray, exact: np.ndarray) -> float | None:
    """Of 8-bit pictures; None for equal ones."""
    found = psnr(made, exact, crop_px=0)
    return round(found, 1) if math.isfinite(found) else None


def forget_peak() -> None:
    """From now on VmHWM of this process is what it holds from now on."""
    Path("/proc/self/clear_refs").write_text("5")


class Bench:
    """One model over one picture in one precision."""

    def __init__(self, options: argparse.Namespace) -> None:
        spec = describe_file(options.model)
        self._options, self._spec = options, spec
        self._width, self._height = map(int, options.size.split("x"))
        self._picture = np.random.default_rng(0).integers(0, 256, (self._height, self._width, 3), dtype=np.uint8)
        self._backend = Backend(spec, load_state(options.model, spec), "cpu")
        self._upscaler = Upscaler(spec, self._backend)
        whole = self._plan(max(self._width, self._height))
        self._bare = flop_of(network_pass(self._backend, whole, self._picture, options.precision))
        self._exact = self._upscaler.restore(self._picture, whole, Settings(precision="fp32")).pixels

    def _plan(self, tile_px: int) -> PicturePlan:
        return plan_of(self._spec, self._width, self._height, tile_px)

    def measure(self, tile_px: int, batch: int) -> Figures:
        """In turns with what may be the machine's peak."""
        options, picture, plan = self._options, self._picture, self._plan(tile_px)
        assert plan.strategy is Strategy.WINDOWS
        settings = Settings(precision=options.precision, batch=batch)
        network = network_pass(self._backend, plan, picture, options.precision, batch)
        ran = flop_of(network)
        peaks = peak_calls(self._spec.features, DTYPES[options.precision])
        rates = dict.fromkeys(peaks, 0.0)
        inside: list[float] = []
        outside: list[float] = []
        for _ in range(options.rounds):
            for name, (flop, call) in peaks.items():
                rates[name] = max(rates[name], flop / min(seconds_of(call) for _ in range(3)))
            inside.append(seconds_of(network))
            outside.append(seconds_of(lambda: self._upscaler.restore(picture, plan, settings)))
        forget_peak()
        made = self._upscaler.restore(picture, plan, settings).pixels
        peak = max(rates.values())
        matmul = max(rate for name, rate in rates.items() if name.startswith("matmul"))
        best, restored = min(inside), min(outside)
        return {
            "model": self._spec.name,
            "size": options.size,
            "window": [plan.tiles[0].read.width, plan.tiles[0].read.height],
            "windows": len(plan.tiles),
            "batch": batch,
            "precision": options.precision,
            "peak_gflops": {name: round(rate / 1e9, 1) for name, rate in rates.items()},
            "network_share_of_matmul": round(ran / best / matmul, 3),
            "network_share_of_peak": round(ran / best / peak, 3),
            "network_share_of_peak_median": round(ran / float(np.median(inside)) / peak, 3),
            "halo_flop_ran_over_bare": round(ran / self._bare, 3),
            "network_s": round(best, 3),
            "restore_s": round(restored, 3),
            "network_share_of_restore": round(best / restored, 3),
            "megapixels_per_s": round(self._width * self._height / restored / 1e6, 4),
            "memory_mb": round(process_mb()),
            "psnr_to_fp32_db": psnr_db(made, self._exact),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="an SRVGGNetCompact or RRDBNet weight file")
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--tile-px", type=int, nargs="+", default=[256])
    parser.add_argument("--batch", type=int, nargs="+", default=[1], help="windows that go through the network at once")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of network.jsonl")
    add_flag(parser)
    options = parser.parse_args()
    torch.set_num_threads(1)
    bench, held = Bench(options), list[Limit]()
    for tile_px in options.tile_px:
        for batch in options.batch:
            found = bench.measure(tile_px, batch)
            what = f"{found['model']}, {options.precision}, {tile_px} px, batch {batch}: share of the matmul peak"
            share = found["network_share_of_matmul"]
            own = [Limit(what=what, found=share, least=SHARE_LEAST, digits=3)] if options.precision == "bf16" else []
            print(json.dumps(found, indent=1))
            keep("network", {**machine("torch"), **found, "limits": kept_limits(own)}, options.results)
            held += own
    print(shown_limits(held), file=sys.stderr)
    return exit_code(held, options)


if __name__ == "__main__":
    sys.exit(main())
