"""Does an ICC profile fit the pixels it is to travel with? Only its header is read (ICC.1:2022, 7.2)."""

from __future__ import annotations

_HEADER_BYTES = 128


def profile_fault(icc: bytes, gray: bool) -> str | None:
    """None for a profile that may be carried over, else what is wrong with it."""
    if len(icc) < _HEADER_BYTES or icc[36:40] != b"acsp":
        return "not an ICC profile"
    if int.from_bytes(icc[:4], "big") > len(icc):
        return "cut short"
    space = icc[16:20]
    if space != (b"GRAY" if gray else b"RGB "):
        return f"made for {space.decode('ascii', 'replace').strip()}, not for {'gray' if gray else 'RGB'}"
    return None
