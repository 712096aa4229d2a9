"""The official package, ready to enhance. In bench/ only: the farm never imports realesrgan or basicsr for this."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


def make_upsampler(model: str, weights: Path, tile: int, *, half: bool = False) -> tuple[Any, int]:
    """A RealESRGANer as the official programs make it, and the network's scale; tile 0: untiled; not `half`: fp32."""
    mend_torchvision()
    from realesrgan import RealESRGANer

    network, scale = _network(model)
    upsampler = RealESRGANer(
        scale=scale,
        model_path=str(weights),
        model=network,
        tile=tile,
        tile_pad=10,
        pre_pad=0,
        half=half,
    )
    return upsampler, scale


def mend_torchvision() -> None:
    """basicsr 1.4.2 imports a module that torchvision removed; the official package cannot be imported without it."""
    sys.path.insert(0, str(Path(__file__).parent.parent))
    importlib.import_module("tests.basicsr_reference")  # it puts the stand-in there


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
