"""Data sets as things to make: sources named and put into packs, and what is written when all packs are done."""

from __future__ import annotations

from farm.dataset.packs import Packs, plan_packs

__all__ = ["Packs", "plan_packs"]
