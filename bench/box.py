"""A model trained for the box beside Lanczos and other models, on pictures that it has never seen.

    python bench/box.py FILE.safetensors PICTURE... [--weights DIR] [--crops 12] [--side 400] [--sheet FILE.png]

From each picture --crops crops of --side pixels are drawn by a fixed seed (smaller pictures are reflected), degraded by
each recipe, enlarged four times, and scored against the plain crop: NIQE, and PSNR and SSIM in RGB without a border of
4 pixels.
--weights is a folder with released weight files that are scored too. Scenes of a seed that training never drew come
on top.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyvips
import torch
from figures import cpu_name  # beside this file
from gpu_checks import plan_of
from numpy.typing import NDArray

from farm.media.image import ReadLimits, decode
from farm.media.rgb import to_rgb8
from sr_kernel.believable.niqe import niqe
from sr_kernel.degrade.crop import cut_crop
from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.picture import degrade_crop
from sr_kernel.degrade.recipe import RECIPES
from sr_kernel.pillow_resize import resize
from sr_kernel.train.scenes import SceneSpec, make_scene
from sr_kernel.train.score import psnr, ssim
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file

Pixels = NDArray[np.uint8]
Enlarge = Callable[[Pixels], Pixels]
KINDS = ("x4plus", "light", "bicubic")
FILES = {"animevideov3": "realesr-animevideov3.pth", "general-x4v3": "realesr-general-x4v3.fp16-derived.pth"}
SCENES, SCENE_SEED = 12, 77
SEED = 5


@dataclass(frozen=True, slots=True)
class Scores:
    psnr: float
    ssim: float
    niqe: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("box", type=Path)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--crops", type=int, default=12)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--sheet", type=Path)
    asked = parser.parse_args()
    ways = dict(enlargers(asked.box, asked.weights))
    sets = {"photographs": dict(crops_of(asked.pictures, asked.crops)), "scenes": dict(scenes(asked.side))}
    print(f"# The model in the box beside others\n\n{cpu_name()}, fp32. {len(asked.pictures)} photographs: ", end="")
    print(f"{', '.join(sorted(one.name for one in asked.pictures))}; {SCENES} scenes. Crops of {asked.side} pixels.\n")
    print("| pictures | recipe | way | PSNR dB | SSIM | NIQE | PSNR against Lanczos | crops better than Lanczos |")
    print("|---|---|---|---|---|---|---|---|")
    each: dict[str, list[str]] = {name: [] for name in sets["photographs"]}
    for title, sources in sets.items():
        for kind in KINDS:
            pairs = list(degraded(sources, kind, asked.side))
            found = {name: [score(way(poor), good) for good, poor in pairs] for name, way in ways.items()}
            for name, scores in found.items():
                print(f"| {title} | {kind} | {name} | {line(scores, found['Lanczos'])} |", flush=True)
            if title == "photographs":
                for at, name in enumerate(each):
                    part = slice(at * asked.crops, (at + 1) * asked.crops)
                    each[name].append(f"{mean_gain(found['box'][part], found['Lanczos'][part]):+.2f}")
            if asked.sheet and title == "photographs":
                save_sheet(asked.sheet.with_stem(f"{asked.sheet.stem}-{kind}"), pairs[:: max(1, len(pairs) // 6)], ways)
    print(f"\n| photograph: dB of box against Lanczos | {' | '.join(KINDS)} |\n|---|{'---|' * len(KINDS)}")
    for name, gains in each.items():
        print(f"| {name} | {' | '.join(gains)} |")


def enlargers(box: Path, weights: Path | None) -> Iterator[tuple[str, Enlarge]]:
    yield "Lanczos", lambda poor: resize(poor, 4 * poor.shape[1], 4 * poor.shape[0])
    files = {"box": box}
    if weights:
        files |= {name: weights / file for name, file in FILES.items() if (weights / file).exists()}
    for name, path in files.items():
        spec = replace(describe_file(path), denoise=1.0)
        upscaler = Upscaler.load(spec, path)
        yield (
            name,
            lambda poor, up=upscaler, of=spec: np.asarray(
                up.restore(poor, plan_of(of, poor, 256), Settings(precision="fp32")).pixels
            ),
        )


def crops_of(pictures: list[Path], crops: int) -> Iterator[tuple[str, tuple[Pixels, int]]]:
    for path in pictures:
        pixels = to_rgb8(decode(path.read_bytes(), path.name, ReadLimits(), alone=True))[0]
        yield path.name, (pixels, crops)


def scenes(side: int) -> Iterator[tuple[str, tuple[Pixels, int]]]:
    for index in range(SCENES):
        yield f"scene-{index}", (make_scene(SceneSpec(seed=SCENE_SEED, index=index, side_px=side)), 1)


def degraded(sources: Mapping[str, tuple[Pixels, int]], kind: str, side: int) -> Iterator[tuple[Pixels, Pixels]]:
    """(good crop, poor one)"""
    recipe = replace(RECIPES[kind], gt_size=side)
    for name, (pixels, crops) in sources.items():
        for index in range(crops):
            drawn = replace(draw_sample(recipe, SEED, name, index), hflip=False, vflip=False, transpose=False)
            good = cut_crop(pixels, drawn, side)
            yield good, degrade_crop(good, drawn, recipe)[1]


def score(made: Pixels, good: Pixels) -> Scores:
    return Scores(psnr(made, good), ssim(made, good), niqe(made))


def mean_gain(scores: list[Scores], plain: list[Scores]) -> float:
    """dB"""
    return statistics.fmean(one.psnr - other.psnr for one, other in zip(scores, plain, strict=True))


def line(scores: list[Scores], plain: list[Scores]) -> str:
    gains = [one.psnr - other.psnr for one, other in zip(scores, plain, strict=True)]
    naturalness = [one.niqe for one in scores if one.niqe is not None]
    cells = (
        f"{statistics.fmean(one.psnr for one in scores):.2f}",
        f"{statistics.fmean(one.ssim for one in scores):.4f}",
        f"{statistics.fmean(naturalness):.2f}" if naturalness else "-",
        f"{mean_gain(scores, plain):+.2f}",
        f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
    )
    return " | ".join(cells)


def save_sheet(path: Path, pairs: list[tuple[Pixels, Pixels]], ways: Mapping[str, Enlarge]) -> None:
    """A row a pair: what every way made of it, then the good crop; the middle 256 pixels."""
    rows = [np.concatenate([middle(way(poor)) for way in ways.values()] + [middle(good)], 1) for good, poor in pairs]
    pyvips.Image.new_from_array(np.concatenate(rows)).write_to_file(str(path))


def middle(pixels: Pixels, side: int = 256) -> Pixels:
    y, x = ((length - side) // 2 for length in pixels.shape[:2])
    return pixels[y : y + side, x : x + side]


if __name__ == "__main__":
    torch.set_num_threads(2)
    main()
