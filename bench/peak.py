"""What one core can do: the best of matrix products and 3x3 convolutions over five shapes, one thread, FLOP a second.

Started by bench/images.py once on every core at the same time, so that it is measured under the load it is compared to.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable

import torch

MATMULS = (256, 512, 1024, 1536, 2048)
WINDOWS = ((48, 48), (96, 96), (128, 128), (192, 192), (292, 292))


def best_flops(flop: float, run: Callable[[], object], budget_s: float) -> float:
    run()
    best, until = 0.0, time.perf_counter() + budget_s
    while time.perf_counter() < until:
        started = time.perf_counter()
        run()
        best = max(best, flop / (time.perf_counter() - started))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--core", type=int, required=True)
    parser.add_argument("--dtype", choices=("bfloat16", "float32"), required=True)
    parser.add_argument("--features", type=int, default=64)
    parser.add_argument("--budget-s", type=float, default=0.6)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    dtype = getattr(torch, arguments.dtype)
    answer: dict[str, float] = {}
    with torch.inference_mode():
        for side in MATMULS:
            a, b = (torch.rand(side, side).to(dtype) for _ in range(2))
            answer[f"matmul {side}"] = best_flops(2 * side**3, lambda a=a, b=b: a @ b, arguments.budget_s)
        features = arguments.features
        conv = torch.nn.Conv2d(features, features, 3, padding=1).to(dtype=dtype, memory_format=torch.channels_last)
        for height, width in WINDOWS:
            x = torch.rand(1, features, height, width).to(dtype=dtype, memory_format=torch.channels_last)
            flop = 2 * 9 * features * features * height * width
            answer[f"conv {height}x{width}"] = best_flops(flop, lambda x=x: conv(x), arguments.budget_s)
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
