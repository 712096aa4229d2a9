"""Weights by name: local folders, the user's cache, then the release; verified, and fetched once however many ask."""

from __future__ import annotations

from farm.fetch.model import ResolvedModel, resolve
from farm.fetch.weight import cache_folder, ensure, folders, locate, verify

__all__ = ["ResolvedModel", "cache_folder", "ensure", "folders", "locate", "resolve", "verify"]
