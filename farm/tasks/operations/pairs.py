"""The sizes of listed pairs, and whether they fit each other, for a list that upstream's readers take. No samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from farm.errors import ErrorKind, ItemError
from farm.media.image import ImageHeader, ReadLimits, read_header
from farm.sample import Made, PairsOptions, PrepareParams, Scalar, SourceRow
from farm.tasks.operations.base import Content

_COLUMNS = ("width", "height", "channels", "lq_width", "lq_height", "lq_channels", "scale")


class Pairs:
    """One line a pair; see Operation. Whether all pairs have one scale is for whoever sees all of them."""

    sample_columns: Mapping[str, type] = MappingProxyType({})
    source_columns: Mapping[str, type] = MappingProxyType({**dict.fromkeys(_COLUMNS, int), "lq": str})
    """sizes are null where nothing is checked; `lq` as a list names the low-quality picture"""

    def __init__(self, params: PrepareParams) -> None:
        self._options = cast(PairsOptions, params.options)
        self._limits = ReadLimits(max_pixels=params.max_pixels_in)

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:  # noqa: ARG002 (the protocol's)
        """Both headers are read, and one size must be a whole multiple of the other."""
        if content.lq is None or row.lq_url is None:
            advice = "name it in the manifest's column lq"
            raise ItemError(ErrorKind.MISSING, row.url, "no low-quality picture for this one", advice)
        record: Mapping[str, Scalar] = dict.fromkeys(_COLUMNS)
        fault = ""
        if self._options.check:
            good = read_header(content.data, row.url, self._limits)
            poor = read_header(content.lq, row.lq_url, self._limits)
            record, fault = _compared(good, poor, self._options.scale)
        if fault:
            return Made(skipped="size_mismatch", message=fault, record=record)
        lq = _beside(row, row.lq_url)
        for name in (row.relative_path, lq):
            if not reads_back(name):
                message = f"{name!r} would not be read back: lists are cut at ', '; rename the file"
                return Made(skipped="unsafe_name", message=message, record=record)
        return Made(record={**record, "lq": lq})


def _beside(row: SourceRow, lq_url: str) -> str:
    """The path of the low-quality picture below the root of the good one; in full where it lies elsewhere."""
    root = row.url.removesuffix(row.relative_path)
    return lq_url.removeprefix(root) if root != row.url else lq_url


def reads_back(path: str) -> bool:
    """Whether upstream's reader of lists of pairs, `line.strip().split(', ')` line by line, gives one path back."""
    cut = f"{path}, x".strip().split(", ")
    return "\n" not in path and "\r" not in path and cut == [path, "x"] and path == path.strip()


def _compared(good: ImageHeader, poor: ImageHeader, scale: int) -> tuple[dict[str, Scalar], str]:
    """The record of a pair, and what is wrong with it; scale 0 takes any whole number."""
    found = good.width // poor.width
    fits = (good.width, good.height) == (found * poor.width, found * poor.height) and found > 0
    record: dict[str, Scalar] = {
        "width": good.width,
        "height": good.height,
        "channels": good.bands,
        "lq_width": poor.width,
        "lq_height": poor.height,
        "lq_channels": poor.bands,
        "scale": found if fits else None,
    }
    if fits and scale in (0, found):
        return record, ""
    wanted = f"{scale} times" if scale else "a whole multiple of"
    return (
        record,
        f"{good.width}x{good.height} is not {wanted} {poor.width}x{poor.height}, its low-quality picture's size",
    )
