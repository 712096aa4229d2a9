"""The official package over a folder, as its own program does it: read, enhance, write, one picture after another.

Started by bench/images.py in a process of its own. Prints one JSON line: when it was ready, and the seconds of every
picture. Only in bench/: the farm itself never imports realesrgan or basicsr for this.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import sys
import time
import types
from pathlib import Path


def main() -> None:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--tile", type=int, required=True)
    arguments = parser.parse_args()
    with contextlib.redirect_stdout(sys.stderr):  # it prints every tile
        answer = run(arguments, started)
    print(json.dumps(answer))


def run(arguments: argparse.Namespace, started: float) -> dict[str, object]:
    _mend_torchvision()
    import cv2
    from realesrgan import RealESRGANer

    network, scale = _network(arguments.model)
    upsampler = RealESRGANer(
        scale=scale,
        model_path=str(arguments.weights),
        model=network,
        tile=arguments.tile,
        tile_pad=10,
        pre_pad=0,
        half=False,
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    ready = time.perf_counter()
    seconds: list[float] = []
    px = 0
    for path in sorted(arguments.pictures.iterdir()):
        begun = time.perf_counter()
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        restored, _ = upsampler.enhance(picture, outscale=scale)
        cv2.imwrite(str(arguments.out / f"{path.stem}_out{path.suffix}"), restored)
        seconds.append(time.perf_counter() - begun)
        px += picture.shape[0] * picture.shape[1]
    ended = time.perf_counter()
    return {"start_s": ready - started, "steady_s": ended - ready, "px": px, "pid": os.getpid(), "pictures_s": seconds}


def _mend_torchvision() -> None:
    """basicsr 1.4.2 imports a module that torchvision removed; the official package cannot be imported without it."""
    from torchvision.transforms import functional

    module = types.ModuleType("torchvision.transforms.functional_tensor")
    module.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[module.__name__] = module


def _network(model: str):
    from basicsr.archs.rrdbnet_arch import RRDBNet
    from realesrgan.archs.srvgg_arch import SRVGGNetCompact

    from sr_kernel.models import MODELS

    spec = MODELS[model]
    if spec.arch == "srvgg":
        kind = {"num_feat": spec.features, "num_conv": spec.blocks, "upscale": spec.scale, "act_type": "prelu"}
        return SRVGGNetCompact(num_in_ch=3, num_out_ch=3, **kind), spec.scale
    kind = {"num_feat": spec.features, "num_block": spec.blocks, "num_grow_ch": spec.growth, "scale": spec.scale}
    return RRDBNet(num_in_ch=3, num_out_ch=3, **kind), spec.scale


if __name__ == "__main__":
    main()
