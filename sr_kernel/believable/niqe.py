"""NIQE: how far the statistics of a picture's luma are from those of pristine photographs. No torch.

Mittal, Soundararajan, Bovik: Making a "Completely Blind" Image Quality Analyzer, IEEE Signal Processing Letters 20 (3),
2013. As basicsr 1.4.2 computes it (metrics/niqe.py), to whose figures a test holds this: luma of BT.601 in 16..235,
blocks of 96 x 96 pixels counted from the upper left corner, two scales. Lower is more like a photograph.

`niqe_pristine.npz` are the parameters of the pristine model as basicsr ships them (niqe_pris_params.npz, Apache-2.0),
which come from the authors' release (live.ece.utexas.edu/research/quality/niqe_release.zip), which may be used, copied,
modified and distributed for any purpose as long as its origin is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
BLOCK_PX = 96
"""side of a block; every second scale has half of it"""
_PARAMETERS = Path(__file__).with_name("niqe_pristine.npz")
_FEATURES = 18
"""of a block at one scale"""
_SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""neighbours whose products are looked at, rows and columns"""
_RADIUS = 3
"""of the window of local means"""
_HALVING = (-0.01171875, -0.03515625, 0.11328125, 0.43359375, 0.43359375, 0.11328125, -0.03515625, -0.01171875)
"""bicubic kernel (a = -1/2) stretched to twice its width, at the middles of output pixels"""
_LUMA = (65.481, 128.553, 24.966)
"""of RGB in 0..1, on top of 16"""


