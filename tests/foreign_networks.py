"""Small seeded networks of every architecture that spandrel knows and that restores pictures, as weight files."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import spandrel
import torch
from spandrel import architectures
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One network that a weight file is made of."""

    id: str
    network: str
    """what detection must say"""
    scale: int
    make: Callable[[], torch.nn.Module]
    last: tuple[str, float]
    """a layer, and what its weights are multiplied by and its bias raised to the middle of 0..1; seeded weights of some
    networks give outputs of which all is clamped"""

    def state(self, seed: int = 0) -> dict[str, Tensor]:
        """Weights of which none is zero or one by its initialisation alone, so that every part counts."""
        with torch.random.fork_rng(devices=[]), _quiet():
            torch.manual_seed(seed)
            network = self.make()
            with torch.no_grad():
                for parameter in network.parameters():
                    parameter += torch.randn(parameter.shape) * 0.02
        state = network.state_dict()
        layer, gain = self.last
        if layer:
            state[f"{layer}.weight"] *= gain
            state[f"{layer}.bias"] += 0.5
        return state

    def save(self, folder: Path, *, name: str = "net.pth", seed: int = 0) -> Path:
        path = folder / name
        torch.save(self.state(seed), path)
        return path


def reference(state: dict[str, Tensor], picture: Tensor) -> Tensor:
    """What spandrel's own call makes of a picture (1, 3, H, W), 0..1, as (H, W, 3), clamped."""
    with _quiet():
        found = spandrel.MAIN_REGISTRY.load(dict(state))
        assert isinstance(found, spandrel.ImageModelDescriptor)
        return found.eval()(picture.clone(memory_format=torch.contiguous_format))[0].permute(1, 2, 0)


