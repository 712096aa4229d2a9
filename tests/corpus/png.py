"""PNG: every valid kind, and every way to be none (PNG, third edition)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import numpy as np

from tests.corpus.case import CORRUPT, CUT, DAMAGED, GOOD, TOO_LARGE, UNSUPPORTED, Case
from tests.pictures import GRAY, GRAY_ALPHA, PALETTE, RGB, RGBA, SIGNATURE, chunk, giant_png, photo, png_of

VALID = {GRAY: (1, 2, 4, 8, 16), RGB: (8, 16), PALETTE: (1, 2, 4, 8), GRAY_ALPHA: (8, 16), RGBA: (8, 16)}
"""colour type -> depths"""
CHANNELS = {GRAY: 1, RGB: 3, PALETTE: 1, GRAY_ALPHA: 2, RGBA: 4}
ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""x, y, step of x, step of y of each pass"""
END = chunk(b"IEND", b"")


def header(width: int, height: int, depth: int = 8, colour: int = RGB, *last: int) -> bytes:
    """IHDR; `last`: compression, filter and interlace, all 0 unless given."""
    return chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, *(last or (0, 0, 0))))


def pngs(seed: int) -> Iterator[Case]:
    """All of this file."""
    yield from valid_kinds(seed)
    yield from _bad_headers(seed)
    yield from _bad_chunks(seed)
    yield from _text_mode(seed)
    yield from _cut(seed)
    yield from _giants()
    yield from _bombs(seed)


def valid_kinds(seed: int) -> Iterator[Case]:
    """Every depth and colour type, plain and interlaced, with and without tRNS where it may stand."""
    random = np.random.default_rng(seed)
    for colour, depths in VALID.items():
        for depth in depths:
            raw = random.integers(0, 1 << depth, (11, 13, CHANNELS[colour])).astype(np.uint16)
            palette = random.integers(0, 256, (1 << min(depth, 8), 3)).astype(np.uint8)
            for keyed in (False, True) if colour in (GRAY, RGB, PALETTE) else (False,):
                for interlaced in (False, True):
                    name = f"png-kinds/type{colour}-{depth}bit{'-trns' * keyed}{'-adam7' * interlaced}.png"
                    extra = chunk(b"PLTE", palette.tobytes()) if colour == PALETTE else b""
                    extra += chunk(b"tRNS", _key(raw, colour)) if keyed else b""
                    data = raw_png(raw, depth, colour, extra=extra, interlaced=interlaced)
                    pixels = _shown(raw, depth, colour, palette, keyed)
                    yield Case(name=name, data=data, ends=GOOD, pixels=pixels)


def _key(raw: np.ndarray, colour: int) -> bytes:
    """tRNS: the first pixel's colour is clear; of a palette the first entry, and the second is half."""
    return b"\0\x80" if colour == PALETTE else raw[0, 0].astype(">u2").tobytes()


