"""How much of the machine's peak a model reaches inside its network on one CPU thread, and what surrounds it costs.

    python bench/network.py --model FILE [--size 768x512] [--rounds 5] [--precision bf16]

Peak is the best of a square matmul and of the model's own most frequent 3x3 convolution over five window shapes,
measured in the same run, in turns with the network, all in CPU seconds of the one thread; the share of the best matmul
alone is said, too. FLOP are counted by torch from the shapes that really ran, so that halos count as work; what they
cost is said apart: FLOP that ran over FLOP of the picture without any halo.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from sr_kernel.archs import RRDBNet
from sr_kernel.backend import DTYPES, Backend
from sr_kernel.models import ModelSpec
from sr_kernel.pixels import cut_window, to_unit
from sr_kernel.tiles import Box, PicturePlan, PictureSpec, Strategy, plan_picture
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


def network_pass(backend: Backend, plan: PicturePlan, picture: np.ndarray, precision: str) -> Callable[[], object]:
    """The network alone over a picture: uploads done before, nothing finished after."""
    if plan.strategy is Strategy.BODY:
        return body_pass(backend, plan, picture, precision)
    windows = [(to_unit(backend.upload([cut_window(picture, tile.read)]), torch.float32), tile) for tile in plan.tiles]

    def run() -> None:
        for x, tile in windows:
            read, keep = tile.read, tile.keep
            inner = Box(x0=keep.x0 - read.x0, y0=keep.y0 - read.y0, x1=keep.x1 - read.x0, y1=keep.y1 - read.y0)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="an SRVGGNetCompact or RRDBNet weight file")
    parser.add_argument("--size", default="768x512")
    parser.add_argument("--tile-px", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    options = parser.parse_args()
    torch.set_num_threads(1)

    spec = describe_file(options.model)
    width, height = map(int, options.size.split("x"))
    plan = plan_of(spec, width, height, options.tile_px)
    assert plan.strategy is Strategy.WINDOWS
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    backend = Backend(spec, load_state(options.model, spec), "cpu")
    upscaler = Upscaler(spec, backend)
    settings = Settings(precision=options.precision)

    network = network_pass(backend, plan, picture, options.precision)
    ran = flop_of(network)
    whole = plan_of(spec, width, height, max(width, height))
    bare = flop_of(network_pass(backend, whole, picture, options.precision))
    peaks = peak_calls(spec.features, DTYPES[options.precision])
    rates = dict.fromkeys(peaks, 0.0)
    inside: list[float] = []
    outside: list[float] = []
    for _ in range(options.rounds):
        for name, (flop, call) in peaks.items():
            rates[name] = max(rates[name], flop / min(seconds_of(call) for _ in range(3)))
        inside.append(seconds_of(network))
        outside.append(seconds_of(lambda: upscaler.restore(picture, plan, settings)))
    peak = max(rates.values())
    matmul = max(rate for name, rate in rates.items() if name.startswith("matmul"))
    best, restored = min(inside), min(outside)
    print(
        json.dumps(
            {
                "model": spec.name,
                "size": options.size,
                "window": [plan.tiles[0].read.width, plan.tiles[0].read.height],
                "windows": len(plan.tiles),
                "precision": options.precision,
                "peak_gflops": {name: round(rate / 1e9, 1) for name, rate in rates.items()},
                "network_share_of_matmul": round(ran / best / matmul, 3),
                "network_share_of_peak": round(ran / best / peak, 3),
                "network_share_of_peak_median": round(ran / float(np.median(inside)) / peak, 3),
                "halo_flop_ran_over_bare": round(ran / bare, 3),
                "network_s": round(best, 3),
                "restore_s": round(restored, 3),
                "network_share_of_restore": round(best / restored, 3),
                "megapixels_per_s": round(width * height / restored / 1e6, 4),
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
