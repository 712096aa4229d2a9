"""A restored face into the restored picture: facexlib's paste_faces_to_input_image, over the face's square alone."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr_kernel.faces.align import Matrix, inverse, square
from sr_kernel.pixels import top_level

cv2: Any = import_module("cv2")

_STRIP_ROWS = 512
"""rows that are blended at once: bounds what floats occupy"""


def to_picture(to_face: Matrix, scale: tuple[float, float]) -> Matrix:
    """From pixels of an aligned face to pixels of the output, which is `scale` (x, y) times the source.

    Enlarged pictures get upstream's offset of half an output pixel's width in source pixels, times the scale.
    """
    matrix = inverse(to_face)
    for axis, factor in enumerate(scale):
        matrix[axis] *= factor
        matrix[axis, 2] += 0.5 * factor if factor > 1 else 0.0
    return matrix


def paste(picture: NDArray[Any], face: NDArray[np.float32], mask: NDArray[Any], from_face: Matrix) -> None:
    """Blend a face into a picture, in place.

    `picture` is (H, W, 3), uint8 or uint16; `face` (512, 512, 3) levels 0..255, `mask` (512, 512) the share of the face
    in each pixel, `from_face` as `to_picture` gives it. Pixels with a share of 0 keep their bytes.
    """
    height, width = picture.shape[:2]
    left, top, right, bottom = square(from_face)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return
    if picture.dtype == np.uint8:
        source = face.round().astype(np.uint8)  # as upstream, which warps bytes
    else:
        source = face * np.float32(top_level(picture.dtype) / 255)
    for y in range(top, bottom, _STRIP_ROWS):
        end = min(y + _STRIP_ROWS, bottom)
        shifted = from_face.copy()
        shifted[:, 2] -= (left, y)
        size = (right - left, end - y)
        share = cv2.warpAffine(mask, shifted, size, flags=cv2.INTER_LINEAR).astype(np.float32)[:, :, None]
        pasted = cv2.warpAffine(source, shifted, size).astype(np.float32)
        _blend(picture[y:end, left:right], pasted, share)


def _blend(target: NDArray[Any], pasted: NDArray[np.float32], share: NDArray[np.float32]) -> None:
    mixed = share * pasted + (1 - share) * target.astype(np.float32)
    levels = mixed.round().clip(0, top_level(target.dtype)).astype(target.dtype)
    np.copyto(target, levels, where=share > 0)
