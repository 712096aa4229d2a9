"""Iterations a second of training: the farm's step against basicsr's trainer, on the same machine, weights and batch.

    python bench/train.py [--rounds 5] [--threads N] [--only box] > bench/results/train-DATE.md

basicsr 1.4.2 is taken as it is, RealESRNetModel and RealESRGANModel: feed_data and optimize_parameters with a batch
that is there already, so that reading and degrading count for neither (a training says itself what share of its time it
waited for data). Its feed_data sharpens the good pictures whether a loss asks for it or not. Contenders take turns;
the first step of each is not counted. VGG19 has seeded weights. Wants the extra `train` and basicsr.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from figures import cpu_name, mid  # beside this file

from sr_kernel.train.plan import NetworkPlan, StagePlan, gan_plan, net_plan
from sr_kernel.train.stage import Batch, step
from sr_kernel.train.state import Start, make_state
from tests.basicsr_reference import reference_module
from tests.sr_kernel.train.batches import pairs, vgg_weights
from tests.sr_kernel.train.upstream import options, upstream, vgg_module


@dataclass(frozen=True, kw_only=True)
class Case:
    """One training, and the batch that it is given: so many patches of a side in good pixels."""

    name: str
    plan: StagePlan
    count: int
    side_px: int = 128


BOX, RRDB = NetworkPlan(kind="srvgg", features=48, blocks=10), NetworkPlan(kind="rrdb")
CASES = (
    Case(name="box: SRVGG 48 x 10, stage net", plan=net_plan(BOX), count=16),
    Case(name="RRDB 64 x 23, stage net", plan=net_plan(RRDB), count=2),
    Case(name="RRDB 64 x 23, stage gan", plan=gan_plan(RRDB), count=2),
)


def official(case: Case, batch: Batch, vgg: dict[str, torch.Tensor]) -> Callable[[], object]:
    """A step of basicsr's trainer."""
    stage = case.plan.stage
    reference_module("archs.vgg_arch").vgg = vgg_module(vgg)
    names = {"net": ("RealESRNetModel", "realesrnet_model"), "gan": ("RealESRGANModel", "realesrgan_model")}
    model = upstream(*names[stage], options(case.plan.network, case.plan.losses, stage, discriminator=64))

    def run() -> None:
        model.feed_data({"lq": batch.lq, "gt": batch.gt})
        model.optimize_parameters(1)

    return run


def ours(case: Case, batch: Batch, vgg: dict[str, torch.Tensor], precision: Any) -> Callable[[], object]:
    """A step of the farm's; like basicsr's with its losses read."""
    plan = replace(case.plan, precision=precision)
    state = make_state(plan, Start(vgg=vgg if plan.losses.perceptual else None))
    return lambda: {name: float(loss) for name, loss in step(state, batch).items()}


def measured(case: Case, rounds: int, precisions: tuple[str, ...]) -> dict[str, list[float]]:
    """Seconds of a step, by contender."""
    batch, vgg = pairs(case.count, case.side_px), vgg_weights()
    steps: dict[str, Callable[[], object]] = {"basicsr": official(case, batch, vgg)}
    steps |= {f"farm {precision}": ours(case, batch, vgg, precision) for precision in precisions}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, run in steps.items():
            began = time.perf_counter()
            run()
            if number:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", default="", help="cases whose name begins so")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    precisions = ("fp32", "bf16") if torch.backends.mkldnn.is_available() and _has_bf16() else ("fp32",)
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "basicsr"))
    print(f"# A step of training: basicsr and the farm, {datetime.date.today().isoformat()}\n")
    print(f"{cpu_name()}, {arguments.threads} threads; {versions}; Python {platform.python_version()}.")
    load = os.getloadavg()[0]
    print(f"Steps in turns, {arguments.rounds} of each after one that is not counted. Load before: {load:.1f}.\n")
    print("| training | batch | contender | seconds a step, median (range) | iterations/s | times basicsr |")
    print("|---|---|---|---|---|---|")
    for case in CASES:
        if not case.name.startswith(arguments.only):
            continue
        found = measured(case, arguments.rounds, precisions)
        base = sorted(found["basicsr"])[arguments.rounds // 2]
        for name, seconds in found.items():
            middle = sorted(seconds)[arguments.rounds // 2]
            cells = [case.name, f"{case.count} of {case.side_px} px", name, mid(seconds), f"{1 / middle:.2f}"]
            print("| " + " | ".join([*cells, f"{base / middle:.2f}"]) + " |", flush=True)
    print("\nMade by `bench/train.py`.")


def _has_bf16() -> bool:
    return "avx512_bf16" in Path("/proc/cpuinfo").read_text()


if __name__ == "__main__":
    main()
