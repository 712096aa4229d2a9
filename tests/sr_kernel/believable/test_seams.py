"""A step at the edge of one window is seen; contours of the picture, and edges of bands, are not taken for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from sr_kernel.believable.floors import suspicions
from sr_kernel.believable.seams import Canvas, seam_stats
from sr_kernel.fidelity import PixelStats
from sr_kernel.tiles import band_out_rows, band_read_rows, band_tiles
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file
from tests.networks import plan_of, srvgg_spec
from tests.outside import data_folder
from tests.pictures import photo

SPEC = srvgg_spec()
WIDTH, HEIGHT = 200, 140


def calm(dtype: type[np.uint8] | type[np.uint16] = np.uint8) -> np.ndarray:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    level = 120 + 60 * np.sin(x / 40) + 40 * np.cos(y / 30)
    levels = level[..., None] + np.array([0, 10, -20])
    return np.round(levels * (np.iinfo(dtype).max / 255)).astype(dtype)


def canvas_of(source: np.ndarray, outscale: float = 4.0) -> Canvas:
    """An output that is off from its source as a network is: by a little everywhere."""
    plan = plan_of(SPEC, source.shape[1], source.shape[0], tile_px=40, outscale=outscale)
    spec = plan.spec
    y = ((np.arange(spec.out_height) + 0.5) * spec.height / spec.out_height).astype(int)
    x = ((np.arange(spec.out_width) + 0.5) * spec.width / spec.out_width).astype(int)
    unit = np.iinfo(source.dtype).max // 255
    noise = np.random.default_rng(1).normal(0, 0.5 * max(1, outscale) * unit, (spec.out_height, spec.out_width, 3))
    output = (source[y][:, x] + noise + unit).clip(0, 255 * unit).astype(source.dtype)
    return Canvas(spec=spec, source=source, source_y0=0, output=output, output_y0=0)


def stats_of(canvas: Canvas) -> PixelStats:
    spec = canvas.spec
    return seam_stats(canvas, plan_of(SPEC, spec.width, spec.height, tile_px=40, outscale=spec.outscale).tiles)


def with_step(canvas: Canvas, levels: int) -> Canvas:
    """One of the windows inside brighter than the rest."""
    spec = canvas.spec
    plan = plan_of(SPEC, spec.width, spec.height, tile_px=40, outscale=spec.outscale)
    out = plan.rows[1][1].out
    output = canvas.output.astype(int)
    output[out.y0 : out.y1, out.x0 : out.x1] += levels * (np.iinfo(canvas.output.dtype).max // 255)
    return replace(canvas, output=output.astype(canvas.output.dtype))


@pytest.mark.parametrize("outscale", [4.0, 3.3, 1.0])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_step_of_two_levels_at_one_window_is_seen(dtype: type[np.uint8] | type[np.uint16], outscale: float) -> None:
    canvas = canvas_of(calm(dtype), outscale)
    honest, stepped = stats_of(canvas), stats_of(with_step(canvas, 2))
    assert honest.seams == stepped.seams > 10
    assert honest.seam_score is not None
    assert stepped.seam_score is not None
    assert 0.7 < honest.seam_score < 1.3
    assert stepped.seam_score > 2.5
    assert stats_of(with_step(canvas, -2)).seam_score == pytest.approx(stepped.seam_score, rel=0.3)
    assert suspicions(honest) == {}
    assert suspicions(stats_of(with_step(canvas, 4))).keys() == {"seam"}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_step_in_an_output_smaller_than_its_source_shows_less(dtype: type[np.uint8] | type[np.uint16]) -> None:
    """The edge falls between pixels of the source, and part of the jump counts as what lies beside it."""
    canvas = canvas_of(calm(dtype), 0.7)
    scores = [stats_of(with_step(canvas, step)).seam_score for step in (0, 2, 8)]
    assert [score is not None for score in scores] == [True] * 3
    assert scores[0] < 1.3 < 1.5 < scores[1] < scores[2]  # pyright: ignore[reportOptionalOperand]
    assert suspicions(stats_of(canvas)) == {}


def test_a_contour_along_an_edge_is_no_seam() -> None:
    canvas = canvas_of(calm())
    plan = plan_of(SPEC, WIDTH, HEIGHT, tile_px=40)
    source, output = canvas.source.copy(), canvas.output.copy()
    x, out_x = plan.rows[0][1].keep.x0, plan.rows[0][1].out.x0
    source[:, x:] //= 2
    output[:, out_x:] //= 2
    output[:, out_x : out_x + 4] += 30  # as sharpening leaves it
    score = stats_of(replace(canvas, source=source, output=output)).seam_score
    assert score is not None
    assert score < 1.3


def test_where_nothing_is_calm_nothing_is_said() -> None:
    busy = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8)
    assert stats_of(canvas_of(busy)).seams == 0


def test_edges_within_bands_add_up_to_those_of_the_whole_less_those_between() -> None:
    canvas = canvas_of(calm(), 3.3)
    plan = plan_of(SPEC, WIDTH, HEIGHT, tile_px=40, outscale=3.3)
    total = PixelStats()
    for rows in ((0, 2), (2, len(plan.rows))):
        read, out = band_read_rows(plan, rows), band_out_rows(plan, rows)
        band = Canvas(
            spec=plan.spec,
            source=canvas.source[read[0] : read[1]],
            source_y0=read[0],
            output=canvas.output[out[0] : out[1]],
            output_y0=out[0],
        )
        total += seam_stats(band, band_tiles(plan, rows))
    assert total.seams == stats_of(canvas).seams - len(plan.rows[0])


@pytest.mark.parametrize("name", ["realesr-animevideov3.pth", "realesr-general-x4v3.fp16-derived.pth"])
def test_windows_of_real_networks_leave_no_seam(name: str) -> None:
    path = data_folder() / "weights" / name
    spec, source = describe_file(path), photo(4, 130, 100)
    plan = plan_of(spec, 130, 100, tile_px=32)
    made = Upscaler.load(spec, path).restore(source, plan, Settings(precision="fp32"))
    canvas = Canvas(spec=plan.spec, source=source, source_y0=0, output=made.pixels, output_y0=0)
    stats = made.stats + seam_stats(canvas, plan.tiles)
    assert "seam" not in suspicions(stats)