def niqe(pixels: NDArray[Any]) -> float | None:
    """NIQE of a picture HWC of 1 to 4 channels, uint8 or uint16; alpha is not looked at.

    None for fewer than two blocks that have any contrast, of which no statistics can be made.
    """
    rows, columns = pixels.shape[0] // BLOCK_PX, pixels.shape[1] // BLOCK_PX
    if not rows or not columns:
        return None
    luma = np.empty((rows * BLOCK_PX, columns * BLOCK_PX), np.float32)
    for y in range(0, luma.shape[0], BLOCK_PX):
        luma[y : y + BLOCK_PX] = _luma(pixels[y : y + BLOCK_PX, : luma.shape[1]])
    features = np.concatenate([_features(luma, BLOCK_PX), _features(_halved(luma), BLOCK_PX // 2)], axis=1)
    whole = features[~np.isnan(features).any(1)]
    if len(whole) < 2:
        return None
    model = _pristine()
    away = model.mean - np.nanmean(features, axis=0)
    inverse = np.linalg.pinv((model.covariance + np.cov(whole, rowvar=False)) / 2)
    return round(math.sqrt(float(away @ inverse @ away)), 4)


@dataclass(frozen=True, slots=True)
class _Pristine:
    """Features of pristine photographs: a multivariate Gaussian; and the window of local means."""

    mean: Floats
    covariance: Floats
    window: Floats
    """one axis of the 7 x 7 window, which is a product"""


@cache
def _pristine() -> _Pristine:
    with np.load(_PARAMETERS) as file:
        window: Floats = file["gaussian_window"]
        return _Pristine(file["mu_pris_param"][0], file["cov_pris_param"], window.sum(0) / math.sqrt(window.sum()))


def _luma(pixels: NDArray[Any]) -> NDArray[np.float32]:
    """Whole numbers 16..235, in the reference's steps."""
    top = np.float32(np.iinfo(pixels.dtype).max)
    colours = 3 if pixels.shape[2] >= 3 else 1
    unit = pixels[:, :, :colours].astype(np.float32) / top
    weights = _LUMA if colours == 3 else (sum(_LUMA),)
    made: Floats = (np.dot(unit, np.array(weights)) + 16) / 255
    return np.round(made.astype(np.float32) * np.float32(255))


def _halved(luma: NDArray[np.float32]) -> NDArray[np.float32]:
    """Half as wide and high, antialiased, as MATLAB's imresize does it; in the reference's steps, see `_normalised`."""
    once = _halved_down(luma / np.float32(255))
    return _halved_down(once.T).T * np.float32(255)


def _halved_down(plane: NDArray[np.float32]) -> NDArray[np.float32]:
    reach = len(_HALVING) // 2 - 1
    padded = np.pad(plane, ((reach, reach), (0, 0)), mode="symmetric")
    height = plane.shape[0] // 2
    made = np.zeros((height, plane.shape[1]), np.float32)
    for tap, weight in enumerate(_HALVING):
        made += np.float32(weight) * padded[tap : tap + 2 * height : 2]
    return made


def _features(plane: NDArray[np.float32], side: int) -> Floats:
    """Of all blocks of `side` pixels, (blocks, _FEATURES); NaN for what a block without contrast has not."""
    made: list[Floats] = []
    padded = np.pad(plane, _RADIUS, mode="edge")
    for y in range(0, plane.shape[0], side):
        rows = _normalised(padded[y : y + side + 2 * _RADIUS])
        made.append(_of_blocks(rows.reshape(side, -1, side).swapaxes(0, 1).astype(np.float64)))
    return np.concatenate(made)


def _normalised(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples less their local mean, by their local deviation (eq. 1); `rows` have _RADIUS more on every side.

    Means are rounded to float32 as the reference's are: where the picture is flat that leaves 0, and not the noise of
    finer numbers, whose signs would be features.
    """
    mean = _blurred(rows)
    inner = rows[_RADIUS:-_RADIUS, _RADIUS:-_RADIUS]
    deviation = np.sqrt(np.abs(_blurred(rows**2) - mean**2))
    made: NDArray[np.float32] = (inner - mean) / (deviation + np.float32(1))
    return made


def _blurred(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = rows.astype(np.float64)
    for axis in (0, 1):
        length = mean.shape[axis] - 2 * _RADIUS
        taps = [weight * mean.take(range(at, at + length), axis) for at, weight in enumerate(_pristine().window)]
        mean = np.sum(taps, axis=0)
    return mean.astype(np.float32)


def _of_blocks(blocks: Floats) -> Floats:
    """Features of blocks (n, side, side), (n, _FEATURES)."""
    shape, left, right = _fitted(blocks)
    columns = [shape, (left + right) / 2]
    for shift in _SHIFTS:
        shape, left, right = _fitted(blocks * np.roll(blocks, shift, axis=(1, 2)))
        mean = (right - left) * _gamma(2 / shape) / _gamma(1 / shape)
        columns += [shape, mean, left, right]
    return np.stack(columns, axis=1)


def _fitted(samples: Floats) -> tuple[Floats, Floats, Floats]:
    """Shape, left and right scale of an asymmetric generalised Gaussian for each block (eq. 7), by moments."""
    table, ratios = _ratios()
    flat = samples.reshape(len(samples), -1)
    with np.errstate(divide="ignore", invalid="ignore"):
        left, right = (_deviation(flat, side) for side in (flat < 0, flat > 0))
        balance = left / right
        ratio = np.abs(flat).mean(1) ** 2 / (flat**2).mean(1)
        ratio = ratio * (balance**3 + 1) * (balance + 1) / (balance**2 + 1) ** 2
    above: NDArray[np.int64] = np.searchsorted(ratios, np.asarray(ratio, np.float64)).clip(1, len(ratios) - 1)
    at: NDArray[np.int64] = above - (ratio - ratios[above - 1] <= ratios[above] - ratio)
    shape = table[np.where(np.isnan(ratio), 0, at)]  # as the reference has it
    width = np.sqrt(_gamma(1 / shape) / _gamma(3 / shape))
    return shape, left * width, right * width


def _deviation(flat: Floats, side: NDArray[np.bool_]) -> Floats:
    """Root mean square of the samples of each block that lie on one side of 0; NaN where there are none."""
    return np.sqrt(np.where(side, flat**2, 0).sum(1) / np.count_nonzero(side, axis=1))


@cache
def _ratios() -> tuple[Floats, Floats]:
    """Shapes, and the ratio of moments that belongs to each, which grows with the shape."""
    shapes: Floats = np.arange(0.2, 10.001, 0.001, dtype=np.float64)
    return shapes, _gamma(2 / shapes) ** 2 / (_gamma(1 / shapes) * _gamma(3 / shapes))


def _gamma(values: Floats) -> Floats:
    return np.fromiter(map(math.gamma, values), np.float64, len(values))
