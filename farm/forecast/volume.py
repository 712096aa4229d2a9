"""Bytes of outputs before there are any, from their pixels and formats. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from types import MappingProxyType

_QUALITY_BYTES: Mapping[str, Mapping[int, float]] = MappingProxyType(
    {
        "jpg": {75: 0.085, 90: 0.183, 95: 0.317, 100: 0.938},
        "webp": {75: 0.040, 90: 0.080, 95: 0.137, 100: 1.050},
        "avif": {75: 0.069, 90: 0.139, 95: 0.250, 100: 1.206},
    }
)
_LOSSLESS_BYTES: Mapping[str, float] = MappingProxyType({"png": 1.318, "tiff": 1.369, "sequence": 1.318})
_FILM_BYTES = 0.026
"""a pixel of a film's output; animations are taken for films too"""


def output_px_bytes(form: str, quality: int) -> float:
    """Bytes that a pixel of an output takes in a format or a container.

    Of pictures medians over eleven 8-bit RGB pictures that animevideov3 enlarged four times, which differ by a factor
    of two either way, and between the qualities that were measured what lies on the line (`bench/output_bytes.py`).
    Of films the mean of two; they differ by far more.
    """
    if form in _LOSSLESS_BYTES:
        return _LOSSLESS_BYTES[form]
    if form not in _QUALITY_BYTES:
        return _FILM_BYTES
    known = sorted(_QUALITY_BYTES[form].items())
    for (low, least), (high, most) in pairwise(known):
        if quality <= high:
            return least + (most - least) * max(0, quality - low) / (high - low)
    return known[-1][1]
