"""The Operation protocol: what is asked of every way of making training data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from farm.media.image import Source
from farm.sample import Made, SourceRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What lies at a source, of the version that was planned."""

    data: Source
    """the whole file, or an open one where it is large (films always)"""
    lq: bytes | None = None
    """of a pair: the low-quality picture's file"""


class Operation(Protocol):
    """One way of making samples of sources.

    Made once a worker for one set of options; `make` is called from several threads at once.
    """

    @property
    def sample_columns(self) -> Mapping[str, type]:
        """Columns of `Sample.record`: bool, int, float or str; every value may be None."""
        ...

    @property
    def source_columns(self) -> Mapping[str, type]:
        """Columns of `Made.record`, of the same types."""
        ...

    def make(self, row: SourceRow, content: Content, first: int, last: int) -> Made:
        """The samples `first` <= n < `last` of one source; (0, 1) where an operation does not number them.

        Bytes depend on the content, the row's key and relative path and the options, and on nothing else. Raises
        ItemError for a source that fails; a source that a rule leaves out is `Made.skipped`.
        """
        ...
