"""From landmarks to an aligned face: the similarity transform to FFHQ's template, and the picture warped by it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sr_kernel.faces.networks import FACE_PX

cv2: Any = import_module("cv2")

TEMPLATE = np.array(
    [
        [192.98138, 239.94708],
        [318.90277, 240.1936],
        [256.63416, 314.01935],
        [201.26117, 371.41043],
        [313.08905, 371.15118],
    ]
)
"""where the five landmarks of an FFHQ face of 512 x 512 lie; facexlib's"""
_BORDER_RGB = (132, 133, 135)
"""gray beyond the picture's border"""
_WARPED_SIDE = 32_767
"""OpenCV warps no picture with a longer side"""
_MARGIN_PX = 2

Matrix = NDArray[np.float64]
"""(2, 3): pixel coordinates to pixel coordinates"""


def similarity(landmarks: NDArray[Any]) -> Matrix | None:
    """From source pixels to pixels of the aligned face; None where the landmarks allow none."""
    found: Matrix | None = cv2.estimateAffinePartial2D(landmarks, TEMPLATE, method=cv2.LMEDS)[0]
    if found is None or not np.isfinite(found).all() or abs(np.linalg.det(found[:, :2])) < 1e-9:
        return None
    return found


def crop(rgb: NDArray[Any], to_face: Matrix) -> NDArray[Any]:
    """The aligned face (512, 512, 3) of a picture (H, W, 3): uint8 of uint8; of uint16 float32 levels 0..255."""
    part, shifted = _near(rgb, to_face)
    deep = part.dtype == np.uint16
    levels = part.astype(np.float32) * np.float32(255 / 65535) if deep else np.ascontiguousarray(part)
    return cv2.warpAffine(levels, shifted, (FACE_PX, FACE_PX), borderMode=cv2.BORDER_CONSTANT, borderValue=_BORDER_RGB)


def inverse(matrix: Matrix) -> Matrix:
    """The transform back."""
    return cv2.invertAffineTransform(matrix)


def square(from_face: Matrix) -> tuple[int, int, int, int]:
    """left, top, right, bottom of the pixels that an aligned face covers, and a little more; not clipped."""
    corners = np.array([[x, y, 1.0] for x in (0, FACE_PX) for y in (0, FACE_PX)]) @ from_face.T
    low, high = np.floor(corners.min(axis=0)) - _MARGIN_PX, np.ceil(corners.max(axis=0)) + _MARGIN_PX
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _near(rgb: NDArray[Any], to_face: Matrix) -> tuple[NDArray[Any], Matrix]:
    """What a face needs of a picture that is too long to be warped as a whole, and of one of which a copy is made."""
    height, width = rgb.shape[:2]
    if rgb.dtype == np.uint8 and max(height, width) < _WARPED_SIDE:
        return rgb, to_face  # to the last bit as upstream has it
    left, top, right, bottom = square(inverse(to_face))
    left, top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    right, bottom = max(min(right, width), left + 1), max(min(bottom, height), top + 1)
    shifted = to_face.copy()
    shifted[:, 2] += to_face[:, :2] @ np.array([left, top])
    return rgb[top:bottom, left:right], shifted