def _shown(raw: np.ndarray, depth: int, colour: int, palette: np.ndarray, keyed: bool) -> np.ndarray:
    """What a picture of these samples looks like, in 8 or 16 bits."""
    if colour == PALETTE:
        shown = palette[raw[..., 0]]
        alpha = np.full(len(palette), 255, np.uint8)
        alpha[:2] = (0, 128)
        return np.dstack([shown, alpha[raw[..., 0]]]) if keyed else shown
    kind, top = (np.uint16, 65535) if depth == 16 else (np.uint8, 255)
    shown = (raw * (top // ((1 << depth) - 1))).astype(kind)
    clear = (raw == raw[0, 0]).all(axis=2)
    return np.dstack([shown, np.where(clear, 0, top).astype(kind)]) if keyed else shown


def raw_png(raw: np.ndarray, depth: int, colour: int, *, extra: bytes = b"", interlaced: bool = False) -> bytes:
    """A PNG of samples HWC as they are stored."""
    height, width = raw.shape[:2]
    parts = [raw[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [raw]
    lines = b"".join(b"\0" + _packed(row, depth) for part in parts if part.size for row in part)
    last = header(width, height, depth, colour, 0, 0, int(interlaced))
    return SIGNATURE + last + extra + chunk(b"IDAT", zlib.compress(lines)) + END


def _packed(row: np.ndarray, depth: int) -> bytes:
    if depth >= 8:
        return row.astype(">u2" if depth == 16 else "u1").tobytes()
    bits = row.reshape(-1, 1) >> np.arange(depth - 1, -1, -1) & 1
    return np.packbits(bits.astype(np.uint8).ravel()).tobytes()


def _bad_headers(seed: int) -> Iterator[Case]:
    good = png_of(photo(seed, 33, 17))
    body = good[33:]
    for at in range(8):
        for bit in (0, 7):
            bad = bytearray(good)
            bad[at] ^= 1 << bit
            ends = frozenset({"corrupt", "not_an_image"})
            yield Case(name=f"png-signature/byte{at}-bit{bit}.png", data=bytes(bad), ends=ends)
    for at in range(16, 33):
        bad = bytearray(good)
        bad[at] ^= 0x55
        yield Case(name=f"png-header-crc/byte{at}.png", data=bytes(bad), ends=CORRUPT)
    for depth in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 24, 32):
        for colour in (0, 1, 2, 3, 4, 5, 6, 7, 255):
            if depth not in VALID.get(colour, ()):
                data = SIGNATURE + header(33, 17, depth, colour) + body
                yield Case(name=f"png-depth/{depth}bit-type{colour}.png", data=data, ends=CORRUPT)
    for place, field in enumerate(("compression", "filter", "interlace")):
        for value in (1, 2, 9, 255):
            if (field, value) != ("interlace", 1):
                last = [0, 0, 0]
                last[place] = value
                data = SIGNATURE + header(33, 17, 8, RGB, *last) + body
                yield Case(name=f"png-header/{field}-{value}.png", data=data, ends=CORRUPT)
    for width, height in ((0, 17), (33, 0), (0, 0), (1 << 31, 17), (33, 1 << 31), (0xFFFFFFFF, 1), (0xFFFFFFFF,) * 2):
        ends = CORRUPT if not width * height else frozenset({"corrupt", "too_large"})
        data = SIGNATURE + header(width, height) + body
        yield Case(name=f"png-sizes/{width}x{height}.png", data=data, ends=ends, header_only=True)


def _bad_chunks(seed: int) -> Iterator[Case]:
    pixels = photo(seed, 33, 17)
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)
    packed = zlib.compress(lines)
    head, idat = SIGNATURE + header(33, 17), chunk(b"IDAT", packed)
    filters = b"".join(b"\x07" + row.tobytes() for row in pixels)
    bad = {
        "no-pixels": head + END,
        "empty-pixels": head + chunk(b"IDAT", b"") + END,
        "header-twice": head + header(33, 17) + idat + END,
        "header-late": SIGNATURE + chunk(b"tEXt", b"a\0b") + header(33, 17) + idat + END,
        "header-short": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBB", 33, 17, 8, RGB, 0)) + idat + END,
        "header-long": SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBBB", 33, 17, 8, RGB, 0, 0, 0, 0)) + idat + END,
        "no-header": SIGNATURE + idat + END,
        "pixel-crc": head + idat[:-4] + b"\0\0\0\0" + END,
        "zlib-head": head + chunk(b"IDAT", b"\0\0" + packed[2:]) + END,
        "zlib-method": head + chunk(b"IDAT", b"\x79\x9b" + packed[2:]) + END,
        "zlib-noise": head + chunk(b"IDAT", packed[:2] + b"\xff" * 400) + END,
        "rows-missing": head + chunk(b"IDAT", zlib.compress(lines[: len(lines) // 2])) + END,
        "one-row-missing": head + chunk(b"IDAT", zlib.compress(lines[:-100])) + END,
        "stream-cut": head + chunk(b"IDAT", packed[: len(packed) // 2]) + END,
        "filter": head + chunk(b"IDAT", zlib.compress(filters)) + END,
        "no-palette": SIGNATURE + header(33, 17, 8, PALETTE) + chunk(b"IDAT", zlib.compress(bytes(34 * 17))) + END,
        "palette-late": SIGNATURE + header(33, 17, 8, PALETTE)
        + chunk(b"IDAT", zlib.compress(bytes(34 * 17))) + chunk(b"PLTE", bytes(768)) + END,
        "critical-unknown": head + chunk(b"ABCD", b"what is this?") + idat + END,
    }  # fmt: skip
    for name, data in bad.items():
        yield Case(name=f"png-chunks/{name}.png", data=data, ends=CORRUPT)
    for value in (5, 6, 127, 255):
        rows = bytearray(lines)
        rows[100 * 9] = value
        data = head + chunk(b"IDAT", zlib.compress(bytes(rows))) + END
        yield Case(name=f"png-chunks/filter-{value}.png", data=data, ends=CORRUPT)
    frames = chunk(b"acTL", struct.pack(">II", 2, 0))
    yield Case(name="png-chunks/animated.png", data=head + frames + idat + END, ends=UNSUPPORTED)
    far = chunk(b"tEXt", b"Comment\0" + b"x" * 9000)
    yield Case(name="png-chunks/animated-late.png", data=head + far + frames + idat + END, ends=UNSUPPORTED)
    odd = {
        "split": head + b"".join(chunk(b"IDAT", packed[at : at + 7]) for at in range(0, len(packed), 7)) + END,
        "too-many-rows": head + chunk(b"IDAT", zlib.compress(lines + bytes(1000))) + END,
        "unknown-chunk": head + chunk(b"prVt", b"private") + idat + END,
        "text-crc": head + chunk(b"tEXt", b"a\0b")[:-1] + b"\0" + idat + END,
        "broken-icc": head + chunk(b"iCCP", b"x\0\0" + zlib.compress(b"no profile at all" * 20)) + idat + END,
    }
    for name, data in odd.items():
        yield Case(name=f"png-odd/{name}.png", data=data, ends=GOOD, pixels=pixels)


def _text_mode(seed: int) -> Iterator[Case]:
    """What transfers do to binary files that take them for text."""
    for number in range(3):
        good = png_of(photo(seed + number, 41 + number, 23))
        ways = {
            "to-lf": good.replace(b"\r\n", b"\n"),
            "to-crlf": good.replace(b"\n", b"\r\n"),
            "no-cr": good.replace(b"\r", b""),
            "no-lf": good.replace(b"\n", b""),
            "cr-to-lf": good.replace(b"\r", b"\n"),
            "seven-bits": bytes(byte & 127 for byte in good),
            "utf-8": good.decode("latin-1").encode(),
            "replaced": good.decode("utf-8", "replace").encode(),
        }
        for name, data in ways.items():
            ends = frozenset({"corrupt", "not_an_image"})
            yield Case(name=f"png-text-mode/{name}-{number}.png", data=data, ends=ends)


def _cut(seed: int) -> Iterator[Case]:
    deep = png_of(photo(seed, 60, 40, 4, 16))
    laced = raw_png(photo(seed, 60, 40).astype(np.uint16), 8, RGB, interlaced=True)
    for name, data in (("rgb", png_of(photo(seed, 60, 40))), ("deep", deep), ("adam7", laced)):
        for share in range(4, 100, 6):
            part = data[: max(9, len(data) * share // 100)]
            yield Case(name=f"png-cut/{name}-{share}.png", data=part, ends=CUT)
        for less in (1, 4, 8, 12, 13):
            # Pixels and their checksum are whole when nothing but the end mark is missing; still it is a cut file.
            yield Case(name=f"png-cut/{name}-less{less}.png", data=data[:-less], ends=CUT)


def _giants() -> Iterator[Case]:
    for width, height in ((30_000, 30_000), (1 << 16, 1 << 16), (1_000_000, 1_000), (2_000_000_000, 1), (600, 999_999)):
        packed = chunk(b"IDAT", zlib.compress(bytes(9_999)))
        data = SIGNATURE + header(width, height, 1, GRAY) + packed + END
        yield Case(name=f"png-giants/{width}x{height}.png", data=data, ends=TOO_LARGE, header_only=True)
    yield Case(name="png-giants/deflated.png", data=giant_png(), ends=TOO_LARGE, header_only=True)


def deflated_zeros(size: int) -> bytes:
    """A zlib stream of so many zeros, a multiple of 1 MiB, without deflating them all."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    adler = (size % 65_521) << 16 | 1
    return b"\x78\xda" + block * (size >> 20) + b"\3\0" + struct.pack(">I", adler)


def _bombs(seed: int, size: int = 256 << 20) -> Iterator[Case]:
    """Chunks beside the pixels that inflate to 256 MiB: the picture may be refused or done, never in such memory."""
    pixels = photo(seed, 33, 17)
    head = SIGNATURE + header(33, 17)
    idat = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in pixels)))
    packed = deflated_zeros(size)
    ends = GOOD | DAMAGED
    yield Case(
        name="png-bombs/zTXt.png",
        data=head + chunk(b"zTXt", b"Comment\0\0" + packed) + idat + END,
        ends=ends,
        pixels=pixels,
    )
    international = b"XML:com.adobe.xmp\0\1\0\0\0" + packed
    yield Case(
        name="png-bombs/iTXt.png", data=head + chunk(b"iTXt", international) + idat + END, ends=ends, pixels=pixels
    )
    yield Case(
        name="png-bombs/iCCP.png",
        data=head + chunk(b"iCCP", b"icc\0\0" + packed) + idat + END,
        ends=ends,
        pixels=pixels,
    )
    yield Case(name="png-bombs/IDAT.png", data=head + chunk(b"IDAT", packed) + END, ends=ends, compared=False)
    raw = b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n%8d\n" % (200 << 20) + b"00" * 1000)
    yield Case(name="png-bombs/raw-profile.png", data=head + chunk(b"zTXt", raw) + idat + END, ends=ends, pixels=pixels)
    many = chunk(b"tEXt", b"Comment\0x") * 60_000
    yield Case(name="png-bombs/many-texts.png", data=head + many + idat + END, ends=ends, pixels=pixels)
    long = head + struct.pack(">I", 0x7FFFFFFF) + b"tEXt" + b"Comment\0x" + idat + END
    yield Case(name="png-bombs/endless-text.png", data=long, ends=DAMAGED)
