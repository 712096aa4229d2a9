"""Whole runs: what tests/runs.py has, for every test here."""

from __future__ import annotations

from ..runs import cluster, farm, make_picture, slow_farm
from ..stores import proxy, server

__all__ = ["cluster", "farm", "make_picture", "proxy", "server", "slow_farm"]
