"""Pictures through the network more than once: the plan of each pass, and which rows of each make a band of the last.

A pass reads what the one before made, rounded to the source's depth, as a second run reads the file of the first. All
passes of a band happen in one worker, in memory. Bands are cut out of the last pass, and each makes the rows that it
needs of the passes before: by whole grid rows of their plans, so that bands give the bytes of the whole picture.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from farm.params import UpscaleParams
from farm.target import Size, plan_passes
from farm.tasks.restore import Cut, RestoredPixels, Restorer, picture_spec, whole, working_bytes
from sr_kernel.pixels import FILL_BLOCK_PX
from sr_kernel.tiles import (
    Mode,
    PicturePlan,
    Strategy,
    band_out_rows,
    band_read_rows,
    band_tiles,
    plan_bands,
    plan_picture,
)

Plans = tuple[PicturePlan, ...]
"""of the passes, in order"""
_REPEATED_SHARE = 4
"""bands that each repeat whole passes before the last together spend on it at most this part of the last one's work"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """One pass of a picture or of a band."""

    cut: Cut
    rows: tuple[int, int]
    """half-open range of the pass's source rows that it is to be given; begins at `cut.read_y0`"""


def plan_chain(params: UpscaleParams, width: int, height: int, out: Size | None = None) -> Plans:
    """The plans of all passes of a picture or of a film's frame; `out` as in `farm.target.plan_passes`."""
    return tuple(
        plan_picture(picture_spec(params, *one.source, one.out)) for one in plan_passes(width, height, params, out)
    )


def mode_of(plans: Plans) -> str:
    """exact where all passes are, else bounded."""
    return (Mode.EXACT if all(plan.mode is Mode.EXACT for plan in plans) else Mode.BOUNDED).value


def plan_cuts(plans: Plans, band_px: int) -> tuple[tuple[int, int], ...]:
    """Ranges of grid rows of the last pass, one a band, as `sr_kernel.tiles.plan_bands`; empty: in one part.

    A pass whose body is run whole, and those before it, are repeated by every band: then bands are fewer and larger.
    Where resampling makes more of a picture than the network does, bands are smaller by as much.
    """
    last = plans[-1]
    spec, rows = last.spec, len(last.rows)
    band_px = min(band_px, band_px * spec.area_px * spec.scale**2 // (spec.out_width * spec.out_height))
    whole_until = max((at + 1 for at, plan in enumerate(plans[:-1]) if plan.strategy is Strategy.BODY), default=0)
    repeated_px = sum(plan.spec.area_px for plan in plans[:whole_until])
    cuts = plan_bands(last, band_px)
    if not repeated_px:
        return cuts
    bands = min(len(cuts), spec.area_px // (_REPEATED_SHARE * repeated_px))
    return tuple((rows * at // bands, rows * (at + 1) // bands) for at in range(bands)) if bands > 1 else ()


def whole_links(plans: Plans) -> tuple[Link, ...]:
    """All of every pass."""
    return tuple(Link(cut=whole(plan), rows=(0, plan.spec.height)) for plan in plans)


def band_links(plans: Plans, grid_rows: tuple[int, int], *, alpha: bool) -> tuple[Link, ...]:
    """A band of the last pass, and of each before it what the next one reads.

    With `alpha` a pass is given whole blocks of the fill that hides colours under transparent pixels.
    """
    links = [_link(plans[-1], grid_rows, alpha=alpha)]
    for plan in reversed(plans[:-1]):
        links.insert(0, _link(plan, _covering(plan, links[0].rows), alpha=alpha))
    return tuple(links)


def chain_bytes(links: Sequence[Link], params: UpscaleParams, channels: int, depth: int, precision: str) -> int:
    """What the passes need in memory: the most that one of them does, and the source, which all of them hold."""
    most = max(working_bytes(link.cut, params, channels, depth, precision) for link in links)
    if len(links) == 1:
        return most
    first = links[0]
    return most + (first.rows[1] - first.rows[0]) * first.cut.plan.spec.width * channels * (depth // 8)


def restore_chain(
    restorer: Restorer,
    pixels: NDArray[Any],
    links: Sequence[Link],
    params: UpscaleParams,
    url: str,
    batch_limit: int | None,
) -> Iterator[RestoredPixels]:
    """What each pass makes, the last one last, from `pixels`: the rows of the source that the first link names.

    The precision is the highest that a pass so far has fallen back to; `smaller` is of all passes so far. Raises as
    `Restorer.restore`.
    """
    precision, smaller, first_row = "", False, links[0].rows[0]
    for link in links:
        rows = pixels[link.rows[0] - first_row : link.rows[1] - first_row]
        made = restorer.restore(rows, link.cut, params, url, batch_limit)
        precision = "fp32" if precision == "fp32" else made.precision
        smaller = smaller or made.verdict.smaller
        pixels, first_row = made.pixels, link.cut.out_rows[0]
        yield replace(made, precision=precision, verdict=replace(made.verdict, smaller=smaller))


def _link(plan: PicturePlan, grid_rows: tuple[int, int], *, alpha: bool) -> Link:
    if grid_rows == (0, len(plan.rows)):
        return Link(cut=whole(plan), rows=(0, plan.spec.height))
    y0, y1 = band_read_rows(plan, grid_rows)
    if alpha:
        y0, y1 = y0 // FILL_BLOCK_PX * FILL_BLOCK_PX, min(plan.spec.height, -(-y1 // FILL_BLOCK_PX) * FILL_BLOCK_PX)
    tiles, out_rows = band_tiles(plan, grid_rows), band_out_rows(plan, grid_rows)
    return Link(cut=Cut(plan=plan, tiles=tiles, read_y0=y0, out_rows=out_rows), rows=(y0, y1))


def _covering(plan: PicturePlan, out_rows: tuple[int, int]) -> tuple[int, int]:
    """The fewest grid rows of a pass that make these rows of its output; all where its body is run whole."""
    if plan.strategy is Strategy.BODY:
        return 0, len(plan.rows)
    wanted = [at for at, row in enumerate(plan.rows) if row[0].out.y0 < out_rows[1] and row[0].out.y1 > out_rows[0]]
    return wanted[0], wanted[-1] + 1
