"""Figures for people: times, rates, sizes. Pure."""

from __future__ import annotations

import math

_SPACE = "\u202f"
"""narrow and without a break, between groups of three digits"""


def duration(seconds: float) -> str:
    """Seconds for people: 8 s, 3 min 20 s, 5 h 12 min."""
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def pixel_rate(px_s: float) -> str:
    """Source pixels a second for people: 12.34 MP/s, 0.0051 MP/s; two digits at least that say something."""
    mpx_s = px_s / 1e6
    decimals = 2 if mpx_s <= 0 else max(2, 1 - math.floor(math.log10(mpx_s)))
    return f"{mpx_s:.{decimals}f} MP/s"


def count(number: int) -> str:
    """12 345 678"""
    return f"{number:,}".replace(",", _SPACE)


def size(nbytes: float) -> str:
    """999 bytes, 18.2 MB, 1.24 TB"""
    if nbytes < 1000:
        return f"{nbytes:.0f} bytes"
    power = min(4, int(math.log10(nbytes) // 3))
    return f"{digits(nbytes / 1000**power)} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def hours(seconds: float) -> str:
    """Seconds of workers: 0.4 s, 48 s, 12 min 03 s, 31.5 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{digits(seconds / 3600)} h" if seconds >= 7200 else duration(seconds)


def digits(value: float) -> str:
    """Three of them that say something."""
    if value < 1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else count(round(value))
