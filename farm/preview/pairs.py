"""Which pictures are shown, and the pairs of each or why there are none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from farm import storage
from farm.console import printable
from farm.errors import DiskError, ItemError
from farm.kinds import MediaKind
from farm.manifest import Row
from farm.media.image import ReadLimits, decode
from farm.records import RefusedRow
from farm.sample import DegradeOptions, Made, Member, PrepareParams, Sample, SourceRow, safe_key
from farm.tasks.operations.base import Content
from farm.tasks.operations.degrade import Degrade
from sr_kernel.degrade.drawn import from_row
from sr_kernel.degrade.recipe_toml import recipe_from_toml
from sr_kernel.degrade.words import in_words

ROLE_NAMES = {"gt": "crop", "gt_usm": "sharpened crop", "lq": "low quality"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One pair, or what is shown in its place."""

    title: str
    """of the source; printable, whatever its name is"""
    lines: tuple[str, ...] = ()
    pictures: tuple[tuple[str, NDArray[np.uint8]], ...] = ()
    """role and pixels HWC of each member, in order"""
    notice: str = ""
    """the error or the rule of a source without pairs"""


class Maker:
    """Makes the pairs of rows, one after the other."""

    def __init__(self, options: DegradeOptions, max_pixels: int) -> None:
        self._options = options
        self._recipe = recipe_from_toml(options.recipe)
        params = PrepareParams(
            operation="degrade",
            options=options,
            form="tree",
            device_class="cpu",
            max_pixels_in=max_pixels,
            pixel_epoch=0,
            roles=options.roles,
        )
        self._degrade = Degrade(params, _here, "cpu")

    def shown(self, row: Row) -> list[Shown]:
        """The pairs of one row, or one entry that says why there are none."""
        if isinstance(row, RefusedRow):
            return [Shown(title=printable(row.source), notice=printable(str(row.error)))]
        title = printable(row.relative_path)
        source = SourceRow(url=row.source_url, relative_path=row.relative_path, key=safe_key(row.relative_path))
        try:
            content = Content(data=storage.read_bytes(row.source_url))
            made = self._degrade.make(source, content, 0, self._options.per_image)
        except (ItemError, DiskError) as error:
            return [Shown(title=title, notice=printable(str(error)))]
        if made.skipped:
            return [Shown(title=title, notice=f"skipped by rule {made.skipped}: {printable(made.message)}")]
        return [self._pair(title, made, sample, number) for number, sample in enumerate(made.samples)]

    def _pair(self, title: str, made: Made, sample: Sample, number: int) -> Shown:
        record, source = sample.record, made.record
        place = f"{record['crop_left']}, {record['crop_top']} of {source['width']} x {source['height']}"
        rules = (f"Rules: {', '.join(made.rules)}",) if made.rules else ()
        return Shown(
            title=f"{title}, pair {number}",
            lines=(f"Crop at {place}", *rules, *in_words(from_row(record), self._recipe)),
            pictures=tuple((member.role, _pixels(member)) for member in sample.members),
        )


def iter_pictures(rows: Iterable[Row]) -> Iterator[Row]:
    """Without films; rows that are refused are kept, and shown as such."""
    return (row for row in rows if isinstance(row, RefusedRow) or row.kind is MediaKind.IMAGE)


def spread(rows: Iterable[Row], count: int) -> list[Row]:
    """At most `count` rows, evenly from the first on: the same of equal manifests, in one pass that holds few.

    Each `step`-th row is kept, and the step is doubled whenever twice as many as are wanted are held.
    """
    held: list[Row] = []
    step = 1
    for place, row in enumerate(rows):
        if place % step:
            continue
        held.append(row)
        if len(held) > 2 * count:
            held, step = held[::2], 2 * step
    taken = min(count, len(held))
    return [held[number * len(held) // taken] for number in range(taken)]


def _here(call: Callable[[], Any]) -> Any:
    """There is no lane: nobody else calls torch in this process."""
    return call()


def _pixels(member: Member) -> NDArray[np.uint8]:
    return cast("NDArray[np.uint8]", decode(member.data, member.role, ReadLimits()).pixels)
