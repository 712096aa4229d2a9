"""Why an option and an encoder do not go together."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Misfit:
    """One option that cannot be had, as a sentence in two halves."""

    option: str
    """the flag, such as --preset"""
    found: str
    advice: str
