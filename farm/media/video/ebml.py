"""EBML elements of Matroska, as far as our own pieces need them. Standard library only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

SEGMENT, VOID = 0x18538067, 0xEC
_CHECKSUM, _SEEK_HEAD = 0xBF, 0x114D9B74
_COLOUR = (SEGMENT, 0x1654AE6B, 0xAE, 0xE0, 0x55B0)
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
    """The elements that stand one after the other from `at`, as far as their heads lie before `end`."""
    while at < end:
        name, size, head = head_at(data, at)
        yield Element(name=name, at=at, content=at + head, end=end if size is None else at + head + size)
        at = end if size is None else at + head + size


def head_at(data: bytes | memoryview, at: int) -> tuple[int, int | None, int]:
    """Name, size (None: open) and length of the head of the element at `at`."""
    name_length = 9 - data[at].bit_length()
    size_at = at + name_length
    size_length = 9 - data[size_at].bit_length()
    size = int.from_bytes(data[size_at : size_at + size_length], "big") & ((1 << 7 * size_length) - 1)
    is_open = size == (1 << 7 * size_length) - 1
    return int.from_bytes(data[at:size_at], "big"), None if is_open else size, name_length + size_length


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
        if name == _COLOUR[depth]:
            inner = data[at + head : end]
            inner = inner + added if depth == len(_COLOUR) - 1 else with_colour(inner, added, depth + 1)
            return _unchecked(data[:at], depth) + element(name, inner) + data[end:]
        at = end
    if depth < len(_COLOUR) - 1:
        raise ValueError("no video track")
    return data + element(_COLOUR[depth], added)


def _unchecked(data: bytes, depth: int) -> bytes:
    """What stands before an element, without what no longer holds: checksums, and the list of where parts lie."""
    kept, at = b"", 0
    while at < len(data):
        name, size, head = head_at(data, at)
        end = at + head + (size or 0)
        kept += b"" if depth and name in (_CHECKSUM, _SEEK_HEAD) else data[at:end]
        at = end
    return kept
