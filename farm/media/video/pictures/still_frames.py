"""Frames of a film as pictures: planes to pixels and back, names and files of a numbered sequence, and its index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm.film import FilmPlan
from farm.media.image import EncodeSpec, ImageMeta, Pixels, encode
from farm.media.video.values import Planes
from farm.params import UpscaleParams
from sr_kernel.layout import FrameLayout

_TO_DEEP = 257
"""65 535 / 255: 8 bits as 16"""
_SRGB = (b"sRGB", "sRGB".encode("utf-16-be"))
"""what profiles of sRGB call themselves"""


def planes_of(pixels: Pixels, layout: FrameLayout) -> Planes:
    """A picture as the planes of a frame.

    Pictures of one film may differ: gray is repeated where the film has colours, alpha that one has not is opaque,
    and 8 bits become 16 exactly. What the layout has no room for must not be in the picture, save opaque alpha.

    Args:
        pixels: HWC with 1..4 channels, of the layout's size.
        layout: rgb or gray, of 8 or 16 bits.
    """
    height, width, channels = pixels.shape
    if (width, height) != (layout.width, layout.height) or layout.depth not in (8, 16):
        raise ValueError(f"a picture of {width}x{height} for {layout}")
    colours = pixels[:, :, : channels - (channels + 1) % 2]
    count = 1 if layout.model == "gray" else 3
    if colours.shape[2] > count:
        raise ValueError(f"a picture in colours for {layout}")
    planes: list[NDArray[np.uint8] | NDArray[np.uint16]] = [
        _plane(colours[:, :, min(at, colours.shape[2] - 1)], layout) for at in range(count)
    ]
    if layout.alpha and channels in (2, 4):
        planes.append(_plane(pixels[:, :, -1], layout))
    elif layout.alpha:
        planes.append(np.full_like(planes[0], 255 if layout.depth == 8 else 65_535))
    return tuple(planes)


def pixels_of(planes: Planes) -> Pixels:
    """The planes of a frame of rgb or gray as a picture HWC."""
    return cast(Pixels, np.stack(planes, axis=2))


def is_opaque(pixels: Pixels) -> bool:
    """Whether a picture HWC has no transparent pixel."""
    return pixels.shape[2] in (1, 3) or int(pixels[:, :, -1].min()) == np.iinfo(pixels.dtype).max


def profile_warning(meta: ImageMeta) -> str | None:
    """What is lost of a source's colours where only pixels are kept; None for sRGB, which they are taken for."""
    if meta.icc is None or any(name in meta.icc for name in _SRGB):
        return None
    return "the colour profile is left out, and the pixels are taken for sRGB"


def turned(pixels: Pixels, rotation: Sequence[int]) -> Pixels:
    """A picture as a display matrix shows it, where that is a turn by quarters or a mirror image; else as it is.

    Args:
        rotation: nine integers (a b u, c d v, x y w) that take (x, y) to (ax + cy, bx + dy), or none.
    """
    if not rotation:
        return pixels
    a, b, c, d = rotation[0], rotation[1], rotation[3], rotation[4]
    if a and d and not b and not c:
        down, across = d, a
    elif b and c and not a and not d:
        pixels, down, across = pixels.transpose(1, 0, 2), b, c
    else:
        return pixels
    return _flipped(pixels, down < 0, across < 0)


def _flipped(pixels: NDArray[Any], rows: bool, columns: bool) -> Pixels:
    return np.ascontiguousarray(pixels[:: -1 if rows else 1, :: -1 if columns else 1])


def frame_name(index: int, params: UpscaleParams) -> str:
    """File name of an output frame of a numbered sequence, counted from 0."""
    return f"frame{index:08d}.{params.format}"


def encode_still(planes: Planes, film: FilmPlan, params: UpscaleParams, url: str = "") -> bytes:
    """A restored frame as the file of a picture, upright.

    Raises:
        ItemError: UNSUPPORTED for transparent pixels in a format that has none, ENCODE_FAILED.
    """
    pixels = turned(pixels_of(planes), film.rotation)
    spec = EncodeSpec(format=params.format, quality=params.quality)
    return encode(pixels, ImageMeta(), spec, url)


def sequence_index(
    film: FilmPlan,
    out_pts: Sequence[int],
    params: UpscaleParams,
    stamp: Mapping[str, str] | None,
    files: Sequence[tuple[str, int]],
) -> bytes:
    """What the pictures of a numbered sequence do not say: their order, when each is shown, colours, who made them.

    `files`: (sha256, bytes) of each, by which damage is found later.
    JSON in UTF-8, the same bytes for the same film; `pts` counts in `time_base` seconds.
    """
    primaries, transfer, _, _ = film.colour_tags
    aspect = film.shown_aspect or Fraction(1)
    upright = turned(np.empty((film.target.height, film.target.width, 1), np.uint8), film.rotation)
    content = {
        "schema": 1,
        "frames": film.frames,
        "format": params.format,
        "width": upright.shape[1],
        "height": upright.shape[0],
        "sample_aspect": f"{aspect.numerator}/{aspect.denominator}",
        "colour_primaries": primaries,
        "colour_transfer": transfer,
        "rate": f"{film.rate.numerator}/{film.rate.denominator}",
        "time_base": f"{film.out_base.numerator}/{film.out_base.denominator}",
        "stamp": dict(stamp) if stamp is not None else None,
        "names": [frame_name(index, params) for index in range(film.frames)],
        "pts": list(out_pts),
        "sha256": [sha256 for sha256, _ in files],
        "bytes": [size for _, size in files],
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _plane(channel: NDArray[Any], layout: FrameLayout) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if channel.dtype == np.uint8 and layout.depth == 16:
        return np.ascontiguousarray(channel.astype(np.uint16) * np.uint16(_TO_DEEP))
    if channel.dtype == np.uint16 and layout.depth == 8:
        raise ValueError(f"a picture of 16 bits for {layout}")
    return np.ascontiguousarray(channel)
