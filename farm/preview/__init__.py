"""What a recipe does to a manifest's own pictures: a contact sheet and a page to look at before a cluster is spent.

Runs here, in this process, through the operation that the farm makes pairs by: with the same flags `farm degrade` makes
these very pairs on CPUs (on GPUs with other noise).
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass

from farm import storage
from farm.errors import ManifestError, UsageError
from farm.manifest import canonical, default_out, read_manifest
from farm.preview.page import page_of
from farm.preview.pairs import Maker, iter_pictures, spread
from farm.preview.sheet import sheet_of
from farm.sample import DegradeOptions

__all__ = ["PAGE", "SHEET", "Preview", "PreviewConfig", "preview"]

SHEET, PAGE = "preview.png", "preview.html"
_OUT_FOLDER = "farm-preview"
_MOST_PX = 128_000_000
"""of all crops of a sheet, which is drawn in memory: 800 of 400 x 400, about 2 GB"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewConfig:
    """What is looked at, and where the sheet goes."""

    manifest: str
    options: DegradeOptions
    recipe: str
    """as the user named it"""
    out: str | None = None
    """folder; farm-preview beside the manifest where None"""
    root: str | None = None
    count: int = 12
    """pictures at most"""
    max_pixels: int = 512_000_000

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UsageError(f"--count: {self.count} is below 1")
        if self.count * self.options.per_image * self.options.gt_px**2 > _MOST_PX:
            asked = f"{self.count} pictures with {self.options.per_image} crops each of {self.options.gt_px} px"
            raise UsageError(f"--count: {asked} are too much for one sheet; ask for less")


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What was written."""

    sheet: str
    page: str
    pairs: int
    failures: tuple[str, ...]
    """what is shown in the place of pictures that gave no pair"""


def preview(config: PreviewConfig) -> Preview:
    """Write the sheet and the page.

    Raises ManifestError for a manifest without pictures, and as read_manifest() and storage.publish().
    """
    out = canonical(config.out) if config.out is not None else _default_out(config.manifest)
    rows = spread(iter_pictures(read_manifest(config.manifest, root=config.root, out=out)), config.count)
    if not rows:
        raise ManifestError(f"manifest: {config.manifest}: it lists no picture; give one that does")
    maker = Maker(config.options, config.max_pixels)
    shown = [one for row in rows for one in maker.shown(row)]
    title = f"{config.recipe}, seed {config.options.seed}"
    sheet, page, attempt = storage.join(out, SHEET), storage.join(out, PAGE), uuid.uuid4().hex
    storage.publish(sheet, sheet_of(title, shown, config.options), attempt=attempt)
    storage.publish(page, page_of(title, shown, config.options), attempt=attempt)
    failures = tuple(f"{one.title}: {one.notice}" for one in shown if one.notice)
    return Preview(sheet=sheet, page=page, pairs=len(shown) - len(failures), failures=failures)


def _default_out(manifest: str) -> str:
    return storage.join(storage.parent(default_out(manifest)), _OUT_FOLDER)
