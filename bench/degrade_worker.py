"""One process of bench/degrade.py: makes pairs of a folder's pictures for some seconds and says how many.

    python bench/degrade_worker.py PICTURES OUT --method ours|upstream --threads 1 --seconds 20

Prints `ready` when warm, starts at a line on its input, then prints one line of JSON. Both methods read with OpenCV and
write `gt` and `lq` as PNG with the same settings.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
import yaml
from official_package import mend_torchvision  # beside this file

from sr_kernel.degrade.crop import cut_crop
from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.pipeline import degrade
from sr_kernel.degrade.recipe import RECIPES

UPSTREAM_BATCH = 4
PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1]
Pair = tuple[torch.Tensor, torch.Tensor]


def ours(pictures: list[Path], seed: int) -> Iterator[list[Pair]]:
    """One pair after the other, by the farm's degradation."""
    recipe = RECIPES["x4plus"]
    index = 0
    while True:
        for path in pictures:
            drawn = draw_sample(recipe, seed, path.name, index)
            bgr = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
            crop = cut_crop(bgr[..., ::-1], drawn, recipe.gt_size)
            gt = torch.from_numpy(crop).permute(2, 0, 1)[None].to(torch.float32).div_(255.0)
            pairs = degrade(gt, [drawn], recipe)
            yield [(pairs.gt[0], pairs.lq[0])]
        index += 1


def upstream(pictures: list[Path], seed: int) -> Iterator[list[Pair]]:
    """Batches by basicsr's own dataset and `feed_data`; the pool of pairs and the second sharpening are left out."""
    mend_torchvision()
    from basicsr.data.realesrgan_dataset import RealESRGANDataset
    from basicsr.models import realesrgan_model
    from basicsr.utils import DiffJPEG
    from basicsr.utils.img_process_util import USMSharp

    from tests.sr_kernel.degrade.recipe_files import X4PLUS_YML

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    names = pictures[0].parent.parent / f"names-{seed}.txt"
    names.write_text("\n".join(path.name for path in pictures))
    file = yaml.safe_load(X4PLUS_YML)
    options = {**file, **file["datasets"]["train"], "dataroot_gt": str(pictures[0].parent), "meta_info": str(names)}
    dataset = RealESRGANDataset(options)

    # Its filter2D cannot view what its JPEG returns, on a CPU with this torch: a copy is made, of no weight here.
    filter2d = realesrgan_model.filter2D
    realesrgan_model.filter2D = lambda picture, kernel: filter2d(picture.contiguous(), kernel)

    class Degrader(realesrgan_model.RealESRGANModel):
        def __init__(self) -> None:
            self.opt, self.device, self.is_train = options, torch.device("cpu"), True
            self.jpeger, self.sharp = DiffJPEG(differentiable=False), USMSharp()
            self.sharpened = 0

        def usm_sharpener(self, picture: torch.Tensor) -> torch.Tensor:
            self.sharpened += 1
            return self.sharp(picture) if self.sharpened % 2 else picture

        def _dequeue_and_enqueue(self) -> None:
            pass

    degrader = Degrader()
    position = 0
    while True:
        taken = [dataset[(position + offset) % len(dataset)] for offset in range(UPSTREAM_BATCH)]
        position += UPSTREAM_BATCH
        stacked = ("gt", "kernel1", "kernel2", "sinc_kernel")
        degrader.feed_data({key: torch.stack([one[key] for one in taken]).contiguous() for key in stacked})
        yield list(zip(degrader.gt, degrader.lq, strict=True))


METHODS: dict[str, Callable[[list[Path], int], Iterator[list[Pair]]]] = {"ours": ours, "upstream": upstream}


def write(path: Path, picture: torch.Tensor) -> None:
    levels = (picture * 255.0).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
    if not cv2.imwrite(str(path), np.ascontiguousarray(levels[..., ::-1]), PNG):
        raise SystemExit(f"{path} was not written")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--method", choices=METHODS, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    arguments.out.mkdir(parents=True, exist_ok=True)
    batches = METHODS[arguments.method](sorted(arguments.pictures.glob("*.png")), arguments.seed)
    next(batches)
    print("ready", flush=True)
    sys.stdin.readline()
    count, begun, cpu_begun = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - begun < arguments.seconds:
        for gt, lq in next(batches):
            write(arguments.out / f"gt-{arguments.seed}-{count}.png", gt)
            write(arguments.out / f"lq-{arguments.seed}-{count}.png", lq)
            count += 1
    spent = time.perf_counter() - begun
    print(json.dumps({"pairs": count, "seconds": spent, "cpu_s": time.process_time() - cpu_begun}), flush=True)


if __name__ == "__main__":
    main()
