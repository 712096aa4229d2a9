"""The three weight files that restoring faces takes: which ones, and that the packages for them are there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import util
from pathlib import Path
from types import MappingProxyType

from farm.config import FaceConfig
from farm.errors import ModelError, UsageError
from farm.face import FACE_MODELS, FaceParams
from farm.fetch.weight import Progress, ensure, locate, sha256_of
from sr_kernel.models import FILE_PREFIX, MODELS

DETECTOR_FILES: Mapping[str, str] = MappingProxyType(
    {"resnet50": "face-detector-resnet50", "mobile0.25": "face-detector-mobile0.25"}
)
"""rows of the table of models by what `--face-detector` calls them"""
PARSER = "face-parser"
FACE_EXTRA = "the packages that restore faces are not installed; run pip install 'sr-farm[face]'"
_PACKAGES = ("gfpgan", "facexlib", "basicsr", "cv2", "torchvision")


def check_face_extra() -> None:
    """Raises UsageError where a package is missing. Imports none of them."""
    missing = [package for package in _PACKAGES if util.find_spec(package) is None]
    if missing:
        raise UsageError(f"--face-enhance: {FACE_EXTRA} (missing: {', '.join(missing)})")


def resolve_face(config: FaceConfig, weights_dir: str | None = None) -> FaceParams | None:
    """What is asked of faces, with the digests of the files it takes; None where nothing is.

    A digest is the table's; where that has none, that of the file that is here. Raises ModelError for a file that is
    neither here nor pinned, UsageError where the extra is missing.
    """
    if not config.enhance or not config.strength:
        return None
    check_face_extra()
    return FaceParams(
        model=_named(config.model),
        model_sha256=_digest(config.model, weights_dir),
        detector=config.detector,
        detector_sha256=_digest(DETECTOR_FILES[config.detector], weights_dir),
        parser=_named(config.parser or PARSER),
        parser_sha256=_digest(config.parser or PARSER, weights_dir),
        strength=config.strength,
        only_center=config.only_center,
    )


def face_files(config: FaceConfig) -> tuple[tuple[str, str], ...]:
    """(name, absolute path) of the weights that are given as files."""
    given = (config.model, config.parser)
    return tuple((_named(one), os.path.abspath(Path(one).expanduser())) for one in given if one and not _is_known(one))


def ensure_face_file(
    name: str, path: str | None = None, weights_dir: str | None = None, progress: Progress | None = None
) -> Path:
    """A weight file, here: `path` where one was given, else that of the table's row. Raises ModelError, DiskError."""
    return Path(path) if path else ensure(MODELS[name], weights_dir, progress)


def face_rows(params: FaceParams) -> tuple[str, ...]:
    """Rows of the table whose files it takes."""
    names = (params.model, DETECTOR_FILES[params.detector], params.parser)
    return tuple(name for name in names if name in MODELS)


def _is_known(name: str) -> bool:
    return name in (*FACE_MODELS, PARSER)


def _named(name: str) -> str:
    return name if _is_known(name) else f"{FILE_PREFIX}{Path(name).stem}"


def _digest(name: str, weights_dir: str | None) -> str:
    spec = MODELS.get(name)
    if spec is not None and spec.sha256:
        return spec.sha256
    path = Path(name).expanduser() if spec is None else locate(spec, weights_dir) or ensure(spec, weights_dir)
    try:
        return sha256_of(path)
    except OSError as error:
        raise ModelError(f"model {path}: {error.strerror}; check the path") from error
