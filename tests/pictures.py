"""Pictures for tests, good and bad, made from seeds: the same bytes in every run of one version of libvips.

`good_pictures` and `bad_pictures` give names, bytes and what must come of them; the folder tests of the whole farm use
the same ones.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyvips

from farm.errors import ErrorKind

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GRAY, RGB, PALETTE, GRAY_ALPHA, RGBA = 0, 2, 3, 4, 6
"""PNG colour types"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodPicture:
    """A file that must be read."""

    name: str
    data: bytes
    shape: tuple[int, int, int]
    """upright height, width and bands"""
    depth: int = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class BadPicture:
    """A file that must be refused."""

    name: str
    data: bytes
    kind: ErrorKind


def photo(seed: int, width: int = 96, height: int = 64, bands: int = 3, depth: int = 8) -> np.ndarray:
    """A picture with slopes, edges and grain; an alpha channel (band 2 of 2, 4 of 4) has clear and opaque parts."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for _ in range(bands):
        a, b, c = rng.uniform(0.02, 0.3, 3)
        plane = 0.5 + 0.3 * np.sin(a * x + b * y) + 0.15 * ((c * x + y).astype(int) % 17 < 8)
        planes.append(plane + rng.normal(0, 0.02, plane.shape))
    pixels = np.clip(np.stack(planes, axis=2), 0, 1)
    if bands in (2, 4):
        pixels[..., -1] = np.clip(2 * pixels[..., -1] - 0.6, 0, 1)
    top = 255 if depth == 8 else 65535
    return np.round(pixels * top).astype(np.uint8 if depth == 8 else np.uint16)


def chunk(kind: bytes, data: bytes) -> bytes:
    """One PNG chunk."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG from packed rows without filter bytes; `extra` chunks stand before the pixels."""
    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[at : at + stride] for at in range(0, len(rows), stride))
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + extra + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")


def png_of(pixels: np.ndarray) -> bytes:
    """A plain PNG of an array HWC of 8 or 16 bits."""
    height, width, bands = pixels.shape
    colour = {1: GRAY, 2: GRAY_ALPHA, 3: RGB, 4: RGBA}[bands]
    deep = pixels.dtype == np.uint16
    return png(width, height, 16 if deep else 8, colour, pixels.astype(">u2").tobytes() if deep else pixels.tobytes())


def vips(pixels: np.ndarray) -> pyvips.Image:
    """The array as a libvips image, gray or RGB by its bands."""
    height, width, bands = pixels.shape
    deep = pixels.dtype == np.uint16
    image = pyvips.Image.new_from_memory(pixels.tobytes(), width, height, bands, "ushort" if deep else "uchar")
    gray, colour = ("grey16", "rgb16") if deep else ("b-w", "srgb")
    return image.copy(interpretation=gray if bands < 3 else colour)


def giant_png(width: int = 30_000, height: int = 30_000) -> bytes:
    """A bomb: pixels of one bit, all 0, deflated to a thousandth: 900 megapixels in 109 KB."""
    packer = zlib.compressobj(9)
    row = bytes(1 + width // 8)
    packed = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, GRAY, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def claimed_png(needed_bytes: float) -> bytes:
    """A PNG that says it is as large as a worker needs about so much memory for, of a network of scale 4, and ends."""
    side = int((needed_bytes / 150) ** 0.5)
    header = struct.pack(">IIBBBBB", side, side, 8, RGB, 0, 0, 0)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(100)))


def flipped(data: bytes, seed: int, flips: int = 8) -> bytes:
    """The same bytes with some bits turned over, behind the first eight bytes."""
    rng = np.random.default_rng(seed)
    out = bytearray(data)
    for at in rng.integers(8, len(data), flips):
        out[at] ^= 1 << int(rng.integers(8))
    return bytes(out)


