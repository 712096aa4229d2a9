"""Bars as SVG that fills whatever width it is given; words stand beside them as text. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from farm.report.words import text

Segment = tuple[str, float, str]
"""class of its colour, amount, and what a pointer over it says"""


def stacked(segments: Sequence[Segment], label: str, *, whole: float | None = None, thin: bool = False) -> str:
    """One bar of segments side by side, in shares of `whole`, or of their sum."""
    total = whole or sum(amount for _, amount, _ in segments) or 1.0
    parts: list[str] = []
    start = 0.0
    for name, amount, said in segments:
        if amount > 0:
            width = 100 * amount / total
            parts.append(
                f'<rect class="{name}" x="{start:.3f}" y="0" width="{width:.3f}" height="10">'
                f"<title>{text(said)}</title></rect>"
            )
            start += width
    return _svg(f"bar{' thin' if thin else ''}", (100, 10), label, parts)


def bars(amounts: Sequence[float], said: Sequence[str], label: str, *, beyond: int = 0) -> str:
    """Bars of equal width; the first `beyond` of them in the colour of what is not right."""
    most = max(amounts, default=0.0) or 1.0
    parts = [f'<rect class="ground" x="0" y="99.4" width="{len(amounts)}" height=".6"></rect>']
    for number, (amount, words) in enumerate(zip(amounts, said, strict=True)):
        height = max(98 * amount / most, 1.0) if amount else 0.0
        name = ' class="beyond"' if number < beyond else ""
        parts.append(
            f'<rect{name} x="{number + 0.1:.1f}" y="{99.4 - height:.2f}" width=".8" height="{height:.2f}">'
            f"<title>{text(words)}</title></rect>"
        )
    return _svg("bars", (len(amounts), 100), label, parts)


def _svg(name: str, view: tuple[int, int], label: str, parts: Sequence[str]) -> str:
    box = f'viewBox="0 0 {view[0]} {view[1]}" preserveAspectRatio="none"'
    return f'<svg class="{name}" {box} role="img" aria-label="{text(label)}">{"".join(parts)}</svg>'
