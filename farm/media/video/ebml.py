"""EBML elements of Matroska (RFC 8794): their heads, and what our own files need of them. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SEGMENT, VOID = 0x18538067, 0xEC
HEAD_BYTES = 12
"""of the longest head"""
_CHECKSUM, _SEEK_HEAD = 0xBF, 0x114D9B74
COLOUR = (SEGMENT, 0x1654AE6B, 0xAE, 0xE0, 0x55B0)
"""Segment, Tracks, TrackEntry, Video, Colour"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Element:
    """Where an element stands in a file."""

    name: int
    at: int
    content: int
    """where its head ends"""
    end: int


def element(name: int, data: bytes, size_bytes: int = 8) -> bytes:
    """One element, whose size takes so many bytes."""
    size = (1 << 7 * size_bytes | len(data)).to_bytes(size_bytes, "big")
    return name.to_bytes((name.bit_length() + 7) // 8, "big") + size + data


def children(data: bytes, at: int, end: int) -> Iterator[Element]:
    """The elements that stand one after the other from `at`, as far as their heads are there before `end`."""
    while at < end and (found := head_of(data[at : at + HEAD_BYTES])) is not None:
        name, size, head = found
        yield Element(name=name, at=at, content=at + head, end=end if size is None else at + head + size)
        at = end if size is None else at + head + size


def content(data: bytes, path: Sequence[int]) -> bytes | None:
    """What the first element of each name holds, one inside the other; None where there is none."""
    at, end = 0, len(data)
    for name in path:
        found = next((one for one in children(data, at, end) if one.name == name), None)
        if found is None:
            return None
        at, end = found.content, min(found.end, len(data))
    return data[at:end]


def head_of(head: bytes | memoryview) -> tuple[int, int | None, int] | None:
    """Name, size (None: open) and length of the head that these bytes begin with; None: they are no whole head."""
    name_length = 9 - head[0].bit_length() if head else 9
    if name_length > 4 or len(head) <= name_length:
        return None
    size_length = 9 - head[name_length].bit_length()
    length = name_length + size_length
    if size_length > 8 or len(head) < length:
        return None
    size = int.from_bytes(head[name_length:length], "big") & ((1 << 7 * size_length) - 1)
    is_open = size == (1 << 7 * size_length) - 1
    return int.from_bytes(head[:name_length], "big"), None if is_open else size, length


def head_at(data: bytes | memoryview, at: int) -> tuple[int, int | None, int]:
    """As `head_of`, of the element at `at`.

    Raises:
        ValueError: there is none.
    """
    found = head_of(data[at : at + HEAD_BYTES])
    if found is None:
        raise ValueError(f"no element at byte {at}")
    return found


def lengthened(data: memoryview, added: int) -> bytes:
    """The bytes of a file up to the content of its Segment, with `added` bytes more in the Segment's size.

    Raises:
        ValueError: the file has no Segment with a size of eight bytes.
    """
    _, size, head = head_at(data, 0)
    at = head + (size or 0)
    name, size, head = head_at(data, at)
    if name != SEGMENT or size is None or head != 12:
        raise ValueError("no Segment with a size of eight bytes")
    return bytes(data[: at + 4]) + (1 << 56 | size + added).to_bytes(8, "big")


def with_colour(data: bytes, added: bytes, depth: int = 0) -> bytes:
    """The beginning of a file with elements more at the end of the Colour of its first track; it may be cut anywhere.

    Raises:
        ValueError: there is no video track.
    """
    at = 0
    while at < len(data):
        name, size, head = head_at(data, at)
        end = len(data) if size is None else min(at + head + size, len(data))
        if name == COLOUR[depth]:
            inner = data[at + head : end]
            inner = inner + added if depth == len(COLOUR) - 1 else with_colour(inner, added, depth + 1)
            return _unchecked(data[:at], depth) + element(name, inner) + data[end:]
        at = end
    if depth < len(COLOUR) - 1:
        raise ValueError("no video track")
    return data + element(COLOUR[depth], added)


def _unchecked(data: bytes, depth: int) -> bytes:
    """What stands before an element, without what no longer holds: checksums, and the list of where parts lie."""
    kept, at = b"", 0
    while at < len(data):
        name, size, head = head_at(data, at)
        end = at + head + (size or 0)
        kept += b"" if depth and name in (_CHECKSUM, _SEEK_HEAD) else data[at:end]
        at = end
    return kept
