"""Pictures that are good though odd: sizes, orientations, profiles, what hangs behind their end, names that lie."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np
from pyvips import GValue

from tests.corpus.case import AVIF_NEAR, CANARY, GOOD, Case
from tests.corpus.tiff import HEIGHT, UNDEFINED, WIDTH, base, tiff
from tests.pictures import chunk, photo, png_of, vips

SIDES = (1, 2, 3, 7, 16, 17, 97, 127, 128, 129, 255, 256, 257)
"""some primes, and tile sizes with their neighbours"""


def odd(seed: int) -> Iterator[Case]:
    """All of this file."""
    for width in SIDES:
        for height in sorted({1, 13, width}):
            pixels = photo(seed, width, height)
            yield Case(name=f"sizes/{width}x{height}.png", data=png_of(pixels), ends=GOOD, pixels=pixels)
    yield from _orientations(seed)
    yield from _profiles(seed)
    yield from _polyglots(seed)
    yield from _misnamed(seed)


def exif(orientation: int) -> bytes:
    """A block with nothing but an orientation."""
    return b"II*\0\10\0\0\0\1\0" + struct.pack("<HHIHH", 274, 3, 1, orientation, 0) + bytes(4)


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """How a picture with this tag is to be shown (TIFF 6.0, tag 274)."""
    if orientation >= 5:
        pixels = pixels.transpose(1, 0, 2)
    return {
        **{1: pixels, 5: pixels, 2: pixels[:, ::-1], 6: pixels[:, ::-1], 3: pixels[::-1, ::-1], 7: pixels[::-1, ::-1]},
        **{4: pixels[::-1], 8: pixels[::-1]},
    }[orientation]


def _orientations(seed: int) -> Iterator[Case]:
    pixels = photo(seed, 31, 19)
    data = png_of(pixels)
    for orientation in range(1, 9):
        shown = np.ascontiguousarray(turned(pixels, orientation))
        png = data[:33] + chunk(b"eXIf", exif(orientation)) + data[33:]
        yield Case(name=f"orientation/{orientation}-png.png", data=png, ends=GOOD, pixels=shown)
        image = vips(pixels).copy()
        image.set_type(GValue.gint_type, "orientation", orientation)
        yield Case(name=f"orientation/{orientation}-tif.tif", data=image.tiffsave_buffer(), ends=GOOD, pixels=shown)
        lossless = image.webpsave_buffer(lossless=True)
        yield Case(name=f"orientation/{orientation}-webp.webp", data=lossless, ends=GOOD, pixels=shown)
        flat = vips(np.full((16, 24, 3), 90, np.uint8) + np.arange(24, dtype=np.uint8)[None, :, None] * 4)
        flat.set_type(GValue.gint_type, "orientation", orientation)
        plain = np.full((16, 24, 3), 90, np.uint8) + np.arange(24, dtype=np.uint8)[None, :, None] * 4
        jpeg = flat.jpegsave_buffer(Q=100, subsample_mode="off")
        upright = np.ascontiguousarray(turned(plain, orientation))
        yield Case(name=f"orientation/{orientation}-jpg.jpg", data=jpeg, ends=GOOD, pixels=upright, near=3)
    for value in (0, 9, 255, 65_535):
        png = data[:33] + chunk(b"eXIf", exif(value)) + data[33:]
        yield Case(name=f"orientation/none-{value}.png", data=png, ends=GOOD, pixels=pixels)
    for name, block in (("cut", exif(6)[:9]), ("noise", b"\xff" * 60), ("loop", b"II*\0\10\0\0\0\0\0\10\0\0\0")):
        png = data[:33] + chunk(b"eXIf", block) + data[33:]
        yield Case(name=f"orientation/exif-{name}.png", data=png, ends=GOOD, pixels=pixels)


def _profiles(seed: int) -> Iterator[Case]:
    pixels = photo(seed, 31, 19)
    head = struct.pack(">I4sI4s4s4s", 400, b"test", 0x04200000, b"mntr", b"RGB ", b"XYZ ") + bytes(12) + b"acsp"
    blocks = {
        "short": b"x" * 40,
        "noise": bytes(range(256)) * 2,
        "cut": head.ljust(200, b"\0"),
        "cmyk": head.replace(b"RGB ", b"CMYK").ljust(400, b"\0"),
        "gray": head.replace(b"RGB ", b"GRAY").ljust(400, b"\0"),
    }
    for name, block in blocks.items():
        packed = chunk(b"iCCP", b"icc\0\0" + zlib.compress(block))
        data = png_of(pixels)
        whole = data[:33] + packed + data[33:]
        yield Case(name=f"profiles/{name}-png.png", data=whole, ends=GOOD, pixels=pixels, warning="profile dropped")
        small = photo(seed, WIDTH, HEIGHT)
        data = tiff(base(t34675=(UNDEFINED, tuple(block))), small.tobytes())
        yield Case(name=f"profiles/{name}-tif.tif", data=data, ends=GOOD, pixels=small, warning="profile dropped")


def _polyglots(seed: int) -> Iterator[Case]:
    pixels = photo(seed, 31, 19)
    image = vips(pixels)
    files = {
        "png": (png_of(pixels), pixels, 0),
        "jpg": (image.jpegsave_buffer(Q=90), None, 0),
        "webp": (image.webpsave_buffer(lossless=True), pixels, 0),
        "tif": (image.tiffsave_buffer(), pixels, 0),
        "gif": (image.gifsave_buffer(), None, 0),
        "avif": (image.heifsave_buffer(compression="av1", effort=0), None, AVIF_NEAR),
    }
    tails = {
        "zip": b"PK\3\4" + CANARY + b"PK\5\6" + bytes(18),
        "html": b"<html><script>" + CANARY + b"</script></html>",
        "php": b"<?php echo '" + CANARY + b"'; ?>",
        "pdf": b"%PDF-1.7\n" + CANARY + b"\n%%EOF\n",
    }
    for extension, (data, shown, near) in files.items():
        for name, tail in tails.items():
            if extension == "avif":  # boxes may follow, but only boxes
                tail = struct.pack(">I", len(tail) + 8) + b"free" + tail
            whole = data + tail
            yield Case(name=f"polyglots/{name}-{extension}.{extension}", data=whole, ends=GOOD, pixels=shown, near=near)


def _misnamed(seed: int) -> Iterator[Case]:
    pixels = photo(seed, 31, 19)
    image = vips(pixels)
    held = {
        "png": png_of(pixels),
        "jpg": image.jpegsave_buffer(Q=90),
        "webp": image.webpsave_buffer(lossless=True),
        "tif": image.tiffsave_buffer(),
        "gif": image.gifsave_buffer(),
    }
    for inside, data in held.items():
        for extension in ("png", "jpg", "webp", "tif", "gif", "avif"):
            if extension != inside:
                shown = pixels if inside in ("png", "webp", "tif") else None
                name = f"misnamed/{inside}-in-{extension}.{extension}"
                yield Case(name=name, data=data, ends=GOOD, pixels=shown, warning=f"named .{extension} but holds")


NAMES = (
    *("with space.png", "per%cent.png", "per%20cent.png", "%d.png", "hash#tag.png", "question?mark.png", "a&b=c.png"),
    *("caf\u00e9.png", "cafe\u0301 decomposed.png", "new\nline.png", "tab\there.png", "-leading-dash.png"),
    *("--out.png", "two..dots.png", "a...png", "quote'quote.png", 'double"quote.png', "back\\slash.png", "star*.png"),
    *("[brackets].png", "{braces}.png", "$HOME.png", "`id`.png", "semi;colon.png", "pipe|pipe.png"),
    *("\U0001f600.png", "\u202egnp.png", "one caf\u00e9.png", "one cafe\u0301.png", " leading.png", "dot..png"),
    *("Case.png", "case.png", "\x1b[31mred.png", "<b>bold.png", "=1+1.png", "x" * 251 + ".png"),
    "\u00fc" * 125 + "a.png",
)  # fmt: skip


def names(seed: int) -> Iterator[Case]:
    """Good pictures under names that programs trip over."""
    for number, name in enumerate(NAMES):
        pixels = photo(seed + number, 20, 12)
        yield Case(name=f"names/{name}", data=png_of(pixels), ends=GOOD, pixels=pixels)
