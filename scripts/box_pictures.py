"""Makes the pictures that the model in the box is trained on: procedural scenes, and photographs of scikit-image.

    python scripts/box_pictures.py OUT --count 1200 --side 400 --seed 1

OUT/scenes/000000.png ... are the scenes, OUT/photographs/ the photographs (CC0 or public domain, see PHOTOGRAPHS), each
also at smaller sizes, and OUT/unseen/ scenes of another seed, to validate on. What is there already is not made again.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pyvips
import skimage.data
from numpy.typing import NDArray

from sr_kernel.pillow_resize import resize
from sr_kernel.train.scenes import SceneSpec, make_scene

PHOTOGRAPHS = {
    "brick": "CC0, CC0Textures",
    "camera": "CC0, Lav Varshney",
    "chelsea": "CC0, Stefan van der Walt",
    "grass": "CC0, Linolafett",
    "gravel": "CC0, CC0Textures",
    "hubble_deep_field": "public domain, NASA",
    "retina": "CC0, Mikael Haggstrom",
    "rocket": "public domain, SpaceX",
}
"""name in skimage.data -> licence and author, as that package states them; all lie inside its wheel. Pictures of the
demo (scripts/demo_pictures.py) are not among them: it shows what the model has never seen."""
SIZES = (1.0, 0.75, 0.5)
LEAST_PX = 192
"""shorter side of the smallest version"""
UNSEEN_SEED = 1 << 20
UNSEEN = 24
RAMPS = 200
"""flat and nearly flat pictures, half of them gray: without them levels are shifted that photographs seldom have"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1200, help="scenes")
    parser.add_argument("--side", type=int, default=400, help="of a scene, pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1)
    asked = parser.parse_args()
    specs = [
        (asked.out / "scenes", SceneSpec(seed=asked.seed, index=i, side_px=asked.side)) for i in range(asked.count)
    ]
    specs += [
        (asked.out / "unseen", SceneSpec(seed=asked.seed + UNSEEN_SEED, index=i, side_px=asked.side))
        for i in range(min(UNSEEN, asked.count))
    ]
    with ProcessPoolExecutor(asked.processes) as pool:
        made = sum(pool.map(write_scene, *zip(*specs, strict=True), chunksize=8))
    photographs = write_photographs(asked.out / "photographs")
    ramps = sum(
        write(asked.out / "ramps" / f"{index:06d}.png", lambda index=index: make_ramp(asked.seed, index, asked.side))
        for index in range(RAMPS)
    )
    print(f"{made} scenes, {ramps} ramps and {photographs} photographs made")


def make_ramp(seed: int, index: int, side_px: int) -> NDArray[np.uint8]:
    """A picture whose colours go evenly from corner to corner, by nothing, a little or much."""
    chance = np.random.default_rng((seed, index))
    base = chance.uniform(0, 255, 1 if index % 2 else 3)
    corners = base + chance.uniform(-1, 1, (2, 2, base.size)) * chance.choice([0, 6, 20, 80])
    along = np.linspace(0, 1, side_px)
    ends = np.stack([1 - along, along], 1)
    mixed = np.einsum("yi,xj,ijc->yxc", ends, ends, np.broadcast_to(corners, (2, 2, 3)))
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def write_scene(folder: Path, spec: SceneSpec) -> int:
    """How many were made: 0 for one that is there."""
    return write(folder / f"{spec.index:06d}.png", lambda: make_scene(spec))


def write_photographs(folder: Path) -> int:
    count = 0
    for name in PHOTOGRAPHS:
        pixels = np.asarray(getattr(skimage.data, name)())
        pixels = np.repeat(pixels[..., None], 3, 2) if pixels.ndim == 2 else pixels[..., :3]
        for size in SIZES:
            height, width = (round(side * size) for side in pixels.shape[:2])
            if min(height, width) >= LEAST_PX:
                path = folder / f"{name}-{round(100 * size)}.png"
                count += write(path, lambda height=height, width=width, whole=pixels: resize(whole, width, height))
    return count


def write(path: Path, make) -> int:
    if path.exists():
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels: NDArray[np.uint8] = make()
    part = path.with_suffix(".part")
    part.write_bytes(pyvips.Image.new_from_array(np.ascontiguousarray(pixels)).pngsave_buffer(compression=3))
    part.replace(path)
    return 1


if __name__ == "__main__":
    main()
