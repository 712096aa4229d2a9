"""JPEG: cut anywhere, wrong markers, processes that nobody decodes, giants (ITU-T T.81)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.corpus.case import CORRUPT, CUT, DAMAGED, GOOD, TOO_LARGE, UNSUPPORTED, Case
from tests.pictures import photo, vips

START, END = b"\xff\xd8", b"\xff\xd9"
_ADOBE = b"Adobe\0\x64" + bytes(4)
"""APP14 up to its last byte, which says whether four colours are CMYK, 0, or YCCK, 2 (Adobe Technical Note 5116)"""
_UNDECODED = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical-progressive", 0xC7: "hierarchical-lossless"}
_UNDECODED |= {0xCB: "arithmetic-lossless", 0xCD: "arithmetic-hierarchical", 0xCF: "arithmetic-hierarchical-lossless"}


def kinds(seed: int) -> dict[str, bytes]:
    """One JPEG of each process that cameras and scanners write."""
    rgb, gray = vips(photo(seed, 120, 90)), vips(photo(seed, 120, 90, bands=1))
    cmyk = vips(photo(seed, 120, 90, bands=4)).copy(interpretation="cmyk").jpegsave_buffer(Q=90)
    return {
        "baseline": rgb.jpegsave_buffer(Q=90),
        "progressive": rgb.jpegsave_buffer(Q=90, interlace=True),
        "restarts": rgb.jpegsave_buffer(Q=90, restart_interval=4),
        "gray": gray.jpegsave_buffer(Q=90),
        "cmyk": cmyk,
        "ycck": cmyk.replace(_ADOBE + b"\0", _ADOBE + b"\2"),
    }


def jpegs(seed: int) -> Iterator[Case]:
    """All of this file."""
    for name, data in kinds(seed).items():
        yield from _cut(name, data)
    yield from _markers(seed)
    yield from _sizes(seed)


def segments(data: bytes) -> list[tuple[int, int, int]]:
    """(marker, offset, end) of every segment, of the entropy-coded data with its scan."""
    found, at = [], 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xD9:
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDA:
            while not (data[end] == 0xFF and data[end + 1] not in (0, *range(0xD0, 0xD8))):
                end += 1
        found.append((data[at + 1], at, end))
        at = end
    return found


def _cut(name: str, data: bytes) -> Iterator[Case]:
    for number, (marker, at, end) in enumerate(segments(data)):
        for place, length in (("before", at), ("within", at + 3), ("behind", end)):
            if length > 2:
                label = f"jpeg-cut-at-marker/{name}-{number}-{marker:02x}-{place}.jpg"
                yield Case(name=label, data=data[:length], ends=CUT)
    for share in range(1, 100, 7):
        length = max(3, len(data) * share // 100)
        yield Case(name=f"jpeg-cut/{name}-{share}.jpg", data=data[:length], ends=CUT)
    for less in (1, 2):
        yield Case(name=f"jpeg-cut/{name}-less{less}.jpg", data=data[:-less], ends=CUT)


def _without(data: bytes, marker: int) -> bytes:
    """The file without its segments of one marker."""
    parts, last = [], 0
    for one, at, end in segments(data):
        if one == marker:
            parts.append(data[last:at])
            last = end
    return b"".join(parts) + data[last:]


def _markers(seed: int) -> Iterator[Case]:
    good = kinds(seed)["baseline"]
    frame = good.index(b"\xff\xc0")
    for marker, name in _UNDECODED.items():
        data = good[: frame + 1] + bytes([marker]) + good[frame + 2 :]
        ends = UNSUPPORTED | (CORRUPT if name == "lossless" else frozenset[str]())  # which would have other tables
        yield Case(name=f"jpeg-process/{name}.jpg", data=data, ends=ends)
    for depth in (1, 7, 9, 12, 16, 255):
        data = good[: frame + 4] + bytes([depth]) + good[frame + 5 :]
        yield Case(name=f"jpeg-process/{depth}bit.jpg", data=data, ends=UNSUPPORTED | DAMAGED)
    two = good[: frame + 9] + b"\2" + good[frame + 10 :]
    scan = good.index(b"\xff\xda")
    bad = {
        "nothing": START + END,
        "no-frame": _without(good, 0xC0),
        "no-quantization": _without(good, 0xDB),
        "no-scan": good[:scan] + END,
        "frame-twice": good[:scan] + good[frame : frame + 19] + good[scan:],
        "start-twice": START + START + good[2:],
        "scan-only": START + good[scan:],
        "components": two,
        "sampling-0": good[: frame + 11] + b"\0" + good[frame + 12 :],
        "sampling-5": good[: frame + 11] + b"\x55" + good[frame + 12 :],
        "table-15": good[: frame + 12] + b"\x0f" + good[frame + 13 :],
        "length-0": good[: frame + 2] + b"\0\0" + good[frame + 4 :],
        "length-1": good[:4] + b"\0\1" + good[6:],
        "no-entropy": good[: scan + 14] + END,
        "huffman-noise": _noisy_table(good),
        "zeros": good[: scan + 14] + bytes(3000) + END,
        "ones": good[: scan + 14] + b"\xff\0" * 3000 + END,
        "junk-in-front": b"\r\n" + good,
        "line-feeds": good.replace(b"\n", b"\r\n"),
        "utf-8": good.decode("latin-1").encode(),
    }  # fmt: skip
    for name, data in bad.items():
        ends = DAMAGED | UNSUPPORTED | frozenset({"not_an_image"})
        # An application segment that is skipped as what it is not costs no pixel; it is said.
        said = "extraneous bytes" if name in ("length-1", "line-feeds") else ""
        yield Case(
            name=f"jpeg-markers/{name}.jpg", data=data, ends=ends | (GOOD if said else frozenset[str]()), warning=said
        )
    restarts = kinds(seed)["restarts"]
    places = [at for at in range(len(restarts)) if restarts[at : at + 1] == b"\xff" and restarts[at + 1] in _RESTARTS]
    for at in places[:: max(1, len(places) // 6)]:
        other = bytes([0xD0 + (restarts[at + 1] + 3) % 8])
        data = restarts[: at + 1] + other + restarts[at + 2 :]
        yield Case(name=f"jpeg-restarts/wrong-{at}.jpg", data=data, ends=DAMAGED)


_RESTARTS = range(0xD0, 0xD8)


def _noisy_table(good: bytes) -> bytes:
    """A Huffman table with more codes than there can be."""
    at = good.index(b"\xff\xc4")
    return good[: at + 5] + b"\xff" * 16 + good[at + 21 :]


def _sizes(seed: int) -> Iterator[Case]:
    good = kinds(seed)["baseline"]
    frame = good.index(b"\xff\xc0")
    for width, height in ((0, 90), (120, 0), (0, 0)):
        data = good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :]
        ends = DAMAGED | UNSUPPORTED
        yield Case(name=f"jpeg-sizes/{width}x{height}.jpg", data=data, ends=ends, header_only=True)
    for name, data in kinds(seed).items():
        marker = b"\xff\xc2" if name == "progressive" else b"\xff\xc0"
        at = data.index(marker)
        for width, height in ((65_535, 65_535), (65_500, 65_500), (30_000, 30_000)):
            giant = data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]
            label = f"jpeg-giants/{name}-{width}x{height}.jpg"
            yield Case(name=label, data=giant, ends=TOO_LARGE, header_only=True)
    for width, height in ((20_000, 20_000), (65_500, 7_000)):
        giant = good[: frame + 5] + struct.pack(">HH", height, width) + good[frame + 9 :]
        # Below the limit of pixels: it is decoded as far as it goes, in the memory that such a picture needs.
        yield Case(name=f"jpeg-hollow/{width}x{height}.jpg", data=giant, ends=DAMAGED, memory_mb=1500)


def jpeg_kinds(seed: int) -> Iterator[Case]:
    """Those that are good."""
    for name, data in kinds(seed).items():
        yield Case(name=f"jpeg-kinds/{name}.jpg", data=data, ends=GOOD)
