"""Procedural pictures to train on: no photograph, no licence. Seeded, numpy alone.

A scene has edges at all scales, as photographs have: dead leaves (Lee, Mumford and Huang, Occlusion models for natural
images, 2001), whose sizes follow a power law that makes the picture look alike at every zoom. Each leaf is flat, shaded
or textured. Others are text, line art, and textures whose spectrum falls with frequency. A scene is drawn at twice its
size and halved, so that edges are antialiased as a lens does it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_kernel.pillow_resize import resize

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
KINDS = ("leaves", "textures", "drawing", "text")
SHARES = (0.55, 0.2, 0.15, 0.1)
"""how often each kind is drawn"""
_OVER = 2
"""a scene is drawn so many times as large"""
_LEAVES_LEAST_PX = (1.5, 14.0)
"""radius of a scene's smallest leaf, in its pixels, drawn by its logarithm"""
_MOST_LEAVES = 6000
_GLYPH_ROWS, _GLYPH_COLUMNS = 7, 5


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneSpec:
    """Which scene."""

    seed: int
    index: int
    """scenes of one seed are numbered from 0, each another one"""
    side_px: int = 512


def make_scene(spec: SceneSpec) -> Pixels:
    """One picture, HWC RGB."""
    rng = np.random.Generator(np.random.Philox(key=[spec.seed, spec.index]))
    kind = KINDS[int(np.searchsorted(np.cumsum(SHARES), rng.random() * sum(SHARES)))]
    side = spec.side_px * _OVER
    drawn = _DRAWN[kind](rng, side)
    levels = (np.clip(drawn, 0, 1) * 255).round().astype(np.uint8)
    small = resize(levels, spec.side_px, spec.side_px)
    return small.astype(np.uint8)


def _leaves(rng: np.random.Generator, side: int) -> Floats:
    """Leaves from front to back until all is covered: each fills only what is still bare."""
    canvas = np.zeros((side, side, 3), np.float32)
    bare = np.ones((side, side), bool)
    palette = _palette(rng)
    least, most = _OVER * _by_logarithm(rng, *_LEAVES_LEAST_PX), side * rng.uniform(0.2, 0.6)
    for _ in range(_MOST_LEAVES):
        radius = _power_law(rng, least, most)
        x, y = rng.uniform(-radius / 2, side + radius / 2, 2)
        box = _box(x, y, 1.5 * radius, side)
        if box is None:
            continue
        window = bare[box]
        if not window.any():
            continue
        inside = _shape(rng, box, x, y, radius) & window
        if inside.any():
            canvas[box][inside] = _filled(rng, palette, box, side)[inside]
            window[inside] = False
    if bare.any():
        canvas[bare] = _filled(rng, palette, (slice(0, side), slice(0, side)), side)[bare]
    return canvas


Box = tuple[slice, slice]


def _box(x: float, y: float, reach: float, side: int) -> Box | None:
    """Rows and columns of the canvas within `reach` of a point."""
    top, left = max(0, int(y - reach)), max(0, int(x - reach))
    bottom, right = min(side, int(y + reach) + 1), min(side, int(x + reach) + 1)
    return None if top >= bottom or left >= right else (slice(top, bottom), slice(left, right))


def _by_logarithm(rng: np.random.Generator, least: float, most: float) -> float:
    """A size of which every doubling is as likely as the next."""
    return float(np.exp(rng.uniform(math.log(least), math.log(most))))


def _power_law(rng: np.random.Generator, least: float, most: float) -> float:
    """A radius with density r**-3, which makes dead leaves scale-invariant."""
    low, high = most**-2, least**-2
    return float((low + rng.random() * (high - low)) ** -0.5)


def _shape(rng: np.random.Generator, box: Box, x: float, y: float, radius: float) -> NDArray[np.bool_]:
    """An ellipse, a rectangle, a polygon of few corners, or a blob, turned anyhow."""
    rows, columns = np.ogrid[box]
    angle, flat = rng.uniform(0, math.pi), rng.uniform(0.3, 1.0)
    across = ((columns - x) * math.cos(angle) + (rows - y) * math.sin(angle)).astype(np.float32)
    down = ((rows - y) * math.cos(angle) - (columns - x) * math.sin(angle)).astype(np.float32)
    which = rng.random()
    if which < 0.35:
        return across**2 + (down / flat) ** 2 <= radius**2
    if which < 0.6:
        return (np.abs(across) <= radius) & (np.abs(down) <= flat * radius)
    turn = np.arctan2(down, across)
    if which < 0.8:
        corners = int(rng.integers(3, 8))
        bent = np.cos(math.pi / corners) / np.cos((turn % (2 * math.pi / corners)) - math.pi / corners)
        return across**2 + down**2 <= (radius * bent) ** 2
    waves = sum(rng.uniform(0, 0.3 / n) * np.sin(n * turn + rng.uniform(0, 7)) for n in range(2, 6))
    return across**2 + down**2 <= (radius * (0.85 + waves)) ** 2


