"""Pairs of a good crop and what a drawn degradation makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farm.media import image
from farm.media.jpeg_codec import jpeg_bytes_and_back
from farm.media.rgb import to_rgb8
from farm.sample import DegradeOptions, Made, Member, PrepareParams, Sample, SourceRow
from farm.tasks.operations.base import Content
from sr_kernel.degrade.crop import crop_origin, cut_crop
from sr_kernel.degrade.draw import draw_sample
from sr_kernel.degrade.drawn import row_types, to_row
from sr_kernel.degrade.picture import degrade_crop
from sr_kernel.degrade.recipe import Recipe
from sr_kernel.degrade.recipe_toml import recipe_from_toml

InLane = Callable[[Callable[[], Any]], Any]
"""runs what needs torch in the worker's lane and waits for it"""
REFLECTED = "reflected"
TOO_SMALL = "too_small"


class Degrade:
    """See farm.tasks.operations.base.Operation. Torch runs in the lane, all else beside it."""

    def __init__(self, params: PrepareParams, in_lane: InLane, device: str) -> None:
        if not isinstance(params.options, DegradeOptions):
            raise ValueError(f"degrade was given {type(params.options).__name__}")
        self._options = params.options
        self._limits = image.ReadLimits(max_pixels=params.max_pixels_in)
        self._recipe: Recipe = recipe_from_toml(params.options.recipe)
        self._codec = jpeg_bytes_and_back if params.options.jpeg == "codec" else None
        self._in_lane = in_lane
        self._device = device

    @property
    def sample_columns(self) -> Mapping[str, type]:
        return {"crop_left": int, "crop_top": int, **row_types(len(self._recipe.stages))}

    @property
    def source_columns(self) -> Mapping[str, type]:
        return {"width": int, "height": int, "channels": int, "depth": int}

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:
        picture = image.decode(content.data, row.url, self._limits)
        rgb, rules = to_rgb8(picture)
        header = picture.header
        record = {"width": header.width, "height": header.height, "channels": header.bands, "depth": header.depth}
        side = self._recipe.gt_size
        if min(header.width, header.height) < side:
            if self._options.small == "skip":
                message = f"{header.width} x {header.height} is smaller than the crop of {side}"
                return Made(skipped=TOO_SMALL, message=message, record=record)
            rules = (*rules, REFLECTED)
        samples = tuple(self._sample(row, rgb, index) for index in range(first, last))
        return Made(samples=samples, rules=rules, record=record)

    def _sample(self, row: SourceRow, rgb: NDArray[np.uint8], index: int) -> Sample:
        recipe = self._recipe
        drawn = draw_sample(recipe, self._options.seed, row.relative_path, index)
        crop = cut_crop(rgb, drawn, recipe.gt_size)
        usm, lq = self._in_lane(lambda: degrade_crop(crop, drawn, recipe, self._codec, self._device))
        pictures = {"gt": crop, "gt_usm": usm, "lq": lq}
        left, top = crop_origin(drawn, rgb.shape[1], rgb.shape[0], recipe.gt_size)
        return Sample(
            key=f"{row.key}_d{index:03d}",
            members=tuple(_png(role, pictures[role]) for role in self._options.roles),
            record={"crop_left": left, "crop_top": top, **to_row(drawn)},
        )


def _png(role: str, pixels: NDArray[np.uint8]) -> Member:
    height, width, channels = pixels.shape
    data = image.encode_piece(pixels)
    return Member(role=role, extension="png", data=data, width=width, height=height, channels=channels)
