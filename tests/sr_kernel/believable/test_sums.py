"""Stripes, lattices and wrong colours are seen in what a window gives, and what the source has itself is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sr_kernel.believable.floors import suspicions
from sr_kernel.believable.sums import Form, count_levels, look_at, look_of, sums_of
from sr_kernel.fidelity import FINITE, PixelStats, stats_of
from tests.pictures import photo

Levels = NDArray[np.float64]
SCALE = 4
WIDTH, HEIGHT = 160, 130


def figures(output: Levels, source: Levels, scale: int = SCALE, align_px: int = 1) -> PixelStats:
    """Of levels HW3, 0..255."""
    kept = torch.from_numpy(output.clip(0, 255).round()).float()
    means = kept.view(source.shape[0], scale, source.shape[1], scale, 3).mean((1, 3))
    unit = torch.from_numpy(source).float() / 255
    (sums,) = sums_of([look_at(kept, means, unit, torch.tensor(True), scale, align_px)])
    (whole,) = sums_of([look_at(kept.to(torch.uint8), means, unit, torch.tensor(True), scale, align_px)])
    assert torch.equal(sums, whole), "of whatever type the levels are"
    assert int(sums[FINITE]) == 1
    return stats_of(source.size, sums.tolist())


def smooth(seed: int = 3, width: int = WIDTH, height: int = HEIGHT) -> Levels:
    """Slopes and grain."""
    y, x = np.mgrid[:height, :width]
    level = 120 + 50 * np.sin(x / 37 + seed) + 40 * np.cos(y / 31 - seed)
    grain = np.random.default_rng(seed).normal(0, 2, (height, width, 3))
    return np.round(level[..., None] + [0, 12, -20] + grain)


def enlarged(source: Levels, scale: int = SCALE) -> Levels:
    """As smooth as a network would: each pixel's tent."""
    for axis in (0, 1):
        at = (np.arange(source.shape[axis] * scale) + 0.5) / scale - 0.5
        first = np.clip(np.floor(at).astype(int), 0, source.shape[axis] - 2)
        part = np.clip(at - first, 0, 1).reshape(-1, 1, 1) if axis == 0 else np.clip(at - first, 0, 1).reshape(1, -1, 1)
        source = source.take(first, axis) * (1 - part) + source.take(first + 1, axis) * part
    return source


def wave(shape: tuple[int, ...], period: float, axis: int, amplitude: float = 3) -> Levels:
    line = amplitude * np.sin(2 * np.pi * np.arange(shape[axis]) / period + 0.7)
    return line.reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))


def test_an_honest_output_has_nothing() -> None:
    source = smooth()
    stats = figures(enlarged(source), source)
    assert stats.blocks.count == 5 * 4
    assert stats.striped == 0
    drawn = photo(3, WIDTH, HEIGHT).astype(float)
    assert suspicions(figures(enlarged(drawn), drawn)) == {}
    assert stats.off == 0
    assert stats.lattice is not None
    assert stats.lattice < 0.2
    assert suspicions(stats) == {}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("period", [2.2, 4, 5, 7, 8, 10.5, 13, 16, 21, 27, 32])
def test_stripes_of_three_levels_are_seen(period: float, axis: int) -> None:
    source = smooth()
    output = enlarged(source)
    stats = figures(output + wave(output.shape, period, axis), source)
    assert stats.stripes is not None
    assert stats.stripes > 0.5
    assert suspicions(stats).keys() == {"stripes"}


def test_stripes_of_one_channel_are_seen() -> None:
    source = smooth()
    output = enlarged(source)
    output[..., 2] += wave(output.shape, 6, 1)[..., 0]
    assert "stripes" in suspicions(figures(output, source))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("period", [2, 3, 4, 5.5, 8])
def test_stripes_of_the_source_are_no_fault(period: float, axis: int) -> None:
    """Also where a network makes them stronger, as it does with fabric and bricks."""
    source = smooth() + wave((HEIGHT, WIDTH), period, axis, 20)
    output = enlarged(source)
    for gain in (0.7, 1.0, 1.8):
        repeated = enlarged(smooth()) + gain * (output - enlarged(smooth()))
        assert "stripes" not in suspicions(figures(repeated, source))


def test_a_checkerboard_is_seen_which_no_row_and_no_column_shows() -> None:
    source = smooth()
    output = enlarged(source)
    y, x = np.mgrid[: output.shape[0], : output.shape[1]]
    stats = figures(output + (4 * ((x + y) % 2) - 2)[..., None], source)
    assert suspicions(stats).keys() == {"lattice"}
    assert stats.lattice is not None
    assert 1.8 < stats.lattice < 2.1