def _palette(rng: np.random.Generator) -> Floats:
    """Some colours that go together: spread about one or two of any brightness."""
    middle = rng.uniform(0.1, 0.9, (2, 3))
    spread = rng.uniform(0.05, 0.35)
    picked = middle[rng.integers(0, 2, 24)] + rng.normal(0, spread, (24, 3))
    gray = picked.mean(1, keepdims=True)
    return np.clip(gray + (picked - gray) * rng.uniform(0.2, 1.2), 0, 1).astype(np.float32)


def _filled(rng: np.random.Generator, palette: Floats, box: Box, side: int) -> Floats:
    """What a leaf looks like: flat, a slope between two colours, or a texture of two."""
    rows, columns = np.ogrid[box]
    first, second = palette[rng.integers(0, len(palette), 2)]
    which = rng.random()
    if which < 0.35:
        return np.broadcast_to(first, (rows.shape[0], columns.shape[1], 3))
    if which < 0.65:
        angle, length = rng.uniform(0, 2 * math.pi), side * rng.uniform(0.1, 1)
        share = ((columns - box[1].start) * math.cos(angle) + (rows - box[0].start) * math.sin(angle)) / length
    else:
        share = _texture(rng, rows, columns)
    share = np.clip(share, 0, 1).astype(np.float32)[..., None]
    strength = np.float32(rng.uniform(0.15, 1.0))
    return first + (second - first) * share * strength


def _texture(rng: np.random.Generator, rows: NDArray[np.int64], columns: NDArray[np.int64]) -> Floats:
    """Waves, checks, weave or noise, 0..1, over the pixels of a box."""
    period = _OVER * _by_logarithm(rng, 2.5, 40)
    angle = rng.uniform(0, math.pi)
    across = (columns * math.cos(angle) + rows * math.sin(angle)) / period
    down = (rows * math.cos(angle) - columns * math.sin(angle)) / period
    which = rng.random()
    if which < 0.25:
        return (0.5 + 0.5 * np.sin(2 * math.pi * across)).astype(np.float32)
    if which < 0.4:
        return ((np.floor(across) + np.floor(down)) % 2).astype(np.float32)
    if which < 0.5:
        bricks = across + 0.5 * (np.floor(down) % 2)
        return (((bricks % 1) > 0.12) & ((down % 1) > 0.2)).astype(np.float32)
    return _noise(rng, across.shape[0], across.shape[1], rng.uniform(0.6, 2.2))


def _noise(rng: np.random.Generator, height: int, width: int, slope: float) -> Floats:
    """Noise whose amplitude falls with frequency to the power of `slope`; mean 1/2, deviation 1/5."""
    tall, wide = height + height % 2, width + width % 2
    frequency = np.hypot(np.fft.fftfreq(tall)[:, None], np.fft.rfftfreq(wide)[None])
    frequency[0, 0] = 1
    phases = rng.normal(size=(*frequency.shape, 2))
    spectrum = (phases[..., 0] + 1j * phases[..., 1]) / frequency**slope
    spectrum[0, 0] = 0
    made = np.fft.irfft2(spectrum, s=(tall, wide))[:height, :width]
    return (0.5 + 0.2 * made / max(float(made.std()), 1e-9)).astype(np.float32)


def _textures(rng: np.random.Generator, side: int) -> Floats:
    """Whole textures, one in another: as bark, stone, cloth, water and grass are."""
    palette = _palette(rng)
    share = _noise(rng, side, side, rng.uniform(0.7, 1.8))[..., None]
    first, second, third = palette[rng.integers(0, len(palette), 3)]
    made = first + (second - first) * np.clip(share, 0, 1)
    grid: Box = (slice(0, side), slice(0, side))
    rows, columns = np.ogrid[grid]
    over = _texture(rng, rows, columns)[..., None] * (share > rng.uniform(0.3, 0.7))
    made = made + (third - made) * np.clip(over, 0, 1) * np.float32(rng.uniform(0.1, 0.8))
    return made.astype(np.float32)


