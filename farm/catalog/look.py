"""A look into files that were listed: what they are by their first bytes, and how large their pictures are.

Reads headers only, and of one file at most `_MOST_BYTES`: the formats that want more are decoded from their end or as
a whole, and a scan is no place for that.
"""

from __future__ import annotations

import io
from collections.abc import Generator, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import BinaryIO

from farm import storage
from farm.catalog.ahead import map_ahead
from farm.catalog.item import Item
from farm.errors import DiskError, ErrorKind, ItemError
from farm.kinds import CONTAINERS, PICTURE_EXTENSIONS, MediaKind, extension_of, is_sequence
from farm.records import RefusedRow

_BUFFER_BYTES = 64 << 10
_MOST_BYTES = 8 << 20
_HEAD_BYTES = 4096
_SOUND = frozenset(("mp3", "m4a", "m4b", "mka", "oga", "ogg", "opus", "spx", "wma", "aac", "flac", "wav"))
"""extensions of containers that hold sound only"""
_FILM_MAGIC = (b"\0\0\x01\xba", b"\0\0\x01\xb3", b"\x06\x0e\x2b\x34\x02\x05\x01\x01", b"YUV4MPEG2 ", b"nut/multimedia")


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """An item after a look into its file."""

    item: Item | None
    """None: it is neither a picture nor a film, and its name does not say so either"""
    refused: RefusedRow | None = None
    """in place of the item: its name promises what its content is not"""
    is_sized: bool = True
    """whether the size was found where it was asked for"""


def look(items: Iterable[Item], *, sniff: bool, probe: bool) -> Generator[Looked]:
    """What each file is (`sniff`) and its width and height (`probe`), in order, by several threads."""
    return map_ahead(partial(_look, sniff=sniff, probe=probe), items)


def _look(item: Item, *, sniff: bool, probe: bool) -> Looked:
    url = item.row.source_url
    if is_sequence(url) and item.row.kind is MediaKind.VIDEO:  # no file has that name
        return Looked(item=item, is_sized=False)
    try:
        with storage.open_read(url, buffer_bytes=_BUFFER_BYTES) as file:
            if sniff:
                kind = kind_by_content(file.read(_HEAD_BYTES), url)
                if kind is None:
                    return Looked(item=None)
                values = {**item.values, "kind": kind}
                item = replace(item, row=replace(item.row, kind=kind), values=values)
            return _probed(item, file) if probe else Looked(item=item)
    except ItemError as error:
        if not sniff:
            return Looked(item=item, is_sized=False)  # whoever restores it will say what is wrong
        if error.kind.retryable:
            raise DiskError(f"scan: {error.url}: {error.found}; {error.advice}") from error
        return Looked(item=None, refused=RefusedRow(index=item.row.index, source=url, error=error))


def kind_by_content(head: bytes, url: str) -> MediaKind | None:
    """What a file is by its first 4096 bytes; None where it is neither and its name does not claim to be.

    Raises ItemError for what calls itself a picture or a film and is not, or a picture of a kind that is not read.
    """
    from farm.media import formats

    try:
        formats.sniff(head, url)
    except ItemError as error:
        if _is_film(head, url):
            return MediaKind.VIDEO
        claims = extension_of(url) in PICTURE_EXTENSIONS or extension_of(url) in CONTAINERS
        if claims or error.kind is ErrorKind.UNSUPPORTED:
            raise
        return None
    return MediaKind.IMAGE


def _is_film(head: bytes, url: str) -> bool:
    from farm.media.video.read.containers import looks_like, transport_packet

    if extension_of(url) in _SOUND:
        return False
    return head.startswith(_FILM_MAGIC) or (looks_like(head) or transport_packet(head)) is not None


def _probed(item: Item, file: BinaryIO) -> Looked:
    file.seek(0)
    bounded = _Bounded(file, item.row.source_url)
    try:
        width, height = _size(item, io.BufferedReader(bounded, _BUFFER_BYTES))
    except ItemError:
        return Looked(item=item, is_sized=False)
    if not 0 < width < 2**31 or not 0 < height < 2**31:
        return Looked(item=item, is_sized=False)
    row = replace(item.row, width=width, height=height)
    return Looked(item=replace(item, row=row, values={**item.values, "width": width, "height": height}))


def _size(item: Item, file: BinaryIO) -> tuple[int, int]:
    if item.row.kind is MediaKind.VIDEO and extension_of(item.row.source_url) not in PICTURE_EXTENSIONS:
        from farm.media.video.read.source import read_header

        film = read_header(file, item.row.source_url)
        return film.width, film.height
    from farm.media import image

    header = image.read_header(file, item.row.source_url, image.ReadLimits(max_pixels=2**62, pages="first"))
    return header.width, header.height


class _Bounded(io.RawIOBase):
    """A file of which only so much may be read."""

    def __init__(self, file: BinaryIO, url: str) -> None:
        self._file = file
        self._url = url
        self._left = _MOST_BYTES

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def readinto(self, buffer: memoryview, /) -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        data = self._file.read(min(len(buffer), self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            found = f"its size is not within the first {_MOST_BYTES} bytes that were read"
            raise ItemError(ErrorKind.TOO_LARGE, self._url, found, "leave out --probe")
        buffer[: len(data)] = data
        return len(data)
