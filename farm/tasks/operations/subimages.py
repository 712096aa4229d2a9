"""Overlapping crops of large pictures, so that training reads small files.

Cuts where upstream's scripts/extract_subimages.py cuts, in its order and with its numbers. What differs: crops of a
JPEG are PNG and not compressed again, names keep their x2, x3, x4 and x8, pictures are turned upright first, and one
that is smaller than the crop is told instead of lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from farm.media.image import Pixels, ReadLimits, decode, read_header
from farm.sample import Made, PrepareParams, Sample, SourceRow, SubimagesOptions
from farm.tasks.operations.base import Content
from farm.tasks.operations.kept import kept_rules, png_member

_COLUMNS: Mapping[str, type] = MappingProxyType({"x": int, "y": int, "width": int, "height": int})


class Subimages:
    """Crops of one size on one grid; see Operation."""

    sample_columns = _COLUMNS
    """where the crop lies in the upright picture, pixels"""
    source_columns: Mapping[str, type] = MappingProxyType({"width": int, "height": int, "channels": int, "depth": int})
    """of the whole upright picture"""

    def __init__(self, params: PrepareParams) -> None:
        self._options = cast(SubimagesOptions, params.options)
        self._limits = ReadLimits(max_pixels=params.max_pixels_in)

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:  # noqa: ARG002 (the protocol's)
        """All crops of a picture, from the left to the right and downwards."""
        crop = self._options.crop_px
        header = read_header(content.data, row.url, self._limits)
        record = {"width": header.width, "height": header.height, "channels": header.bands, "depth": header.depth}
        if min(header.width, header.height) < crop:
            message = f"{header.width}x{header.height} is smaller than the crop of {crop}x{crop}"
            return Made(skipped="too_small", message=message, record=record)
        picture = decode(content.data, row.url, self._limits)
        places = crop_places(header.width, header.height, self._options)
        samples = tuple(self._cut(row, picture.pixels, at, x, y) for at, (x, y) in enumerate(places, 1))
        return Made(samples=samples, rules=kept_rules(picture), record=record)

    def _cut(self, row: SourceRow, pixels: Pixels, number: int, x: int, y: int) -> Sample:
        crop = self._options.crop_px
        member = png_member(pixels[y : y + crop, x : x + crop], row.url)
        place = {"x": x, "y": y, "width": crop, "height": crop}
        return Sample(key=f"{row.key}_s{number:03d}", members=(member,), record=place)


def crop_places(width: int, height: int, options: SubimagesOptions) -> list[tuple[int, int]]:
    """Upper left corners x, y of the crops of a picture that is at least as large as one, in upstream's order."""
    return [(x, y) for y in _starts(height, options) for x in _starts(width, options)]


def _starts(length: int, options: SubimagesOptions) -> list[int]:
    """Where crops begin along one axis: every step, and at its end where more than `thresh_px` would be left over."""
    end = length - options.crop_px
    starts = list(range(0, end + 1, options.step_px))
    if end - starts[-1] > options.thresh_px:
        starts.append(end)
    return starts
