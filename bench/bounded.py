"""How far the bounded mode is from the exact one: RRDB in tiles with a halo of 32, against the body run whole.

    python bench/bounded.py PICTURE [--side 320] [--tile-px 128]

Official sizes of x4plus and x2plus with seeded weights whose output spreads over the whole range; trained weights may
differ more or less. Prints the table of bench/results/bounded.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from pathlib import Path

import numpy as np
from gpu_checks import Sizes, seeded_file  # beside this file
from PIL import Image

from sr_kernel.models import MODELS, ModelSpec
from sr_kernel.pixels import Pixels
from sr_kernel.tiles import Mode, PicturePlan, PictureSpec, plan_picture
from sr_kernel.upscale import Settings, Upscaler


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--side", type=int, default=320)
    parser.add_argument("--tile-px", type=int, default=128)
    options = parser.parse_args()
    rgb = np.asarray(Image.open(options.picture).convert("RGB"))[: options.side, : options.side]
    print(
        "| model | precision | largest difference, 8-bit levels | mean | samples that differ |\n|---|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory() as folder:
        for name in ("x4plus", "x2plus"):
            spec, path = seeded_file(MODELS[name], Path(folder), Sizes())
            upscaler = Upscaler.load(dataclasses.replace(spec), path)
            for precision in ("fp32", "bf16"):
                print(row(upscaler, rgb, options.tile_px, precision), flush=True)


def row(upscaler: Upscaler, rgb: Pixels, tile_px: int, precision: str) -> str:
    settings = Settings(precision=precision)  # type: ignore[arg-type]
    exact = upscaler.restore(rgb, plan_of(upscaler.spec, rgb, tile_px, 1 << 30), settings).pixels
    plan = plan_of(upscaler.spec, rgb, tile_px, 1)
    assert plan.mode is Mode.BOUNDED
    gap = np.abs(upscaler.restore(rgb, plan, settings).pixels.astype(int) - exact)
    name = upscaler.spec.name
    return f"| {name} | {precision} | {gap.max()} | {gap.mean():.6f} | {100 * (gap > 0).mean():.4f} % |"


def plan_of(spec: ModelSpec, rgb: Pixels, tile_px: int, exact_px: int) -> PicturePlan:
    return plan_picture(
        PictureSpec(
            width=rgb.shape[1],
            height=rgb.shape[0],
            scale=spec.scale,
            outscale=float(spec.scale),
            halo_px=spec.halo_px,
            align_px=spec.align_px,
            whole_body=True,
            tile_px=tile_px,
            exact_px=exact_px,
        )
    )


if __name__ == "__main__":
    main()
