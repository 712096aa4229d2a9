"""WebP, GIF and AVIF: cut, lying about their sizes, animated, endless."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.corpus.case import AVIF_NEAR, CUT, DAMAGED, GOOD, TOO_LARGE, UNSUPPORTED, Case
from tests.pictures import photo, vips


def others(seed: int) -> Iterator[Case]:
    """All of this file."""
    image, frames, alpha = vips(photo(seed)), vips(photo(seed, 96, 128)), vips(photo(seed, bands=4))
    plain = {
        "lossy.webp": image.webpsave_buffer(),
        "lossless.webp": image.webpsave_buffer(lossless=True),
        "alpha.webp": alpha.webpsave_buffer(),
        "plain.gif": image.gifsave_buffer(),
        "whole.avif": image.heifsave_buffer(compression="av1", effort=0),
        "deep.avif": vips(photo(seed, depth=16)).heifsave_buffer(compression="av1", effort=0, bitdepth=10),
    }
    for name, data in plain.items():
        yield Case(name=f"other-kinds/{name}", data=data, ends=GOOD, near=AVIF_NEAR if name.endswith("avif") else 0)
        for share in (5, 15, 30, 45, 60, 75, 90, 97):
            part = data[: max(12, len(data) * share // 100)]
            stem, _, extension = name.partition(".")
            yield Case(name=f"{extension}-cut/{stem}-{share}.{extension}", data=part, ends=CUT)
    yield Case(name="webp-refused/animated.webp", data=frames.webpsave_buffer(page_height=64), ends=UNSUPPORTED)
    yield Case(name="gif-refused/animated.gif", data=frames.gifsave_buffer(page_height=64), ends=UNSUPPORTED)
    yield from _webps(plain["lossy.webp"], plain["alpha.webp"])
    yield from _gifs(plain["plain.gif"])
    yield from _avifs(plain["whole.avif"])


def _webps(lossy: bytes, extended: bytes) -> Iterator[Case]:
    at = extended.index(b"VP8X") + 12
    for width, height in ((16_384, 16_384), (1 << 24, 1 << 24), (16_383, 1)):
        size = struct.pack("<I", width - 1)[:3] + struct.pack("<I", height - 1)[:3]
        data = extended[:at] + size + extended[at + 6 :]
        ends = DAMAGED | TOO_LARGE
        yield Case(name=f"webp-lying/canvas-{width}x{height}.webp", data=data, ends=ends)
    tag = lossy.index(b"\x9d\x01\x2a")
    key = tag + 3
    for width, height in ((0, 64), (96, 0), (16_383, 16_383), (97, 64)):
        data = lossy[:key] + struct.pack("<HH", width, height) + lossy[key + 4 :]
        ends = DAMAGED | (GOOD if width == 97 else frozenset[str]())  # it may as well be 97 pixels wide
        yield Case(name=f"webp-lying/frame-{width}x{height}.webp", data=data, ends=ends)
    bad = {
        "head-only": lossy[:12],
        "chunk-only": lossy[:20],
        "no-pixels": b"RIFF\x0c\0\0\0WEBPVP8 \0\0\0\0",
        "unknown-chunk": b"RIFF\x10\0\0\0WEBPABCD\4\0\0\0abcd",
        "size-0": b"RIFF\0\0\0\0" + lossy[8:],
        "size-giant": b"RIFF\xff\xff\xff\xff" + lossy[8:],
        "chunk-giant": lossy[:16] + b"\xf0\xff\xff\xff" + lossy[20:],
        "partition": lossy[: tag - 3] + b"\xf0\xff\xff" + lossy[tag:],
        "text-mode": lossy.replace(b"\n", b"\r\n"),
        "noise": lossy[:30] + bytes(len(lossy) - 30),
    }  # fmt: skip
    for name, data in bad.items():
        ends = DAMAGED | (GOOD if name in ("text-mode", "noise") else frozenset[str]())
        yield Case(name=f"webp-lying/{name}.webp", data=data, ends=ends)


def _gifs(good: bytes) -> Iterator[Case]:
    head = b"GIF89a" + struct.pack("<HHBBB", 96, 64, 0, 0, 0)
    for width, height in ((65_535, 65_535), (30_000, 30_000)):
        data = good[:6] + struct.pack("<HH", width, height) + good[10:]
        yield Case(name=f"gif-giants/screen-{width}x{height}.gif", data=data, ends=TOO_LARGE, header_only=True)
    block = good.index(b",", 13 + 3 * (2 << (good[10] & 7)))
    frame = good[block:-1]
    for name, size in (("frame-giant", (65_535, 65_535)), ("frame-0", (0, 0)), ("frame-away", (4, 4))):
        place = (60_000, 60_000) if name == "frame-away" else (0, 0)
        data = good[: block + 1] + struct.pack("<HHHH", *place, *size) + good[block + 9 :]
        ends = DAMAGED | TOO_LARGE | UNSUPPORTED | (GOOD if name != "frame-giant" else frozenset[str]())
        yield Case(name=f"gif-lying/{name}.gif", data=data, ends=ends, compared=name != "frame-0")
    bad = {
        "head-only": head,
        "no-frame": head + b";",
        "screen-0": good[:6] + bytes(4) + good[10:],
        "code-size": good[: block + 10] + b"\xff" + good[block + 11 :],
        "noise": good[: block + 11] + b"\xff" * (len(good) - block - 12) + b";",
        "text-mode": good.replace(b"\n", b"\r\n"),
    }
    for name, data in bad.items():
        ends = DAMAGED | UNSUPPORTED | (GOOD if name in ("screen-0", "text-mode") else frozenset[str]())
        yield Case(name=f"gif-lying/{name}.gif", data=data, ends=ends)
    small = b"!\xf9\4\0\1\0\0\0," + struct.pack("<HHHHB", 0, 0, 1, 1, 0x80) + b"\0\0\0\xff\xff\xff\2\2D\1\0"
    million = head + small * 1_000_000 + b";"
    yield Case(name="gif-endless/million-frames.gif", data=million, ends=UNSUPPORTED | DAMAGED)
    comments = head + b"!\xfe\xff" + b"x" * 255 + b"\0"
    endless = comments + (b"!\xfe\xff" + b"x" * 255 + b"\0") * 20_000 + frame + b";"
    yield Case(name="gif-endless/comments.gif", data=endless, ends=GOOD | DAMAGED, compared=False)


def _avifs(good: bytes) -> Iterator[Case]:
    size = good.index(b"ispe") + 8
    for width, height in ((0, 64), (30_000, 30_000), (1 << 31, 1 << 31), (97, 64)):
        data = good[:size] + struct.pack(">II", width, height) + good[size + 8 :]
        ends = DAMAGED | TOO_LARGE | UNSUPPORTED | (GOOD if width == 97 else frozenset[str]())
        yield Case(name=f"avif-lying/{width}x{height}.avif", data=data, ends=ends)
    meta = good.index(b"meta") - 4
    bad = {
        "brand-only": good[:meta],
        "no-meta": good[:meta] + b"\0\0\0\x10mdat" + bytes(8),
        "meta-0": good[:meta] + b"\0\0\0\0" + good[meta + 4 :],
        "meta-giant": good[:meta] + b"\xff\xff\xff\xff" + good[meta + 4 :],
        "meta-small": good[:meta] + b"\0\0\0\4" + good[meta + 4 :],
        "no-pixels": good[: good.index(b"mdat") + 4],
        "noise": good[: good.index(b"mdat") + 4] + b"\x55" * (len(good) - good.index(b"mdat") - 4),
        "items": good.replace(b"iloc", b"jloc"),
        "codec": good.replace(b"av01", b"xx01"),
    }
    for name, data in bad.items():
        ends = DAMAGED | UNSUPPORTED | (GOOD if name == "meta-0" else frozenset[str]())  # 0: to the end of the file
        yield Case(name=f"avif-lying/{name}.avif", data=data, ends=ends, near=AVIF_NEAR)
    boxes = good[:meta] + b"\0\0\0\x08free" * 200_000 + good[meta:]
    yield Case(name="avif-endless/boxes.avif", data=boxes, ends=GOOD | DAMAGED | UNSUPPORTED)
    nested = b""
    for _ in range(2000):
        nested = struct.pack(">I", len(nested) + 12) + b"meta" + bytes(4) + nested
    yield Case(name="avif-endless/nested.avif", data=good[:meta] + nested, ends=DAMAGED | UNSUPPORTED)