def good_pictures(seed: int = 1) -> Iterator[GoodPicture]:
    """One of each kind that is read."""
    yield from _good_pngs(seed)
    rgb, deep = vips(photo(seed)), vips(photo(seed, depth=16))
    gray = vips(photo(seed, bands=1))
    yield GoodPicture(name="rgb.jpg", data=rgb.jpegsave_buffer(Q=92), shape=(64, 96, 3))
    yield GoodPicture(name="gray.jpg", data=gray.jpegsave_buffer(), shape=(64, 96, 1))
    yield GoodPicture(name="progressive.jpg", data=rgb.jpegsave_buffer(interlace=True), shape=(64, 96, 3))
    cmyk = vips(photo(seed, bands=4)).copy(interpretation="cmyk")
    yield GoodPicture(name="cmyk.jpg", data=cmyk.jpegsave_buffer(Q=95), shape=(64, 96, 3))
    yield GoodPicture(name="rgb.webp", data=rgb.webpsave_buffer(), shape=(64, 96, 3))
    alpha = vips(photo(seed, bands=4))
    yield GoodPicture(name="alpha.webp", data=alpha.webpsave_buffer(lossless=True), shape=(64, 96, 4))
    yield GoodPicture(name="rgb.tif", data=rgb.tiffsave_buffer(), shape=(64, 96, 3))
    yield GoodPicture(name="deep.tif", data=deep.tiffsave_buffer(compression="deflate"), shape=(64, 96, 3), depth=16)
    yield GoodPicture(name="big.tif", data=deep.tiffsave_buffer(bigtiff=True, tile=True), shape=(64, 96, 3), depth=16)
    yield GoodPicture(name="bilevel.tif", data=gray.tiffsave_buffer(bitdepth=1), shape=(64, 96, 1))
    yield GoodPicture(name="lab.tif", data=rgb.colourspace("labs").tiffsave_buffer(), shape=(64, 96, 3), depth=16)
    yield GoodPicture(name="rgb.gif", data=rgb.gifsave_buffer(), shape=(64, 96, 3))
    yield GoodPicture(name="rgb.avif", data=rgb.heifsave_buffer(compression="av1", effort=0), shape=(64, 96, 3))
    yield GoodPicture(name="one.png", data=png_of(photo(seed, 1, 1)), shape=(1, 1, 3))
    yield GoodPicture(name="column.png", data=png_of(photo(seed, 1, 97)), shape=(97, 1, 3))


def _good_pngs(seed: int) -> Iterator[GoodPicture]:
    rng = np.random.default_rng(seed)
    palette = chunk(b"PLTE", rng.integers(0, 256, 12).astype(np.uint8).tobytes())
    packed = rng.integers(0, 256, (9, 5)).astype(np.uint8).tobytes()  # 20 columns of 2 bits, 40 of 1
    clear = chunk(b"tRNS", b"\0\x80")
    yield GoodPicture(name="rgb.png", data=png_of(photo(seed)), shape=(64, 96, 3))
    yield GoodPicture(name="gray.png", data=png_of(photo(seed, bands=1)), shape=(64, 96, 1))
    yield GoodPicture(name="gray-alpha.png", data=png_of(photo(seed, bands=2)), shape=(64, 96, 2))
    yield GoodPicture(name="alpha.png", data=png_of(photo(seed, bands=4)), shape=(64, 96, 4))
    for bands, name in ((1, "gray"), (2, "gray-alpha"), (3, "rgb"), (4, "alpha")):
        data = png_of(photo(seed, bands=bands, depth=16))
        yield GoodPicture(name=f"{name}-16.png", data=data, shape=(64, 96, bands), depth=16)
    yield GoodPicture(name="palette.png", data=png(20, 9, 2, PALETTE, packed, palette), shape=(9, 20, 3))
    yield GoodPicture(name="palette-trns.png", data=png(20, 9, 2, PALETTE, packed, palette + clear), shape=(9, 20, 4))
    yield GoodPicture(name="bilevel.png", data=png(40, 9, 1, GRAY, packed), shape=(9, 40, 1))
    yield GoodPicture(name="two-bit.png", data=png(20, 9, 2, GRAY, packed), shape=(9, 20, 1))
    keyed = png(20, 9, 8, GRAY, rng.integers(0, 256, 180).astype(np.uint8).tobytes(), chunk(b"tRNS", b"\0\x07"))
    yield GoodPicture(name="keyed.png", data=keyed, shape=(9, 20, 2))
    interlaced = vips(photo(seed)).pngsave_buffer(interlace=True)
    yield GoodPicture(name="interlaced.png", data=interlaced, shape=(64, 96, 3))


def bad_pictures(seed: int = 1) -> Iterator[BadPicture]:
    """One of each kind that is refused."""
    yield BadPicture(name="empty.jpg", data=b"", kind=ErrorKind.EMPTY_INPUT)
    yield BadPicture(name="one-byte.jpg", data=b"x", kind=ErrorKind.NOT_AN_IMAGE)
    yield BadPicture(name="three-bytes.png", data=SIGNATURE[:3], kind=ErrorKind.TRUNCATED)
    page = b"<!DOCTYPE html>\n<html><body><h1>404 Not Found</h1></body></html>"
    yield BadPicture(name="page.jpg", data=page, kind=ErrorKind.NOT_AN_IMAGE)
    store = b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>NoSuchKey</Code></Error>'
    yield BadPicture(name="store-error.jpg", data=store, kind=ErrorKind.NOT_AN_IMAGE)
    yield BadPicture(name="text.png", data=b"this is no picture at all\n" * 9, kind=ErrorKind.NOT_AN_IMAGE)
    svg = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'
    yield BadPicture(name="drawing.png", data=svg, kind=ErrorKind.UNSUPPORTED)
    yield BadPicture(name="bitmap.bmp", data=b"BM" + bytes(60), kind=ErrorKind.UNSUPPORTED)
    yield from _bad_pngs(seed)
    yield from _cut_files(seed)
    yield from _unsupported(seed)


