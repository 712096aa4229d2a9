"""TIFF: kinds that are read, kinds that are refused, and directories that lie (TIFF 6.0)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping

import numpy as np

from tests.corpus.case import CUT, DAMAGED, GOOD, TOO_LARGE, UNSUPPORTED, Case
from tests.corpus.png import deflated_zeros
from tests.pictures import photo, vips

SHORT, LONG, UNDEFINED = 3, 4, 7
_WIDTHS = {1: "B", SHORT: "H", LONG: "I", UNDEFINED: "B", 16: "Q"}
WIDTH, HEIGHT = 24, 10

Tags = Mapping[int, tuple[int, tuple[int, ...]]]
"""tag -> type and values"""


def tiff(tags: Tags, strip: bytes, *, following: int = 0, count: int | None = None, order: str = "<") -> bytes:
    """One directory at byte 8, what does not fit into it, and the strip at the end.

    Args:
        following: offset of the next directory.
        count: how many entries the directory says it has.
    """
    size = 2 + 12 * len(tags) + 4
    beyond, entries = b"", []
    for tag, (kind, values) in sorted(tags.items()):
        packed = struct.pack(order + str(len(values)) + _WIDTHS[kind], *values)
        if len(packed) > 4:
            entries.append((tag, kind, len(values), struct.pack(order + "I", 8 + size + len(beyond))))
            beyond += packed
        else:
            entries.append((tag, kind, len(values), packed.ljust(4, b"\0")))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    made = struct.pack(order + "H", len(tags) if count is None else count)
    for tag, kind, number, value in entries:
        at = struct.pack(order + "I", 8 + size + len(beyond)) if tag == 273 and number == 1 else value
        made += struct.pack(order + "HHI", tag, kind, number) + at
    return head + made + struct.pack(order + "I", following) + beyond + strip


def base(
    bands: int = 3, depth: int = 8, **changed: tuple[int, tuple[int, ...]]
) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Tags of an uncompressed picture; `changed` by t and the tag's number."""
    tags = {
        256: (SHORT, (WIDTH,)),
        257: (SHORT, (HEIGHT,)),
        258: (SHORT, (depth,) * bands),
        259: (SHORT, (1,)),
        262: (SHORT, (2 if bands >= 3 else 1,)),
        273: (LONG, (0,)),
        277: (SHORT, (bands,)),
        278: (SHORT, (HEIGHT,)),
        279: (LONG, (WIDTH * HEIGHT * bands * depth // 8,)),
    }
    return tags | {int(name[1:]): value for name, value in changed.items()}


def tiffs(seed: int) -> Iterator[Case]:
    """All of this file."""
    yield from _kinds(seed)
    yield from _refused(seed)
    yield from _lying(seed)
    yield from _cut(seed)
    yield from _giants(seed)


def _kinds(seed: int) -> Iterator[Case]:
    rgb, deep = photo(seed, WIDTH, HEIGHT), photo(seed, WIDTH, HEIGHT, depth=16)
    gray = photo(seed, WIDTH, HEIGHT, bands=1)
    made = {
        "little": (tiff(base(), rgb.tobytes()), rgb),
        "big-endian": (tiff(base(), rgb.tobytes(), order=">"), rgb),
        "gray": (tiff(base(1), gray.tobytes()), gray),
        "white-is-0": (tiff(base(1, t262=(SHORT, (0,))), gray.tobytes()), 255 - gray),
        "deep": (tiff(base(3, 16), deep.tobytes()), deep),
        "deep-big-endian": (tiff(base(3, 16), deep.astype(">u2").tobytes(), order=">"), deep),
        "deflate": (vips(rgb).tiffsave_buffer(compression="deflate", predictor="horizontal"), rgb),
        "lzw": (vips(rgb).tiffsave_buffer(compression="lzw"), rgb),
        "packbits": (vips(rgb).tiffsave_buffer(compression="packbits"), rgb),
        "tiled": (vips(rgb).tiffsave_buffer(tile=True, tile_width=16, tile_height=16), rgb),
        "bigtiff": (vips(deep).tiffsave_buffer(bigtiff=True), deep),
    }
    planar = b"".join(rgb[..., band].tobytes() for band in range(3))
    sizes = (LONG, (WIDTH * HEIGHT,) * 3)
    start = len(tiff(base(t273=(LONG, (0,) * 3), t279=sizes, t284=(SHORT, (2,))), b""))
    offsets = (LONG, tuple(start + WIDTH * HEIGHT * band for band in range(3)))
    made["planar"] = (tiff(base(t273=offsets, t279=sizes, t284=(SHORT, (2,))), planar), rgb)
    bits = np.random.default_rng(seed).integers(0, 2, (HEIGHT, WIDTH, 1)).astype(np.uint8)
    one = base(1, t258=(SHORT, (1,)), t279=(LONG, (WIDTH * HEIGHT // 8,)))
    made["bilevel"] = (tiff(one, np.packbits(bits[..., 0], axis=1).tobytes()), bits * 255)
    for name, (data, pixels) in made.items():
        yield Case(name=f"tiff-kinds/{name}.tif", data=data, ends=GOOD, pixels=pixels)
    lab = vips(photo(seed)).colourspace("labs").tiffsave_buffer()
    yield Case(name="tiff-lab/labs.tif", data=lab, ends=GOOD)
    eight = vips(photo(seed)).colourspace("lab").cast("char").copy(interpretation="lab").tiffsave_buffer()
    yield Case(name="tiff-lab/lab-8.tif", data=eight, ends=GOOD | UNSUPPORTED)


def _refused(seed: int) -> Iterator[Case]:
    image = vips(photo(seed))
    frames = vips(photo(seed, 96, 128))
    files = {
        "float": image.cast("float").tiffsave_buffer(),
        "half": tiff(base(3, 16, t339=(SHORT, (3, 3, 3))), bytes(WIDTH * HEIGHT * 6)),
        "double": image.cast("double").tiffsave_buffer(),
        "complex": image.extract_band(0).cast("complex").tiffsave_buffer(),
        "int32": image.cast("uint").tiffsave_buffer(),
        "signed8": image.cast("char").tiffsave_buffer(),
        "signed16": image.cast("short").tiffsave_buffer(),
        "float-lab": image.colourspace("lab").tiffsave_buffer(),
        "five-bands": image.bandjoin([1, 2]).tiffsave_buffer(),
        "pages": frames.tiffsave_buffer(page_height=64),
        "compression": tiff(base(t259=(SHORT, (65_000,))), photo(seed, WIDTH, HEIGHT).tobytes()),
        "jbig": tiff(base(1, t258=(SHORT, (1,)), t259=(SHORT, (34_661,))), bytes(WIDTH * HEIGHT)),
        "photometric": tiff(base(t262=(SHORT, (999,))), photo(seed, WIDTH, HEIGHT).tobytes()),
    }
    for name, data in files.items():
        yield Case(name=f"tiff-refused/{name}.tif", data=data, ends=UNSUPPORTED)
    for depth in (3, 5, 6, 7, 10, 12, 14, 24):
        data = tiff(base(3, depth), bytes(WIDTH * HEIGHT * 12))
        yield Case(name=f"tiff-depth/{depth}bit.tif", data=data, ends=UNSUPPORTED)


def _lying(seed: int) -> Iterator[Case]:
    rgb = photo(seed, WIDTH, HEIGHT).tobytes()
    whole = tiff(base(), rgb)
    bad = {
        "no-directory": b"II*\0" + bytes(4),
        "directory-beyond": b"II*\0" + struct.pack("<I", 0x7FFFFFFF) + rgb,
        "directory-in-head": b"II*\0" + struct.pack("<I", 4) + rgb,
        "no-entries": tiff(base(), rgb, count=0),
        "many-entries": tiff(base(), rgb, count=65_535),
        "width-0": tiff(base(t256=(SHORT, (0,))), rgb),
        "height-0": tiff(base(t257=(SHORT, (0,))), rgb),
        "bands-0": tiff(base(t277=(SHORT, (0,))), rgb),
        "depth-0": tiff(base(t258=(SHORT, (0, 0, 0))), rgb),
        "no-strips": tiff({tag: value for tag, value in base().items() if tag not in (273, 279)}, rgb),
        "strip-short": tiff(base(t279=(LONG, (100,))), rgb[:100]),
        "deflate-noise": tiff(base(t259=(SHORT, (8,))), rgb),
        "lzw-noise": tiff(base(t259=(SHORT, (5,))), rgb),
        "jpeg-noise": tiff(base(t259=(SHORT, (7,))), rgb),
        "fax-noise": tiff(base(1, t258=(SHORT, (1,)), t259=(SHORT, (4,))), rgb),
        "big-beyond": b"II+\0\10\0\0\0" + struct.pack("<Q", 1 << 62) + rgb,
        "big-nowhere": b"II+\0\10\0\0\0" + b"\xff" * 8 + rgb,
        "samples-65535": tiff(base(t277=(SHORT, (65_535,))), rgb),
        "text-mode": tiff(base(), bytes(range(256)) * 3).replace(b"\n", b"\r\n"),
    }
    for name, data in bad.items():
        ends = DAMAGED | UNSUPPORTED | TOO_LARGE | (GOOD if name in ("fax-noise", "text-mode") else frozenset[str]())
        yield Case(name=f"tiff-lying/{name}.tif", data=data, ends=ends)
    odd = {
        "strip-beyond": tiff(base(t279=(LONG, (1 << 30,))), rgb),  # all that is needed is there
        "strip-giant": tiff(base(t279=(LONG, (0xFFFFFFFF,))), rgb),
        "loop": tiff(base(), rgb, following=8),
        "next-beyond": tiff(base(), rgb, following=0x7FFFFFF0),
        "sub-loop": tiff(base(t330=(LONG, (8,))), rgb),
        "sub-loops": tiff(base(t330=(LONG, (8,) * 2000)), rgb),
        "exif-loop": tiff(base(t34665=(LONG, (8,))), rgb),
        "exif-beyond": tiff(base(t34665=(LONG, (0x7FFFFFF0,))), rgb),
        "tag-giant": _giant_tag(whole, 0xFFFFFFFF),
        "tag-64mb": _giant_tag(whole, 1 << 26),
        "rows-a-strip-0": tiff(base(t278=(LONG, (0,))), rgb),
        "rows-a-strip-giant": tiff(base(t278=(LONG, (0xFFFFFFFF,))), rgb),
    }
    for name, data in odd.items():
        ends = GOOD | DAMAGED | UNSUPPORTED
        yield Case(name=f"tiff-odd/{name}.tif", data=data, ends=ends, pixels=photo(seed, WIDTH, HEIGHT))


def _giant_tag(whole: bytes, count: int) -> bytes:
    """The last entry becomes an ICC profile of so many bytes, of which none is there."""
    at = 8 + 2 + 12 * 8
    extra = struct.pack("<HHII", 34_675, UNDEFINED, count, 100)
    return whole[: at + 12] + extra + whole[at + 12 :]


def _cut(seed: int) -> Iterator[Case]:
    for name, options in (("plain", {}), ("deflate", {"compression": "deflate"}), ("tiled", {"tile": True})):
        data = vips(photo(seed, 200, 150)).tiffsave_buffer(**options)
        for share in (1, 5, 15, 30, 45, 60, 75, 90):
            part = data[: max(8, len(data) * share // 100)]
            yield Case(name=f"tiff-cut/{name}-{share}.tif", data=part, ends=CUT)


def _giants(seed: int) -> Iterator[Case]:
    for width, height in ((30_000, 30_000), (1 << 31, 1), (0xFFFFFFFF, 0xFFFFFFFF), (1, 0x7FFFFFFF)):
        tags = base(t256=(LONG, (width,)), t257=(LONG, (height,)), t278=(LONG, (height,)))
        data = tiff(tags, photo(seed, WIDTH, HEIGHT).tobytes())
        ends = TOO_LARGE | DAMAGED | UNSUPPORTED
        yield Case(name=f"tiff-giants/{width}x{height}.tif", data=data, ends=ends, header_only=True)
    packed = deflated_zeros(400 << 20)
    for name, compression, rows in (("one-strip", 8, 20_000), ("one-row", 8, 1)):
        tags = base(1, t256=(LONG, (20_000,)), t257=(LONG, (20_000,)), t259=(SHORT, (compression,)))
        tags |= {278: (LONG, (rows,)), 279: (LONG, (len(packed),))}
        # 400 million pixels of one strip, below the limit of pixels: done or refused, in the memory it needs.
        yield Case(
            name=f"tiff-hollow/{name}.tif", data=tiff(tags, packed), ends=GOOD | DAMAGED | UNSUPPORTED, memory_mb=900
        )
