"""Smaller versions of each picture, so that training sees its content at several sizes.

Sizes, order and names are those of upstream's scripts/generate_multiscale_DF2K.py, and pixels are Pillow's, which it
uses. What differs: no picture is enlarged, a version without a pixel is left out, and palettes become colours first
(Pillow picks the nearest pixel there).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from farm.media.image import ReadLimits, decode
from farm.sample import Made, MultiscaleOptions, PrepareParams, Sample, SourceRow
from farm.tasks.operations.base import Content
from farm.tasks.operations.kept import kept_rules, png_member
from sr_kernel.pillow_resize import resize

_COLUMNS: Mapping[str, type] = MappingProxyType({"scale": float, "width": int, "height": int})


class Multiscale:
    """Versions by scale and by shortest edge; see Operation."""

    sample_columns = _COLUMNS
    """scale as asked for, None for the version by its shortest edge; size in pixels"""
    source_columns: Mapping[str, type] = MappingProxyType({"width": int, "height": int, "channels": int, "depth": int})
    """of the whole upright picture"""

    def __init__(self, params: PrepareParams) -> None:
        self._options = cast(MultiscaleOptions, params.options)
        self._limits = ReadLimits(max_pixels=params.max_pixels_in)

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:  # noqa: ARG002 (the protocol's)
        """All versions of a picture."""
        picture = decode(content.data, row.url, self._limits)
        header = picture.header
        record = {"width": header.width, "height": header.height, "channels": header.bands, "depth": header.depth}
        wanted = version_sizes(header.width, header.height, self._options)
        if not wanted:
            return Made(
                skipped="too_small", message=f"{header.width}x{header.height} has no smaller version", record=record
            )
        samples: list[Sample] = []
        for number, scale, width, height in wanted:
            member = png_member(resize(picture.pixels, width, height), row.url)
            made = {"scale": scale, "width": width, "height": height}
            samples.append(Sample(key=f"{row.key}T{number}", members=(member,), record=made))
        return Made(samples=tuple(samples), rules=self._rules(kept_rules(picture), wanted), record=record)

    def _rules(self, kept: tuple[str, ...], wanted: list[tuple[int, float | None, int, int]]) -> tuple[str, ...]:
        lacks = len(wanted) < len(self._options.scales) + (self._options.shortest_px > 0)
        premultiplied = ("alpha_premultiplied",) if "alpha_kept" in kept else ()
        return (*kept, *premultiplied, *(("versions_left_out",) if lacks else ()))


def version_sizes(width: int, height: int, options: MultiscaleOptions) -> list[tuple[int, float | None, int, int]]:
    """Number, scale, width and height of each version; the last has the shortest edge asked for and no scale.

    Numbers are positions in `scales`, whatever is left out; the last comes after all of them. Products are truncated as
    upstream's are, those of the last with its ratio first.
    """
    sizes: list[tuple[int, float | None, int, int]] = []
    for number, scale in enumerate(options.scales):
        size = int(width * scale), int(height * scale)
        if min(size) > 0:
            sizes.append((number, scale, *size))
    edge = options.shortest_px
    if 0 < edge <= min(width, height):
        long = int(edge * (height / width if width < height else width / height))
        size = (edge, long) if width < height else (long, edge)
        sizes.append((len(options.scales), None, *size))
    return sizes
