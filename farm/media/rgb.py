"""What training data is made of: plain 8-bit RGB, from whatever a picture was decoded to, by rules that are counted."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from farm.media.picture import Picture

GRAY_EXPANDED = "gray_expanded"
ALPHA_DROPPED = "alpha_dropped"
DEPTH_REDUCED = "depth_reduced"


def to_rgb8(picture: Picture) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """The picture as uint8 HWC of three channels, contiguous, and the rules that were applied to it.

    Gray is repeated, alpha is dropped (colour under it stays as it is stored), 16 bits are rounded to the nearest of 8.
    CMYK and LAB are sRGB since they were decoded, which is a rule too.
    """
    pixels, rules = picture.pixels, list[str]()
    if picture.header.converted:
        rules.append(f"{picture.header.converted}_converted")
    if pixels.shape[2] in (2, 4):
        pixels = pixels[:, :, :-1]
        rules.append(ALPHA_DROPPED)
    if pixels.dtype == np.uint16:
        pixels = ((pixels.astype(np.uint32) + 128) // 257).astype(np.uint8)
        rules.append(DEPTH_REDUCED)
    if pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
        rules.append(GRAY_EXPANDED)
    return cast("NDArray[np.uint8]", np.ascontiguousarray(pixels)), tuple(rules)
