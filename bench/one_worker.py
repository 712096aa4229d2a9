"""One worker in this process, its threads and its lane, without Ray, for bench/gpu_folder.py and bench/gpu.py."""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from torch import Tensor

from farm.params import UpscaleParams
from farm.records import Done, Outcome, Part, Unit
from farm.tasks.restore import picture_spec
from farm.worker import Worker
from sr_kernel.archs import ARCHS
from sr_kernel.models import ModelSpec
from sr_kernel.tiles import Box, Strategy, plan_picture
from sr_kernel.upscale import Upscaler


def shapes_of(spec: ModelSpec) -> Mapping[str, tuple[int, ...]]:
    """Of a network of the family, whose keys we know."""
    shapes = ARCHS[spec.arch].shapes
    assert shapes is not None
    return shapes(spec)


def passing_state(spec: ModelSpec) -> dict[str, Tensor]:
    """Weights of a network whose output is its input, enlarged, and a little of everything else."""
    generator = torch.Generator().manual_seed(0)
    if spec.arch == "srvgg":
        return _passing_srvgg(spec, generator)
    state: dict[str, Tensor] = {}
    for name, shape in shapes_of(spec).items():
        gain = 0.002 / (9 * shape[1]) ** 0.5 if len(shape) == 4 and name != "conv_body.weight" else 0.0
        state[name] = torch.randn(shape, generator=generator) * gain
    for name in ("conv_first", "conv_up1", "conv_up2", "conv_hr", "conv_last"):
        for colour in range(3):
            state[f"{name}.weight"][colour, colour, 1, 1] = 1.0
    return state


def _passing_srvgg(spec: ModelSpec, generator: torch.Generator) -> dict[str, Tensor]:
    """The network adds its input, enlarged, to what the last convolution makes, which is next to nothing."""
    state: dict[str, Tensor] = {}
    for name, shape in shapes_of(spec).items():
        gain = (1.6 / (9 * shape[1])) ** 0.5 if len(shape) == 4 else 0.05
        state[name] = torch.randn(shape, generator=generator) * gain
    for kind in ("weight", "bias"):
        state[f"body.{2 * spec.blocks + 2}.{kind}"] *= 0.01
    return state


def weights_of(spec: ModelSpec, folder: Path | None, scratch: Path) -> tuple[Path, str]:
    """The official file where it lies there, else weights that pass a picture through, so that no output is suspect;
    and which of the two it is."""
    if folder is not None and (folder / spec.file).is_file():
        return folder / spec.file, "official"
    path = scratch / f"passing-{spec.name}.pth"
    if not path.exists():
        torch.save({"params_ema": passing_state(spec)}, path)
    return path, "passing"


def network_s(upscaler: Upscaler, sizes: Sequence[tuple[int, int]], params: UpscaleParams) -> float:
    """Seconds of the network alone for all pictures: by size, replayed."""
    total, known = 0.0, dict[tuple[int, int], float]()
    for size in sizes:
        if size not in known:
            known[size] = _one_size_s(upscaler, size, params)
        total += known[size]
    return total


def _one_size_s(upscaler: Upscaler, size: tuple[int, int], params: UpscaleParams) -> float:
    plan, backend = plan_picture(picture_spec(params, *size)), upscaler.backend
    network = backend.network(params.precision)
    box = plan.tiles[0].read
    batch = 1 if plan.strategy is Strategy.BODY else params.batch
    height, width = (plan.spec.padded_height, plan.spec.padded_width) if batch == 1 else (box.height, box.width)
    whole = Box(x0=0, y0=0, x1=width, y1=height)
    x = torch.rand(batch, 3, height, width, device=backend.device).contiguous(memory_format=torch.channels_last)

    def work(x: Tensor) -> list[Tensor]:
        if plan.strategy is not Strategy.BODY:
            return [network(x, whole)]
        features = network.body(x)  # type: ignore[attr-defined]
        return [network.tail(features, whole, tile.keep) for tile in plan.tiles]  # type: ignore[attr-defined]

    times: list[float] = []
    with torch.inference_mode():
        for _ in range(9):
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            backend.recorded(("alone", size), work, [x], network)
            end.record()
            end.synchronize()
            times.append(start.elapsed_time(end) / 1000)
    return statistics.median(times[3:]) * (1 if batch == 1 else len(plan.tiles) / batch)


def size_of(done: Done, scale: int) -> tuple[int, int]:
    return done.width // scale, done.height // scale


def through(worker: Worker, parts: Sequence[Part], unit: int) -> Iterator[Outcome]:
    """As the engine sends them: two units at a time."""
    units = [
        Unit(unit_id=i, parts=tuple(cut))
        for i, cut in enumerate(parts[at : at + unit] for at in range(0, len(parts), unit))
    ]
    with ThreadPoolExecutor(2) as pool:
        for outcomes in pool.map(worker.run, units):
            yield from outcomes


def official(
    name: str, weights: Path, pictures: Sequence[Path], out: Path, *, half: bool = True, warm: int = 3
) -> dict[str, object]:
    """The official loop in half precision, which is its default on a GPU; the first `warm` pictures do not count."""
    import cv2
    from official_package import make_upsampler

    with contextlib.redirect_stdout(sys.stderr):
        upsampler, scale = make_upsampler(name, weights, 0, half=half)
        times, px = list[float](), 0
        for index, path in enumerate(pictures):
            begun = time.perf_counter()
            picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert picture is not None, path
            restored, _ = upsampler.enhance(picture, outscale=scale)
            cv2.imwrite(str(out / f"{path.stem}_out.jpg"), restored, [cv2.IMWRITE_JPEG_QUALITY, 90])
            if index >= warm:
                times.append(time.perf_counter() - begun)
                px += picture.shape[0] * picture.shape[1]
    return {"what": "official", "model": name, "per_s": len(times) / sum(times), "mpx_s": px / sum(times) / 1e6}
