"""Whether OpenVINO runs a network faster on one CPU thread than what the farm has, by enough to be an extra.

    pip install openvino
    python bench/cpu_openvino.py --model FILE [--size 256x192] [--rounds 5] [--precision bf16]

Both restore the same window whole, in turns, on one core and one thread, from fp32 samples to fp32 samples; seconds are
processor seconds of the process. PSNR is against the farm's own network in fp32. The farm takes OpenVINO up where it is
at least 15 % faster on an RRDBNet: the last line says whether it is.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_kernel.backend import Backend
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box
from sr_kernel.train.networks import make_network
from sr_kernel.train.plan import NetworkPlan
from sr_kernel.weights import describe_file, load_state

WANTED = 1.15


def compiled(spec: ModelSpec, state: dict[str, Tensor], example: Tensor, precision: str) -> Callable[[Tensor], Tensor]:
    """The network by OpenVINO's CPU plugin: (1, 3, H, W) to (1, 3, sH, sW), fp32."""
    import openvino as ov  # pyright: ignore[reportMissingImports]

    kind: Any = "srvgg" if spec.arch == "srvgg" else "rrdb"
    network = make_network(
        NetworkPlan(kind=kind, scale=spec.scale, features=spec.features, blocks=spec.blocks, growth=spec.growth or 32)
    )
    network.load_state_dict(state)
    model: Any = ov.convert_model(network.eval(), example_input=example)
    model.reshape(list(example.shape))
    hints = {
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
        "INFERENCE_NUM_THREADS": 1,
        "NUM_STREAMS": 1,
    }
    program: Any = ov.Core().compile_model(model, "CPU", hints)
    return lambda x: torch.from_numpy(program(x.numpy())[0])


def seconds_of(call: Callable[[], object]) -> float:
    """CPU seconds of the whole process: OpenVINO may compute in a thread of its own."""
    started = time.process_time()
    call()
    return time.process_time() - started


def psnr_db(a: Tensor, b: Tensor) -> float:
    return float(-10 * torch.log10((a.clamp(0, 1) - b.clamp(0, 1)).square().mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="an SRVGGNetCompact or RRDBNet weight file")
    parser.add_argument("--size", default="256x192")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16")
    asked = parser.parse_args()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    width, height = map(int, asked.size.split("x"))
    spec = describe_file(asked.model)
    state = load_state(asked.model, spec)
    x = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    ours_in = x.contiguous(memory_format=torch.channels_last)
    keep, backend = Box(x0=0, y0=0, x1=width, y1=height), Backend(spec, state, "cpu")
    theirs = compiled(spec, dict(state), x, asked.precision)
    calls: dict[str, Callable[[], object]] = {
        "farm": lambda: backend.run(ours_in, keep, asked.precision),
        "openvino": lambda: theirs(x),
    }
    exact = backend.run(ours_in, keep, "fp32").permute(0, 3, 1, 2)
    off = {
        "farm": psnr_db(backend.run(ours_in, keep, asked.precision).permute(0, 3, 1, 2), exact),
        "openvino": psnr_db(theirs(x), exact),
    }
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(asked.rounds):
        for name, call in calls.items():
            taken[name].append(seconds_of(call))
    best = {name: min(values) for name, values in taken.items()}
    ratio = best["farm"] / best["openvino"]
    report = {
        "model": spec.name,
        "size": asked.size,
        "precision": asked.precision,
        "seconds": {name: round(value, 3) for name, value in best.items()},
        "psnr_to_fp32_db": {name: round(value, 1) for name, value in off.items()},
        "openvino_by_farm": round(ratio, 3),
        "worth_an_extra": ratio >= WANTED,
    }
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
