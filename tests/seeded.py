"""Seeded weight files for tests: small networks with the official files' keys."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch


def save_srvgg(path: Path, *, features: int, convs: int, scale: int = 4, seed: int = 0) -> Path:
    """A seeded SRVGGNetCompact with the official file's keys."""
    torch.manual_seed(seed)
    state: dict[str, torch.Tensor] = {}
    widths = [3, *[features] * (convs + 1), 3 * scale**2]
    for index, (before, after) in enumerate(pairwise(widths)):
        state[f"body.{2 * index}.weight"] = torch.randn(after, before, 3, 3) * (0.5 / (9 * before) ** 0.5)
        state[f"body.{2 * index}.bias"] = torch.zeros(after)
        if index <= convs:
            state[f"body.{2 * index + 1}.weight"] = torch.full((after,), 0.1)
    torch.save({"params": state}, path)
    return path
