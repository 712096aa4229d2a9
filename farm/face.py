"""What is asked of faces, as it flows: options checked by farm.config, hashed with the other parameters."""

from __future__ import annotations

from dataclasses import dataclass

FACE_MODELS = ("gfpgan-1.3", "gfpgan-1.4")
"""as farm.fetch knows their files; the first is upstream's default"""
FACE_DETECTORS = ("resnet50", "mobile0.25")
FACE_RESIDENT_BYTES = 1_600_000_000
"""what a CPU worker needs to load the three networks in fp32, and to take one face through them; measured"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceParams:
    """Everything about faces that decides bytes."""

    model: str
    """one of FACE_MODELS, or `file:STEM` for a weight file given by path"""
    model_sha256: str
    detector: str
    """one of FACE_DETECTORS"""
    detector_sha256: str
    parser: str = "face-parser"
    """`face-parser`, or `file:STEM`"""
    parser_sha256: str
    strength: float
    """0..1: weight of the restored face where it is pasted; 1 hides what the upscaler made of it"""
    only_center: bool
    """only the face nearest to the middle of the picture"""
