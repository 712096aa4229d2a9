"""Figures in words and numbers as a page and a terminal show them. Pure."""

from __future__ import annotations

import math
from datetime import datetime, timezone
from html import escape

from farm.console import printable
from farm.progress import duration

_SPACE = "\u202f"
"""narrow and without a break, between groups of three digits"""


def text(value: str) -> str:
    """Any text as HTML that is nothing but text, in elements and in attributes."""
    return escape(printable(value), quote=True)


def count(number: int) -> str:
    """12 345 678"""
    return f"{number:,}".replace(",", _SPACE)


def pixels(px: float) -> str:
    """Of sources: 3.95 MP, 12.3 GP, 2.03 TP."""
    power, name = next(((power, name) for power, name in ((1e12, "TP"), (1e9, "GP")) if px >= power), (1e6, "MP"))
    return f"{_digits(px / power)} {name}"


def size(nbytes: float) -> str:
    """999 bytes, 18.2 MB, 1.24 TB"""
    if nbytes < 1000:
        return f"{nbytes:.0f} bytes"
    power = min(4, int(math.log10(nbytes) // 3))
    return f"{_digits(nbytes / 1000**power)} {('kB', 'MB', 'GB', 'TB')[power - 1]}"


def hours(seconds: float) -> str:
    """Seconds of workers: 0.4 s, 48 s, 12 min 03 s, 31.5 h."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{_digits(seconds / 3600)} h" if seconds >= 7200 else duration(seconds)


def moment(unix: float) -> str:
    """2026-11-26 07:17 UTC"""
    return f"{datetime.fromtimestamp(unix, timezone.utc):%Y-%m-%d %H:%M} UTC"


def share(part: float, whole: float) -> str:
    """12 %; <1 % and >99 % are neither nothing nor all."""
    percent = 100 * part / whole if whole else 0.0
    if 99 < percent < 100:
        return ">99 %"
    return "<1 %" if 0 < percent < 1 else f"{percent:.0f} %"


def figure(value: float) -> str:
    """A figure of fidelity with three digits that say something; 0 for 0."""
    return "0" if value == 0 else f"{value:.3g}"


def _digits(value: float) -> str:
    if value < 1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else count(round(value))