def _drawing(rng: np.random.Generator, side: int) -> Floats:
    """Line art: strokes of any width over flat areas."""
    palette = _palette(rng)
    made = np.broadcast_to(palette[0] if rng.random() < 0.5 else np.ones(3, np.float32), (side, side, 3)).copy()
    grid: Box = (slice(0, side), slice(0, side))
    for _ in range(int(rng.integers(0, 8))):
        x, y = rng.uniform(0, side, 2)
        made[_shape(rng, grid, x, y, side * rng.uniform(0.05, 0.3))] = palette[rng.integers(0, len(palette))]
    for _ in range(int(rng.integers(10, 60))):
        ink = palette[rng.integers(0, len(palette))] * np.float32(rng.choice([0.0, 0.3, 1.0]))
        _stroke(rng, made, ink, _OVER * _by_logarithm(rng, 0.6, 6))
    return made


def _stroke(rng: np.random.Generator, canvas: Floats, ink: Floats, width: float) -> None:
    """A line, or an arc as a row of short lines."""
    side = canvas.shape[0]
    start, turn = rng.uniform(0, side, 2), rng.uniform(0, 2 * math.pi)
    bend, length = rng.normal(0, 0.12) if rng.random() < 0.6 else 0.0, side * rng.uniform(0.05, 0.5)
    parts = 1 if bend == 0 else 12
    for _ in range(parts):
        end = start + np.array([math.cos(turn), math.sin(turn)]) * length / parts
        _segment(canvas, ink, start, end, width)
        start, turn = end, turn + bend


def _segment(canvas: Floats, ink: Floats, start: NDArray[np.float64], end: NDArray[np.float64], width: float) -> None:
    """All pixels nearer to the segment than half its width."""
    middle, reach = (start + end) / 2, float(np.linalg.norm(end - start)) / 2 + width
    box = _box(float(middle[0]), float(middle[1]), reach, canvas.shape[0])
    if box is None:
        return
    rows, columns = np.ogrid[box]
    along = end - start
    share = ((columns - start[0]) * along[0] + (rows - start[1]) * along[1]) / max(float(along @ along), 1e-9)
    share = np.clip(share, 0, 1)
    away = (columns - start[0] - share * along[0]) ** 2 + (rows - start[1] - share * along[1]) ** 2
    canvas[box][away <= (width / 2) ** 2] = ink


def _text(rng: np.random.Generator, side: int) -> Floats:
    """Lines of made-up letters: strokes between the points of a small grid, each alphabet another."""
    palette = _palette(rng)
    dark = rng.random() < 0.3
    paper = palette[0] * np.float32(0.3) if dark else 1 - (1 - palette[0]) * np.float32(0.3)
    canvas = np.broadcast_to(paper, (side, side, 3)).astype(np.float32)
    alphabet = [_glyph(rng) for _ in range(30)]
    top = rng.uniform(0, 20)
    while top < side:
        height = _OVER * _by_logarithm(rng, 8, 60)
        ink = palette[rng.integers(0, len(palette))] * np.float32(0.3)
        _line_of_text(rng, canvas, alphabet, 1 - ink if dark else ink, top, height)
        top += height * rng.uniform(1.3, 2.0)
    return canvas


Glyph = Sequence[tuple[NDArray[np.float64], NDArray[np.float64]]]
"""strokes between points of the unit square, x and y"""


def _glyph(rng: np.random.Generator) -> Glyph:
    size = np.array([_GLYPH_COLUMNS - 1, _GLYPH_ROWS - 1])
    points = rng.integers(0, [_GLYPH_COLUMNS, _GLYPH_ROWS], (int(rng.integers(3, 6)), 2)) / size
    return [(points[at], points[at + 1]) for at in range(len(points) - 1)]


def _line_of_text(
    rng: np.random.Generator, canvas: Floats, alphabet: Sequence[Glyph], ink: Floats, top: float, height: float
) -> None:
    left, width = rng.uniform(0, 3 * height), max(1.2, height * rng.uniform(0.06, 0.18))
    size = np.array([height * rng.uniform(0.45, 0.7), height])
    slant, gap = rng.uniform(-0.15, 0.25), rng.uniform(0.15, 0.4) * height
    while left < canvas.shape[0]:
        if rng.random() < 0.85:
            for start, end in alphabet[int(rng.integers(0, len(alphabet)))]:
                corner = np.array([left, top])
                first, second = (corner + one * size + [slant * (1 - one[1]) * height, 0] for one in (start, end))
                _segment(canvas, ink, first, second, width)
        left += float(size[0]) + gap


_DRAWN: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "leaves": _leaves,
    "textures": _textures,
    "drawing": _drawing,
    "text": _text,
}