@contextmanager
def _quiet() -> Generator[None]:
    """Without the warnings of networks that are older than the torch they run on."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def sample(name: str) -> Sample:
    """One of SAMPLES by its id."""
    return next(one for one in SAMPLES if one.id == name)


def _sample(
    name: str, enlarged: int, cls: str = "", *, label: str = "", last: tuple[str, float] = ("", 1.0), **made: Any
) -> Sample:
    def make() -> torch.nn.Module:
        return getattr(getattr(architectures, name), cls or name)(**made)

    return Sample(id=label or cls or name, network=name, scale=enlarged, make=make, last=last)


_PAIR = {"depths": [2, 2], "num_heads": [2, 2]}
_SWIN = {"embed_dim": 16, **_PAIR, "mlp_ratio": 2.0}
_DAT = {"embed_dim": 16, "depth": [2, 2], "num_heads": [2, 2], "expansion_factor": 2.0}

SAMPLES = (
    _sample("SPAN", 4, num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=4, last=("upsampler.0", 0.02)),
    _sample("SPAN", 2, label="SPAN-no-norm", num_in_ch=3, num_out_ch=3, feature_channels=16, upscale=2, norm=False),
    _sample("SwinIR", 4, window_size=8, upscale=4, upsampler="pixelshuffle", **_SWIN),
    _sample("SwinIR", 3, label="SwinIR-light", window_size=8, upscale=3, upsampler="pixelshuffledirect", **_SWIN),
    _sample("SwinIR", 4, label="SwinIR-real", window_size=8, upscale=4, upsampler="nearest+conv", **_SWIN),
    _sample("SwinIR", 1, label="SwinIR-denoise", window_size=8, upscale=1, upsampler="", img_range=1.0, **_SWIN),
    _sample("Swin2SR", 2, window_size=8, upscale=2, upsampler="pixelshuffle", **_SWIN),
    _sample("DAT", 4, split_size=[8, 16], upscale=4, upsampler="pixelshuffle", **_DAT),
    _sample("DAT", 2, label="DAT-light", split_size=[8, 32], upscale=2, upsampler="pixelshuffledirect", **_DAT),
    _sample("HAT", 2, window_size=16, upscale=2, embed_dim=24, **_PAIR, compress_ratio=3, squeeze_factor=8),
    _sample("OmniSR", 4, num_feat=16, res_num=1, block_num=1, up_scale=4, window_size=8),
    _sample("OmniSR", 2, label="OmniSR-x2", num_feat=16, res_num=1, block_num=1, up_scale=2, window_size=8),
    _sample("RealCUGAN", 2, "UpCunet2x"),
    _sample("RealCUGAN", 2, "UpCunet2x", label="UpCunet2x-pro", pro=True),
    _sample("RealCUGAN", 3, "UpCunet3x"),
    _sample("RealCUGAN", 4, "UpCunet4x"),
    _sample("RealCUGAN", 2, "UpCunet2x_fast"),
    _sample("ESRGAN", 4, label="ESRGAN-plus", num_filters=16, num_blocks=2, scale=4, plus=True),
    _sample("ESRGAN", 8, label="ESRGAN-x8", num_filters=16, num_blocks=2, scale=8),
    _sample("SwiftSRGAN", 2, num_channels=16, num_blocks=2, upscale_factor=2),
    _sample("RGT", 2, embed_dim=16, depth=[2, 2], num_heads=[2, 2], split_size=[8, 32], upscale=2),
    _sample("PLKSR", 4, dim=16, n_blocks=2, upscaling_factor=4, kernel_size=13),
    _sample("PLKSR", 4, "RealPLKSR", dim=16, n_blocks=2, upscaling_factor=4, kernel_size=13),
    _sample("PLKSR", 2, "RealPLKSR", label="RealPLKSR-dysample", dim=16, n_blocks=2, upscaling_factor=2, dysample=True),
    _sample("DRCT", 2, window_size=16, upscale=2, upsampler="pixelshuffle", gc=8, embed_dim=24, **_PAIR),
    _sample("ATD", 2, window_size=16, upscale=2, upsampler="pixelshuffle", embed_dim=24, category_size=128, **_PAIR),
    _sample(
        "GRL",
        2,
        upscale=2,
        upsampler="pixelshuffle",
        embed_dim=32,
        depths=[2, 2],
        num_heads_window=[2, 2],
        num_heads_stripe=[2, 2],
        mlp_ratio=2.0,
        local_connection=True,
        out_proj_type="linear",
    ),
    _sample("CRAFT", 2, embed_dim=24, depths=[2, 2], num_heads=[6, 6], upscale=2),
    _sample("DCTLSA", 4, nf=55, num_modules=6, num_head=5, upscale=4),
    _sample("DITN", 4, dim=24, ITL_blocks=2, SAL_blocks=2, UFONE_blocks=1, upscale=4),
    _sample("SAFMN", 4, dim=16, n_blocks=2, upscaling_factor=4),
    _sample("SAFMNBCIE", 1, dim=16, n_blocks=2, num_layers=2),
    _sample("MoSR", 4, n_block=2, dim=16, upscale=4),
    _sample("MoESR", 4, dim=16, n_blocks=2, n_block=2, scale=4),
    _sample("SeemoRe", 4, num_experts=3, num_layers=2, embedding_dim=24, scale=4),
    _sample("RCAN", 4, n_resgroups=2, n_resblocks=2, n_feats=16, reduction=4, scale=4),
    _sample("FDAT", 4, embed_dim=24, num_groups=1, depth_per_group=2, num_heads=4, scale=4),
    _sample(
        "MMRealSR",
        4,
        num_in_ch=3,
        num_out_ch=3,
        num_feat=16,
        num_block=1,
        num_grow_ch=8,
        num_feats=[16, 16, 16, 16],
        num_blocks=[1, 1, 1, 1],
    ),
    _sample("IPT", 2, n_feats=16, num_layers=1, num_heads=4, patch_size=24, scale=[2]),
    _sample("SCUNet", 1, config=[1, 1, 1, 1, 1, 1, 1], dim=64),
    _sample("FBCNN", 1, nc=[16, 16, 16, 512], nb=4),
    _sample("Uformer", 1, embed_dim=8, depths=[1] * 9, num_heads=[1] * 9),
    _sample("KBNet", 1, "KBNet_s", width=16, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    _sample("KBNet", 1, "KBNet_l", dim=48, num_blocks=[1, 1, 1, 1], num_refinement_blocks=1, heads=[1, 1, 1, 1]),
    _sample("FFTformer", 1, dim=16, num_blocks=[1, 1, 1], num_refinement_blocks=1),
    _sample("NAFNet", 1, width=8, middle_blk_num=1, enc_blk_nums=[1, 1], dec_blk_nums=[1, 1]),
    _sample("MixDehazeNet", 1, embed_dims=[8, 16, 32, 16, 8], depths=[1, 1, 1, 1, 1]),
    _sample("DRUNet", 1, in_nc=4, out_nc=3, nc=[16, 16, 16, 16], nb=4),
    _sample("DnCNN", 1, in_nc=3, out_nc=3, nc=16, nb=4),
    _sample("RetinexFormer", 1, n_feat=16, stage=1),
    _sample("HVICIDNet", 1, channels=[12, 12, 24, 48], heads=[1, 2, 4, 8]),
)

REFUSED = (
    _sample("DnCNN", 1, label="DnCNN-gray", in_nc=1, out_nc=1, nc=16, nb=4),
    _sample("SwinIR", 1, label="SwinIR-gray", in_chans=1, window_size=8, upscale=1, upsampler="", **_SWIN),
    _sample("LaMa", 1, in_nc=4, out_nc=3),
)
"""networks that spandrel knows and that do not take RGB alone or do not give it"""
