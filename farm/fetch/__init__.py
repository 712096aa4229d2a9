"""Weights by name: local folders, the user's cache, then the release; verified, and fetched once however many ask."""

from __future__ import annotations

from farm.fetch.face import (
    DETECTOR_FILES,
    FACE_EXTRA,
    ensure_face_file,
    face_files,
    face_rows,
    resolve_face,
)
from farm.fetch.model import RESTORING, ResolvedModel, obtain, resolve
from farm.fetch.weight import ensure, ensure_file, folders, locate, places, sha256_of, verify
from sr_kernel.cache import cache_folder

__all__ = [
    "DETECTOR_FILES",
    "FACE_EXTRA",
    "RESTORING",
    "ResolvedModel",
    "cache_folder",
    "ensure",
    "ensure_face_file",
    "ensure_file",
    "face_files",
    "face_rows",
    "folders",
    "locate",
    "obtain",
    "places",
    "resolve",
    "resolve_face",
    "sha256_of",
    "verify",
]
