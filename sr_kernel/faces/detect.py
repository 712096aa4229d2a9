"""Faces of a picture, as facexlib's FaceRestoreHelper finds them for GFPGANer: at the picture's own size.

Like `RetinaFace.detect_faces` of facexlib 0.3.0 and `get_face_landmarks_5(eye_dist_threshold=5)`, with its priors made
by numpy instead of one by one in Python.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_kernel.backend import memory_errors

SCORE = 0.97
"""what FaceRestoreHelper asks for"""
OVERLAP = 0.4
"""of two boxes that overlap more, the one of lower score goes"""
EYES_PX = 5
"""faces whose eyes are nearer are not restored"""
_MEAN_BGR = (104.0, 117.0, 123.0)
DETECT_PX_BYTES = {"resnet50": 320, "mobile0.25": 90}
"""a source pixel while it is looked at, measured: the rise of resident memory on a CPU, rounded up"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """One face of a picture."""

    box: tuple[float, float, float, float]
    """left, top, right, bottom in source pixels"""
    score: float
    landmarks: NDArray[np.float32]
    """(5, 2): x and y of left eye, right eye, nose, left and right corner of the mouth, in source pixels"""


class Detector:
    """Holds facexlib's network. Not thread-safe: one thread calls it."""

    def __init__(self, network: Any, device: torch.device) -> None:
        self._network = network
        self._device = device
        self._parts: Any = importlib.import_module("facexlib.detection.retinaface_utils")

    def find(self, rgb: NDArray[Any], *, only_center: bool = False, score: float = SCORE) -> tuple[Found, ...]:
        """Faces of a picture (H, W, 3), uint8 or uint16, best score first; at most the most central one, if so asked.

        Raises DeviceMemoryError.
        """
        with memory_errors(), torch.inference_mode():
            boxes, scores, landmarks = self._candidates(rgb, score)
        if not len(boxes):
            return ()
        kept: list[Any] = self._parts.py_cpu_nms(np.hstack((boxes, scores[:, None])), OVERLAP)
        found = [
            Found(box=_box(boxes[at]), score=float(scores[at]), landmarks=landmarks[at].reshape(5, 2))
            for at in map(int, kept)
        ]
        found = [face for face in found if _eye_distance(face) >= EYES_PX]
        if only_center and found:
            middle = np.array([rgb.shape[1] / 2, rgb.shape[0] / 2])
            return (min(found, key=lambda face: _distance(face, middle)),)
        return tuple(found)

    def _candidates(self, rgb: NDArray[Any], score: float) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Boxes (N, 4), scores (N) and landmarks (N, 10) above `score`, best first, float32."""
        x = self._input(rgb)
        height, width = rgb.shape[:2]
        offsets, classes, points = self._network(x)
        config = self._network.cfg
        priors = torch.from_numpy(_priors(height, width, config["min_sizes"], config["steps"])).to(self._device)
        size = torch.tensor([width, height] * 5, dtype=torch.float32, device=self._device)
        boxes = self._parts.decode(offsets.squeeze(0), priors, config["variance"]) * size[:4]
        landmarks = self._parts.decode_landm(points.squeeze(0), priors, config["variance"]) * size
        scores: NDArray[Any] = classes.squeeze(0).cpu().numpy()[:, 1]
        above = np.where(scores > score)[0]
        order = above[scores[above].argsort()[::-1]]
        return boxes.cpu().numpy()[order], scores[order], landmarks.cpu().numpy()[order]

    def _input(self, rgb: NDArray[Any]) -> Tensor:
        """(1, 3, H, W) in BGR, levels 0..255 less their mean."""
        levels = torch.from_numpy(np.ascontiguousarray(rgb)).to(self._device).permute(2, 0, 1)[None].flip(1)
        x = levels.to(torch.float32)
        if rgb.dtype == np.uint16:
            x = x.div_(65535).mul_(255)
        return x.sub_(torch.tensor(_MEAN_BGR, device=self._device).view(1, 3, 1, 1))


def _priors(height: int, width: int, sizes: list[list[int]], steps: list[int]) -> NDArray[np.float32]:
    """(N, 4): centre and size of every place where a face is looked for, over the picture's; facexlib's PriorBox."""
    levels: list[NDArray[np.float64]] = []
    for step, of_step in zip(steps, sizes, strict=True):
        rows, columns = math.ceil(height / step), math.ceil(width / step)
        made = np.empty((rows, columns, len(of_step), 4))
        made[..., 0] = ((np.arange(columns) + 0.5) * step / width)[None, :, None]
        made[..., 1] = ((np.arange(rows) + 0.5) * step / height)[:, None, None]
        made[..., 2] = np.array(of_step) / width
        made[..., 3] = np.array(of_step) / height
        levels.append(made.reshape(-1, 4))
    return np.concatenate(levels).astype(np.float32)


def _box(box: NDArray[Any]) -> tuple[float, float, float, float]:
    left, top, right, bottom = (float(value) for value in box)
    return left, top, right, bottom


def _eye_distance(face: Found) -> float:
    return float(np.linalg.norm(face.landmarks[0] - face.landmarks[1]))


def _distance(face: Found, middle: NDArray[Any]) -> float:
    """From the middle of the face's box."""
    left, top, right, bottom = face.box
    return float(np.linalg.norm(np.array([(left + right) / 2, (top + bottom) / 2]) - middle))
