"""Weights by name: local folders, the user's cache, then the release; verified, and fetched once however many ask."""

from __future__ import annotations

from farm.fetch.model import RESTORING, ResolvedModel, obtain, resolve
from farm.fetch.weight import ensure, ensure_file, folders, locate, sha256_of, verify
from farm.storage.cache import cache_folder

__all__ = [
    "RESTORING",
    "ResolvedModel",
    "cache_folder",
    "ensure",
    "ensure_file",
    "folders",
    "locate",
    "obtain",
    "resolve",
    "sha256_of",
    "verify",
]
