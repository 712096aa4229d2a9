"""The sizes of listed pictures, and whether they can be read, for a list that upstream's readers take. No samples."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import cast

from farm.media.image import ReadLimits, decode, read_header
from farm.sample import Made, MetaInfoOptions, PrepareParams, SourceRow
from farm.tasks.operations.base import Content


class MetaInfo:
    """One line a picture; see Operation."""

    sample_columns: Mapping[str, type] = MappingProxyType({})
    source_columns: Mapping[str, type] = MappingProxyType({"width": int, "height": int, "channels": int})

    def __init__(self, params: PrepareParams) -> None:
        self._options = cast(MetaInfoOptions, params.options)
        self._limits = ReadLimits(max_pixels=params.max_pixels_in)

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:  # noqa: ARG002 (the protocol's)
        """The header says the size; with `check` every pixel is decoded, so that cut files are found as well."""
        if self._options.check:
            header = decode(content.data, row.url, self._limits).header
        else:
            header = read_header(content.data, row.url, self._limits)
        record = {"width": header.width, "height": header.height, "channels": header.bands}
        if not reads_back(row.relative_path):
            message = (
                f"{row.relative_path!r} would not be read back: readers of lists cut names at spaces; rename the file"
            )
            return Made(skipped="unsafe_name", message=message, record=record)
        return Made(record=record)


def reads_back(relative_path: str) -> bool:
    """Whether readers of lists give the path back: upstream's cuts lines at a space, others at any white space."""
    return not any(char.isspace() for char in relative_path)