def _bad_pngs(seed: int) -> Iterator[BadPicture]:
    good = png_of(photo(seed))
    pixels = photo(seed)
    header = struct.pack(">IIBBBBB", 96, 64, 8, RGB, 0, 0, 0)
    end = chunk(b"IEND", b"")
    body = good[33:]
    corrupt = {
        "signature.png": b"\x8aPNG\r\n\x1a\n" + good[8:],
        "text-mode.png": good.replace(b"\r\n", b"\n"),
        "header-crc.png": good[:29] + b"\0\0\0\0" + body,
        "no-pixels.png": SIGNATURE + chunk(b"IHDR", header) + end,
        "depth.png": png(96, 64, 7, RGB, pixels.tobytes()),
        "colour-type.png": png(96, 64, 8, 5, pixels.tobytes()),
        "zero-size.png": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", 0, 64, 8, RGB, 0, 0, 0)) + body,
        "pixel-crc.png": good[:-16] + b"\0\0\0\0" + good[-12:],
    }
    for name, data in corrupt.items():
        yield BadPicture(name=name, data=data, kind=ErrorKind.CORRUPT)
    for name, side in (("giant.png", 30_000), ("enormous.png", 2_000_000_000)):
        size = struct.pack(">IIBBBBB", side, side, 1, GRAY, 0, 0, 0)
        data = SIGNATURE + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(bytes(99_999))) + end
        yield BadPicture(name=name, data=data, kind=ErrorKind.TOO_LARGE)


def _cut_files(seed: int) -> Iterator[BadPicture]:
    image = vips(photo(seed, 200, 150))
    jpeg, progressive = image.jpegsave_buffer(Q=90), image.jpegsave_buffer(Q=90, interlace=True)
    for share in (2, 30, 60, 90, 99):
        yield BadPicture(name=f"cut-{share}.jpg", data=jpeg[: len(jpeg) * share // 100], kind=ErrorKind.TRUNCATED)
    whole = {
        "no-end.jpg": jpeg[:-2],
        "cut-progressive.jpg": progressive[: len(progressive) // 2],
        "cut.png": (made := png_of(photo(seed)))[: len(made) // 2],
        "cut.webp": (made := image.webpsave_buffer())[: len(made) // 2],
        "cut.tif": (made := image.tiffsave_buffer(compression="deflate"))[: len(made) // 2],
        "cut-plain.tif": (made := image.tiffsave_buffer())[: len(made) * 9 // 10],
        "cut.gif": (made := image.gifsave_buffer())[: len(made) // 2],
        "cut.avif": (made := image.heifsave_buffer(compression="av1", effort=0))[: len(made) // 2],
    }
    for name, data in whole.items():
        yield BadPicture(name=name, data=data, kind=ErrorKind.TRUNCATED)


def _unsupported(seed: int) -> Iterator[BadPicture]:
    image = vips(photo(seed))
    frames = vips(photo(seed, 96, 128))
    files = {
        "float.tif": image.cast("float").tiffsave_buffer(),
        "double.tif": image.extract_band(0).cast("double").tiffsave_buffer(),
        "complex.tif": image.extract_band(0).cast("complex").tiffsave_buffer(),
        "int32.tif": image.cast("uint").tiffsave_buffer(),
        "signed.tif": image.cast("short").tiffsave_buffer(),
        "float-lab.tif": image.colourspace("lab").tiffsave_buffer(),
        "five-bands.tif": image.bandjoin([1, 2]).tiffsave_buffer(),
        "pages.tif": frames.tiffsave_buffer(page_height=64),
        "animated.png": png(96, 64, 8, RGB, photo(seed).tobytes(), chunk(b"acTL", struct.pack(">II", 2, 0))),
        "animated.gif": frames.gifsave_buffer(page_height=64),
        "animated.webp": frames.webpsave_buffer(page_height=64),
    }
    for name, data in files.items():
        yield BadPicture(name=name, data=data, kind=ErrorKind.UNSUPPORTED)
