"""Crops as data inside a page, each within its share of the page's bytes."""

from __future__ import annotations

from base64 import b64encode

import numpy as np

from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.report.shown import Pair, Rgb

PAGE_BYTES = 6_000_000
"""of all pictures of a page together, as text"""
_MOST_BYTES = 160_000
"""of one picture, in its file's bytes"""
_QUALITIES = (90, 80, 65, 45)


def embedded(pair: Pair, pairs: int) -> tuple[str, str]:
    """Source and output as data: URLs, on a page of so many pairs."""
    budget = min(_MOST_BYTES, PAGE_BYTES * 3 // 4 // (2 * pairs))
    return _url(pair.before, pair.icc, budget), _url(pair.after, pair.icc, budget)


def _url(pixels: Rgb, icc: bytes | None, budget: int) -> str:
    return f"data:image/webp;base64,{b64encode(_within(pixels, icc, budget)).decode('ascii')}"


def _within(pixels: Rgb, icc: bytes | None, budget: int) -> bytes:
    """The picture at the best quality that fits; one that fits at none has half its pixels a side."""
    for quality in _QUALITIES:
        data = encode(pixels, ImageMeta(icc=icc), EncodeSpec(format="webp", quality=quality), "crop")
        if len(data) <= budget:
            return data
    return _within(np.ascontiguousarray(pixels[::2, ::2]), None, budget)
