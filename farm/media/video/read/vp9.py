"""What a VP9 packet says before it is decoded: whether it shows a frame, and how large its frames are.

From the VP9 bitstream specification, 6.2 (uncompressed header) and annex B (superframes). libvpx allocates whatever a
damaged header asks for, 65 536 pixels a side, so packets are looked at before.
"""

from __future__ import annotations

from collections.abc import Iterator

_HEADER_BYTES = 24
"""that hold all that is read here of a frame"""
_SRGB = 7


class _Bits:
    """Bits from the highest; zeros behind the end."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data[:_HEADER_BYTES].ljust(_HEADER_BYTES, b"\0"), "big")
        self._left = 8 * _HEADER_BYTES

    def take(self, count: int) -> int:
        """The next `count` of them as a number."""
        self._left = max(0, self._left - count)
        return self._value >> self._left & (1 << count) - 1


def shows_frame(data: memoryview) -> bool:
    """Whether a packet, which is not empty, shows a frame; a superframe always does."""
    if data[-1] & 0xE0 == 0xC0:
        return True
    bits = _Bits(bytes(data[:2]))
    _profile(bits)
    if bits.take(1):  # show_existing_frame
        return True
    bits.take(1)  # frame_type
    return bool(bits.take(1))


def largest_frame(data: memoryview) -> int:
    """Pixels of the largest frame whose size a packet tells; 0 when it tells none."""
    return max((_frame_pixels(frame) for frame in _frames(data)), default=0)


def _frames(data: memoryview) -> Iterator[bytes]:
    """The beginning of every frame of a packet."""
    last = data[-1]
    count, length = (last & 7) + 1, (last >> 3 & 3) + 1
    index = 2 + count * length
    if last & 0xE0 != 0xC0 or len(data) < index or data[-index] != last:
        yield bytes(data[:_HEADER_BYTES])
        return
    at = 0
    for number in range(count):
        start = len(data) - index + 1 + number * length
        if at < len(data) - index:
            yield bytes(data[at : at + _HEADER_BYTES])
        at += int.from_bytes(data[start : start + length], "little")


def _frame_pixels(data: bytes) -> int:
    bits = _Bits(data)
    profile = _profile(bits)
    if bits.take(1):  # show_existing_frame
        return 0
    inter, shown, resilient = bits.take(1), bits.take(1), bits.take(1)
    if not inter:
        bits.take(24)  # sync code
        _colour(bits, profile)
        return _size(bits)
    intra_only = 0 if shown else bits.take(1)
    if not resilient:
        bits.take(2)  # reset_frame_context
    if intra_only:
        bits.take(24)
        if profile:
            _colour(bits, profile)
        bits.take(8)  # refresh_frame_flags
        return _size(bits)
    bits.take(8 + 3 * 4)  # refresh_frame_flags, and three references with their signs
    return 0 if any(bits.take(1) for _ in range(3)) else _size(bits)


def _profile(bits: _Bits) -> int:
    bits.take(2)  # frame_marker
    profile = bits.take(1) + 2 * bits.take(1)
    if profile == 3:
        bits.take(1)
    return profile


def _colour(bits: _Bits, profile: int) -> None:
    if profile >= 2:
        bits.take(1)  # ten or twelve bits
    if bits.take(3) != _SRGB:
        bits.take(1)  # range
        bits.take(3 if profile & 1 else 0)
    else:
        bits.take(1 if profile & 1 else 0)


def _size(bits: _Bits) -> int:
    width, height = bits.take(16) + 1, bits.take(16) + 1
    return width * height
