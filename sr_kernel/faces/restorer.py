"""FaceRestorer: three resident networks behind one small interface.

`find` and `restore` call the networks: one thread calls them. `paste_faces` and what it needs run in any thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sr_kernel.backend import keep_to_fp32
from sr_kernel.faces.align import Matrix, crop, similarity
from sr_kernel.faces.detect import Detector
from sr_kernel.faces.networks import DetectorKind, FaceFile, load_detector, load_gfpgan, load_parser
from sr_kernel.faces.parse import Parser, soft_mask
from sr_kernel.faces.paste import paste, to_picture
from sr_kernel.faces.restore import Generator, Levels

BATCHES = {"cpu": 1, "cuda": 8}
"""faces a forward pass. One on a CPU, where more are no faster and convolutions of a batch differ in their last bits"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceFiles:
    """What restoring faces needs."""

    model: FaceFile
    detector: FaceFile
    detector_kind: DetectorKind
    parser: FaceFile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AlignedFace:
    """A face that was found, ready for the network."""

    levels: Levels
    to_face: Matrix
    """from source pixels to pixels of `levels`"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RestoredFace:
    """What the networks made of one face."""

    levels: NDArray[np.float32]
    """(512, 512, 3) RGB, 0..255; whole numbers for a face of an 8-bit picture"""
    classes: NDArray[np.uint8]
    """(512, 512): what each pixel is, by ParseNet"""

    @property
    def finite(self) -> bool:
        return bool(np.isfinite(self.levels).all())


class FaceRestorer:
    """The models stay on one device. Not thread-safe."""

    def __init__(self, detector: Detector, generator: Generator, parser: Parser, device: torch.device) -> None:
        self._detector = detector
        self._generator = generator
        self._parser = parser
        self.batch = BATCHES[device.type]
        keep_to_fp32(device)

    @classmethod
    def load(cls, files: FaceFiles, device: str = "cpu") -> FaceRestorer:
        """Verified weights on a device. Raises WeightsError, DeviceMemoryError."""
        at = torch.device(device)
        return cls(
            Detector(load_detector(files.detector, files.detector_kind, at), at),
            Generator(load_gfpgan(files.model, at), at),
            Parser(load_parser(files.parser, at), at),
            at,
        )

    def find(self, rgb: NDArray[Any], *, only_center: bool = False) -> tuple[Matrix, ...]:
        """For each face of a picture (H, W, 3), uint8 or uint16: from source pixels to those of the aligned face."""
        found = self._detector.find(rgb, only_center=only_center)
        return tuple(matrix for face in found if (matrix := similarity(face.landmarks)) is not None)

    def restore(self, faces: Sequence[Levels]) -> list[RestoredFace]:
        """Faces as `align_faces` gives them, of any pictures. Raises DeviceMemoryError."""
        made = self._generator.restore(faces, batch=self.batch)
        levels = [
            restored.round() if face.dtype == np.uint8 else restored for face, restored in zip(faces, made, strict=True)
        ]
        parsed = self._parser.classes(levels, batch=self.batch)
        return [RestoredFace(levels=one, classes=classes) for one, classes in zip(levels, parsed, strict=True)]


def align_faces(rgb: NDArray[Any], found: Sequence[Matrix]) -> list[AlignedFace]:
    """The faces that `find` found, cut out."""
    return [AlignedFace(levels=crop(rgb, matrix), to_face=matrix) for matrix in found]


def paste_faces(
    picture: NDArray[Any],
    source_size: tuple[int, int],
    aligned: Sequence[AlignedFace],
    restored: Sequence[RestoredFace],
    *,
    strength: float = 1.0,
) -> None:
    """Restored faces into the restored picture (H, W, 3), uint8 or uint16, in place and in order.

    `source_size`: width and height of the picture in which they were found; `strength` 0..1: share of the face where
    it is pasted.
    """
    scale = (picture.shape[1] / source_size[0], picture.shape[0] / source_size[1])
    for face, made in zip(aligned, restored, strict=True):
        paste(picture, made.levels, soft_mask(made.classes) * strength, to_picture(face.to_face, scale))
