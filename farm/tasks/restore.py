"""Decoded pixels in, restored pixels out: colour and alpha through the lane, put together again.

Works on a whole picture or on a band of one; both give the same bytes wherever the plan is exact.
"""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from farm import failpoints
from farm.errors import ErrorKind, ItemError
from farm.params import UpscaleParams
from farm.tasks.lane import Job, Lane, Restored, model_of
from sr_kernel import pixels as px
from sr_kernel.alpha import keep_solid, solid_value, upscale_alpha
from sr_kernel.believable.floors import suspicions
from sr_kernel.believable.seams import Canvas, seam_stats
from sr_kernel.fidelity import is_black
from sr_kernel.models import BODY_PX_BYTES, CANVAS_PX_BYTES
from sr_kernel.tiles import COLOUR_REACH_PX, PicturePlan, PictureSpec, Strategy, Tile
from sr_kernel.upscale import Settings

Pixels = NDArray[Any]
Precision = Literal["fp32", "fp16", "bf16"]
Resize = Literal["lanczos", "official"]
Light = Literal["gamma", "linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Which rows of a picture are at hand and which are wanted; for a whole picture, all of them."""

    plan: PicturePlan
    tiles: tuple[Tile, ...]
    read_y0: int
    """picture row of the first row at hand"""
    out_rows: tuple[int, int]
    """half-open range of output rows that are wanted"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoredPixels:
    """The wanted output rows and what is known of them."""

    pixels: Pixels
    """HWC, of the source's depth and number of channels"""
    verdict: Restored
    precision: str


def picture_spec(
    params: UpscaleParams, width: int, height: int, out_size: tuple[int, int] | None = None
) -> PictureSpec:
    """What the plan of a picture, or of a film's frame, depends on."""
    return PictureSpec(
        width=width,
        height=height,
        scale=params.scale,
        outscale=params.outscale or float(params.scale),
        halo_px=params.halo_px,
        align_px=params.align_px,
        whole_body=params.whole_body,
        tile_px=params.tile_px,
        exact_px=params.exact_px,
        out_size=out_size,
        colour_px=COLOUR_REACH_PX if params.keep_colour else 0,
        origin_px=params.origin_px,
    )


def whole(plan: PicturePlan) -> Cut:
    """The cut that is no cut."""
    return Cut(plan=plan, tiles=plan.tiles, read_y0=0, out_rows=(0, plan.spec.out_height))


def body_bytes(plan: PicturePlan, params: UpscaleParams, precision: str) -> int:
    """What a body that runs whole needs in memory: its features and, with turns or kept colours, the whole output."""
    if plan.strategy is not Strategy.BODY:
        return 0
    canvas = CANVAS_PX_BYTES * params.scale**2 if params.tta or params.keep_colour else 0
    return plan.spec.area_px * (BODY_PX_BYTES["fp32" if precision == "fp32" else "half"] + canvas)


def working_bytes(cut: Cut, params: UpscaleParams, channels: int, depth: int, precision: str) -> int:
    """What restoring a cut needs in memory: samples in and out, encoded bytes, and what a whole body needs."""
    spec = cut.plan.spec
    rows_out = cut.out_rows[1] - cut.out_rows[0]
    rows_in = max(tile.read.y1 for tile in cut.tiles) - min(tile.read.y0 for tile in cut.tiles)
    samples = rows_in * spec.width * 6 + rows_out * spec.out_width * (channels + 6)
    return samples * (depth // 8) + body_bytes(cut.plan, params, precision)


class Restorer:
    """Sends the planes of pictures through one lane."""

    def __init__(self, lane: Lane) -> None:
        self._lane = lane

    def restore(
        self, pixels: Pixels, cut: Cut, params: UpscaleParams, url: str, batch_limit: int | None
    ) -> RestoredPixels:
        """The wanted rows of one picture. Raises ItemError (nonfinite_output), MemoryError, LaneStopped."""
        planes = px.split_planes(pixels)
        rgb = planes.rgb if planes.alpha is None else px.fill_transparent(planes.rgb, planes.alpha)
        precision = params.precision_16bit if pixels.dtype == np.uint16 else params.precision
        colour, verdict, precision = self._believable(
            rgb, cut, settings_of(params, precision, batch_limit), params, url
        )
        alpha = None
        if planes.alpha is not None:
            alpha, smaller = self._alpha(planes.alpha, cut, params, precision, batch_limit, url)
            verdict = replace(verdict, smaller=verdict.smaller or smaller)
        failpoints.hit("assemble", url)
        merged = px.merge_planes(colour, alpha, planes.gray)
        return RestoredPixels(pixels=merged, verdict=verdict, precision=precision)

    def _believable(
        self, rgb: Pixels, cut: Cut, settings: Settings, params: UpscaleParams, url: str
    ) -> tuple[Pixels, Restored, str]:
        """Half precision whose output is black or suspect is tried once more in full; what comes then is handed on."""
        out, verdict, precision = self._judged(rgb, cut, settings, params, url)
        if precision == "fp32" or not (is_black(verdict.stats) or suspicions(verdict.stats)):
            return out, verdict, precision
        out, again, precision = self._judged(rgb, cut, replace(settings, precision="fp32"), params, url)
        return out, replace(again, infer_s=verdict.infer_s + again.infer_s), precision

    def _judged(
        self, rgb: Pixels, cut: Cut, settings: Settings, params: UpscaleParams, url: str
    ) -> tuple[Pixels, Restored, str]:
        """With what is to be said of seams, which only shows where windows are put together."""
        out, verdict, precision = self._finite(rgb, cut, settings, params, url)
        canvas = Canvas(spec=cut.plan.spec, source=rgb, source_y0=cut.read_y0, output=out, output_y0=cut.out_rows[0])
        return out, replace(verdict, stats=verdict.stats + seam_stats(canvas, cut.tiles)), precision

    def _finite(
        self, rgb: Pixels, cut: Cut, settings: Settings, params: UpscaleParams, url: str
    ) -> tuple[Pixels, Restored, str]:
        """Half precision that overflows is tried once more in full; what is still not finite is never published."""
        out, verdict = self._through(rgb, cut, cut.tiles, settings, params)
        if not verdict.finite and settings.precision != "fp32":
            settings = replace(settings, precision="fp32")
            out, verdict = self._through(rgb, cut, cut.tiles, settings, params)
        if not verdict.finite:
            raise ItemError(
                ErrorKind.NONFINITE_OUTPUT,
                url,
                "the network's output holds NaN or infinity even in fp32",
                "check the model's weights with `farm models verify`",
            )
        return out, verdict, settings.precision

    def _alpha(
        self, alpha: Pixels, cut: Cut, params: UpscaleParams, precision: str, batch_limit: int | None, url: str
    ) -> tuple[Pixels, bool]:
        """The alpha plane, HW1 of the wanted rows, and `Restored.smaller`; what is solid in the source stays exactly
        solid."""
        if params.alpha == "lanczos":
            spec = cut.plan.spec
            made: Future[Pixels] = self._lane.call(lambda: upscale_alpha(alpha, cut.read_y0, spec, cut.out_rows))
            return made.result(), False
        out, smaller = _empty(cut, 1, alpha.dtype), False
        rest: list[Tile] = []
        for tile in cut.tiles:
            value = None if cut.plan.strategy is Strategy.BODY else solid_value(_rows(alpha, tile, cut.read_y0))
            if value is None:
                rest.append(tile)
            else:
                _target(out, tile, cut)[:] = value
        if rest:
            # Coverage has no curve and no colour.
            settings = replace(settings_of(params, precision, batch_limit), light="gamma", keep_colour=False)
            rgb = np.repeat(alpha, 3, axis=2)
            colour, verdict, _ = self._finite(rgb, replace(cut, tiles=tuple(rest)), settings, params, url)
            for tile in rest:
                _target(out, tile, cut)[:] = px.luma(_target(colour, tile, cut))
            smaller = verdict.smaller
        return keep_solid(out, alpha, cut.read_y0, cut.plan.spec, cut.out_rows), smaller

    def _through(
        self, rgb: Pixels, cut: Cut, tiles: tuple[Tile, ...], settings: Settings, params: UpscaleParams
    ) -> tuple[Pixels, Restored]:
        out = _empty(cut, 3, rgb.dtype)

        def emit(tile: Tile, made: Pixels) -> None:
            _target(out, tile, cut)[:] = made

        job = Job(
            model=model_of(params),
            rgb=rgb,
            y0=cut.read_y0,
            plan=cut.plan,
            tiles=tiles,
            settings=settings,
            emit=emit,
        )
        self._lane.submit(job)
        restored = job.wait()
        limited = settings.batch < params.batch and cut.plan.strategy is not Strategy.BODY
        return out, replace(restored, smaller=restored.smaller or limited)


def settings_of(params: UpscaleParams, precision: str, batch_limit: int | None) -> Settings:
    """How windows are restored in a precision; `batch_limit`: the most after a death by memory."""
    batch = params.batch if batch_limit is None else min(params.batch, batch_limit)
    return Settings(
        precision=cast("Precision", precision),
        resize=cast("Resize", params.resize),
        light=cast("Light", params.light),
        batch=batch,
        tta=params.tta,
        keep_colour=params.keep_colour,
    )


def batch_note(params: UpscaleParams, smaller: bool) -> str | None:
    """What is to be said of an output made in smaller batches or windows than planned, which memory did not hold.

    On a CPU nothing: no byte depends on them there.
    """
    if not smaller or params.device_class == "cpu":
        return None
    return (
        f"memory did not hold batches of {params.batch} windows: on a GPU another run may differ from this in single "
        "levels; a smaller --batch is the same in every run"
    )


def _empty(cut: Cut, channels: int, dtype: np.dtype[Any]) -> Pixels:
    return np.empty((cut.out_rows[1] - cut.out_rows[0], cut.plan.spec.out_width, channels), dtype)


def _rows(plane: Pixels, tile: Tile, y0: int) -> Pixels:
    box = tile.read
    return plane[box.y0 - y0 : box.y1 - y0, box.x0 : box.x1]


def _target(out: Pixels, tile: Tile, cut: Cut) -> Pixels:
    box, y0 = tile.out, cut.out_rows[0]
    return out[box.y0 - y0 : box.y1 - y0, box.x0 : box.x1]
