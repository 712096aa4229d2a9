"""Seeded weight files for tests: small networks with the official files' keys."""

from __future__ import annotations

from pathlib import Path

import torch

from sr_kernel.models import ModelSpec

from .networks import rrdb_spec, seeded_state, srvgg_spec


def save_srvgg(path: Path, *, features: int, convs: int, scale: int = 4, seed: int = 0) -> Path:
    """A SRVGGNetCompact of any size."""
    return _save(path, srvgg_spec(scale, features=features, convs=convs), seed)


def save_rrdb(path: Path, *, features: int, blocks: int, growth: int, scale: int = 4, seed: int = 0) -> Path:
    """An RRDBNet of any size; from 7 blocks on its context is too wide for exact windows."""
    return _save(path, rrdb_spec(scale, features=features, blocks=blocks, growth=growth), seed)


def _save(path: Path, spec: ModelSpec, seed: int) -> Path:
    torch.save({"params": seeded_state(spec, seed)}, path)
    return path
