"""What is asked of every form in which samples are kept, and the two that keep nothing beside the table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from farm import storage
from farm.sample import Sample
from farm.shards import place
from farm.shards.index import PackFile


class FormWriter(Protocol):
    """Takes the samples of one part in order; close() lets go of what finish() has not published."""

    def add(self, sample: Sample) -> Mapping[str, object]:
        """Keep the sample's files; answers the columns of its row that say where."""
        ...

    def finish(self) -> Iterator[PackFile]:
        """Publish what was kept, file by file. Raises the storage's errors."""
        ...

    def close(self) -> None:
        """May be called again, and after finish()."""
        ...


class TreeWriter:
    """Files in folders: whoever made them has published each already."""

    def add(self, sample: Sample) -> Mapping[str, object]:
        return {f"{one.role}_path": place.tree_path(one.role, sample.key, one.extension) for one in sample.members}

    def finish(self) -> Iterator[PackFile]:
        yield from ()

    def close(self) -> None:
        pass


class ParquetWriter:
    """Files as values of the table of samples."""

    def add(self, sample: Sample) -> Mapping[str, object]:
        return {one.role: one.data for one in sample.members}

    def finish(self) -> Iterator[PackFile]:
        yield from ()

    def close(self) -> None:
        pass


def as_file(published: storage.Published, path: str) -> PackFile:
    """What was published at a path below the output root."""
    return PackFile(path=path, bytes=published.bytes, sha256=published.sha256)
