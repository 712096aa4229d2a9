"""Processor seconds of network, decoder and encoder over pictures, each alone in this process and on one core.

Started by bench/images.py, once alone and once on every core at the same time, with the results of a run of the farm:
the encoder is measured with what that run has made. Prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from network import network_pass  # beside this file

from farm import storage
from farm.config import ModelConfig, RunConfig
from farm.fetch import resolve
from farm.media import image
from farm.params import UpscaleParams
from farm.plan import Planner
from farm.records import ManifestRow
from farm.tasks.restore import picture_spec
from sr_kernel.alpha import solid_value
from sr_kernel.pixels import Pixels, cut_window
from sr_kernel.tiles import PicturePlan, Strategy, plan_picture
from sr_kernel.upscale import Upscaler

PASSES = 6
"""over which the network is measured, shared among the sizes that there are; one each at least"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """Pictures as the farm plans them."""

    sources: tuple[str, ...]
    outputs: tuple[str, ...]
    params: tuple[UpscaleParams, ...]
    """one a picture: its format is its own"""
    upscaler: Upscaler

    def plan(self, width: int, height: int) -> PicturePlan:
        return plan_picture(picture_spec(self.params[0], width, height))


def planned(arguments: argparse.Namespace) -> Work:
    rows = pq.read_table(arguments.results, columns=["source", "output", "status"]).to_pylist()
    bad = [row["source"] for row in rows if row["status"] != "done"]
    if bad:
        raise SystemExit(f"{arguments.results}: {bad[0]} is not done")
    model = resolve(arguments.model, arguments.weights_dir)
    if model.path is None:
        raise SystemExit(f"{model.spec.file} is not here; name its folder with --weights-dir")
    config = RunConfig(
        manifest=str(Path(rows[0]["source"]).parent),
        model=ModelConfig(model=arguments.model, weights_dir=arguments.weights_dir),
    )
    planner = Planner(config, {arguments.model: model}, str(arguments.results.parent.resolve()), "cpu")
    sources = tuple(row["source"] for row in rows)
    given = [ManifestRow(index=at, source_url=url, relative_path=Path(url).name) for at, url in enumerate(sources)]
    return Work(
        sources=sources,
        outputs=tuple(row["output"] for row in rows),
        params=tuple(planner.plan(row, storage.stat(row.source_url)).upscale for row in given),
        upscaler=Upscaler.load(model.spec, model.path),
    )


def decode_s(work: Work) -> tuple[float, Counter[tuple[int, int]]]:
    """Seconds, and windows that go through the network, by width and height of their pictures."""
    windows: Counter[tuple[int, int]] = Counter()
    seconds = 0.0
    for url in work.sources:
        data = storage.read_bytes(url)
        started = time.process_time()
        pixels = image.decode(data, url, image.ReadLimits()).pixels
        seconds += time.process_time() - started
        height, width, _ = pixels.shape
        windows[width, height] += windows_in(pixels, work.plan(width, height))
    return seconds, windows


def windows_in(pixels: Pixels, plan: PicturePlan) -> int:
    """Windows of a picture that a network restores: of its colours, and of its alpha those that are not solid."""
    tiles = plan.tiles
    if pixels.shape[2] in (1, 3):
        return len(tiles)
    if plan.strategy is Strategy.BODY:
        return 2 * len(tiles)
    return len(tiles) + sum(solid_value(cut_window(pixels[:, :, -1:], tile.read)) is None for tile in tiles)


def network_s(work: Work, windows: Counter[tuple[int, int]]) -> float:
    """The network alone over so many windows of pictures: a network takes the same time whatever they show."""
    total, rounds, is_warm = 0.0, max(1, PASSES // len(windows)), False
    for (width, height), count in windows.items():
        picture, plan = (
            np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8),
            work.plan(width, height),
        )
        run = network_pass(work.upscaler.backend, plan, picture, work.params[0].precision)
        if not is_warm or rounds > 1:
            run()
            is_warm = True
        started = time.process_time()
        for _ in range(rounds):
            run()
        total += count / len(plan.tiles) * (time.process_time() - started) / rounds
    return total


def encode_s(work: Work) -> float:
    """What the run has made, encoded once more as the farm does it, without its stamp."""
    seconds = 0.0
    for url, params in zip(work.outputs, work.params, strict=True):
        picture = image.decode(storage.read_bytes(url), url, image.ReadLimits())
        spec = image.EncodeSpec(format=params.format, quality=params.quality)
        started = time.process_time()
        image.encode(picture.pixels, picture.meta, spec, url)
        seconds += time.process_time() - started
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, help="results.parquet of an output root")
    parser.add_argument("--model", required=True)
    parser.add_argument("--weights-dir")
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    torch.set_num_threads(1)
    work = planned(arguments)
    decoding_s, windows = decode_s(work)
    with torch.inference_mode():
        inside_s = network_s(work, windows)
    print(json.dumps({"decode_s": decoding_s, "network_s": inside_s, "encode_s": encode_s(work)}))


if __name__ == "__main__":
    main()
