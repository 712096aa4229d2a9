"""What a page shows of figures, times and names, as text. Pure."""

from __future__ import annotations

from datetime import datetime, timezone
from html import escape

from farm.console import printable
from farm.progress.figures import count, digits, hours, size

__all__ = ["count", "figure", "hours", "moment", "pixels", "share", "size", "text"]


def text(value: str) -> str:
    """Any text as HTML that is nothing but text, in elements and in attributes."""
    return escape(printable(value), quote=True)


def pixels(px: float) -> str:
    """Of sources: 3.95 MP, 12.3 GP, 2.03 TP."""
    power, name = next(((power, name) for power, name in ((1e12, "TP"), (1e9, "GP")) if px >= power), (1e6, "MP"))
    return f"{digits(px / power)} {name}"


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
