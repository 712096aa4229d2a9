"""The degradation itself: good crops and what was drawn for each in, pairs out.

Every sample goes through alone. In the middle of the process each has a size of its own, so there is little that a
batch could share, and a sample's bytes cannot depend on its neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from sr_kernel.degrade.drawn import Drawn, DrawnKernel, DrawnResize, DrawnStage
from sr_kernel.degrade.jpeg import Codec, jpeg_by_arithmetic, jpeg_by_codec
from sr_kernel.degrade.kernels import make_kernel
from sr_kernel.degrade.noise import add_noise
from sr_kernel.degrade.ops import blur, quantise, resize_by, resize_to, sharpen
from sr_kernel.degrade.recipe import Recipe, Resize, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """A batch of pairs, float32 NCHW in 0..1, on the device of the good crops."""

    gt: Tensor
    """the good crops as they came"""
    gt_usm: Tensor
    """sharpened, from which the low-quality pictures are made; the crops themselves where a recipe does not sharpen"""
    lq: Tensor
    """low-quality pictures, each value one of the 256 levels of 8 bits"""


@torch.no_grad()
def degrade(gt: Tensor, drawn: Sequence[Drawn], recipe: Recipe, codec: Codec | None = None) -> Pairs:
    """The pairs of good crops, float32 [N, 3, gt_size, gt_size] in 0..1 of any memory format, RGB.

    `drawn` holds what `draw_sample` drew for each under the same recipe. With a `codec` JPEG is real bytes, without
    one it is arithmetic on the device. Bytes depend on the sample and the kind of device only: not on the batch, its
    order or the number of threads. Raises ValueError where the crops, the draws and the recipe do not fit.
    """
    side = recipe.gt_size
    if gt.shape[1:] != (3, side, side) or gt.dtype != torch.float32:
        raise ValueError(f"good crops are float32 [N, 3, {side}, {side}], not {gt.dtype} {tuple(gt.shape)}")
    if len(drawn) != len(gt):
        raise ValueError(f"{len(gt)} good crops, but draws for {len(drawn)}")
    made = [_pair(gt[at : at + 1].contiguous(), draws, recipe, codec) for at, draws in enumerate(drawn)]
    if not made:
        return Pairs(gt=gt, gt_usm=gt, lq=gt.new_empty((0, 3, recipe.lq_size, recipe.lq_size)))
    return Pairs(gt=gt, gt_usm=torch.cat([sharp for sharp, _ in made]), lq=torch.cat([low for _, low in made]))


def _pair(gt: Tensor, drawn: Drawn, recipe: Recipe, codec: Codec | None) -> tuple[Tensor, Tensor]:
    """The sharpened crop and the low-quality picture of one crop [1, 3, H, W]."""
    if len(drawn.stages) != len(recipe.stages):
        raise ValueError(f"the draws have {len(drawn.stages)} stages, the recipe {len(recipe.stages)}")
    sharp = gt if recipe.usm is None else sharpen(gt, recipe.usm)
    picture = sharp
    for stage, draws in zip(recipe.stages, drawn.stages, strict=True):
        picture = _stage(picture, stage, draws, recipe, codec)
    if drawn.final_jpeg_first:
        picture = _finish_size(_jpeg(picture, drawn.final_jpeg_quality, codec), drawn, recipe)
    else:
        picture = _jpeg(_finish_size(picture, drawn, recipe), drawn.final_jpeg_quality, codec)
    return sharp, quantise(picture)


def _stage(picture: Tensor, stage: Stage, drawn: DrawnStage, recipe: Recipe, codec: Codec | None) -> Tensor:
    picture = _blur(picture, drawn.blur)
    if stage.resize is not None and drawn.resize is not None:
        picture = _resize(picture, stage.resize, drawn.resize, recipe)
    if drawn.noise is not None:
        picture = add_noise(picture[0], drawn.noise)[None]
    return _jpeg(picture, drawn.jpeg_quality, codec)


def _blur(picture: Tensor, drawn: DrawnKernel | None) -> Tensor:
    return picture if drawn is None else blur(picture, make_kernel(drawn).to(picture.device)[None])


def _resize(picture: Tensor, resize: Resize, drawn: DrawnResize, recipe: Recipe) -> Tensor:
    if resize.of == "running":
        return picture if drawn.direction == "keep" else resize_by(picture, drawn.factor, drawn.mode)
    side = int(recipe.gt_size / recipe.scale * drawn.factor)
    return resize_to(picture, side, side, drawn.mode)


def _finish_size(picture: Tensor, drawn: Drawn, recipe: Recipe) -> Tensor:
    resized = resize_to(picture, recipe.lq_size, recipe.lq_size, drawn.final_mode)
    return _blur(resized, drawn.final_sinc)


def _jpeg(picture: Tensor, quality: float | None, codec: Codec | None) -> Tensor:
    """Clamped first: what overshoots makes coefficients that no picture has."""
    if quality is None:
        return picture
    if codec is not None:
        return jpeg_by_codec(picture.clamp(0, 1), [quality], codec)
    return jpeg_by_arithmetic(picture.clamp(0, 1), [quality])