def test_a_lattice_of_an_unshuffled_picture_is_two_source_pixels_wide() -> None:
    source = smooth(width=256, height=192)
    output = enlarged(source, 2)
    y, x = np.mgrid[: output.shape[0], : output.shape[1]]
    stats = figures(output + (8.0 * ((x // 2 + y // 2) % 2) - 4)[..., None], source, scale=2, align_px=2)
    assert "lattice" in suspicions(stats)
    assert "lattice" not in suspicions(figures(output, source, scale=2, align_px=2))


def test_swapped_channels_a_tint_and_a_dark_corner_are_seen() -> None:
    source = smooth()
    source[..., 0] *= 0.5
    output = enlarged(source)
    assert suspicions(figures(output, source)) == {}
    assert "colour" in suspicions(figures(output[..., ::-1], source))
    assert "colour" in suspicions(figures(output + np.array([10, 0, 0]), source))
    output[:128, :128] = 0
    assert "off" in suspicions(figures(output, source))


@pytest.mark.parametrize(("scale", "align_px"), [(1, 1), (2, 1), (3, 1), (4, 1), (1, 4), (2, 2), (3, 2), (3, 4)])
def test_every_scale_has_blocks_and_sees_stripes(scale: int, align_px: int) -> None:
    source = smooth(width=300, height=280)
    output = enlarged(source, scale)
    assert suspicions(figures(output, source, scale, align_px)) == {}
    stats = figures(output + wave(output.shape, 9, 1, 4), source, scale, align_px)
    assert stats.blocks.count >= 4
    assert "stripes" in suspicions(stats)


def test_a_window_smaller_than_a_block_has_sums_but_no_blocks() -> None:
    source = smooth(width=31, height=200)
    stats = figures(enlarged(source), source)
    assert (stats.blocks.count, stats.stripes, stats.off, stats.lattice) == (0, None, None, None)
    assert stats.consistency is not None


def test_sums_are_those_of_their_definition() -> None:
    source, output = smooth(5), enlarged(smooth(6))
    stats = figures(output, source)
    means = output.clip(0, 255).round().reshape(HEIGHT, SCALE, WIDTH, SCALE, 3).mean((1, 3))
    difference = means.round() - source
    assert abs(stats.sum_sq_diff - int((difference**2).sum())) <= stats.sum_sq_diff // 1000
    assert stats.sums_diff == pytest.approx(difference.sum((0, 1)), abs=WIDTH * HEIGHT / 32), "one in 16 is a tie"


def test_windows_of_a_batch_have_their_own_sums() -> None:
    looks = []
    for seed, (width, height) in enumerate(((160, 130), (70, 130), (30, 30))):
        source = torch.from_numpy(smooth(seed, width, height)).float()
        output = source.repeat_interleave(SCALE, 0).repeat_interleave(SCALE, 1)
        looks.append(look_at(output, source, source / 255, torch.tensor(seed != 1), SCALE, 1))
    together, alone = sums_of(looks), [sums_of([look])[0] for look in looks]
    assert torch.equal(together, torch.stack(alone))
    assert torch.equal(sums_of([looks[0]] * 3), torch.stack([alone[0]] * 3))
    assert together[:, FINITE].tolist() == [1, 0, 1]


@pytest.mark.parametrize("width", [40, 32, 70])
def test_strips_come_down_to_what_the_whole_comes_down_to(width: int) -> None:
    source = torch.from_numpy(smooth(4, width, 100)).float()
    output = torch.from_numpy(enlarged(smooth(5, width, 100)).round().clip(0, 255)).float()
    whole, form = look_at(output, source, source / 255, torch.tensor(True), SCALE, 1), Form.of(SCALE, 1)
    strips = [count_levels(output[y0 : y0 + form.wide], form) for y0 in range(0, len(output), form.wide)]
    look = look_of(form, strips, source, source / 255, torch.tensor(True))
    assert torch.equal(sums_of([look]), sums_of([whole]))


def test_sums_of_a_tall_window_are_exact() -> None:
    source = torch.full((700, 33, 3), 255.0)
    source[::3] -= 1
    source[::7, 5] = 3
    black = torch.zeros(700 * SCALE, 33 * SCALE, 3)
    sums = sums_of([look_at(black, torch.zeros_like(source), source / 255, torch.tensor(True), SCALE, 1)])[0]
    stats = stats_of(source.numel(), sums.tolist())
    exact = source.long()
    assert (stats.sum_in, stats.sum_out) == (int(exact.sum()), 0)
    assert (stats.sum_abs_diff, stats.sum_sq_diff) == (int(exact.sum()), int((exact * exact).sum()))
