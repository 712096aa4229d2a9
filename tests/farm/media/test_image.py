"""What goes in comes out: pixels at their depth and upright, and everything that travels beside them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import pyvips

from farm.errors import ErrorKind, ItemError
from farm.media.image import (
    FORMAT_LIMITS,
    NAMESPACE,
    EncodeSpec,
    ImageMeta,
    ReadLimits,
    check_fits,
    decode,
    decode_rows,
    encode,
    format_of,
    read_header,
)
from farm.media.vips import OpenSource
from tests.outside import real_picture
from tests.pictures import GoodPicture, chunk, good_pictures, photo, png_of, vips

LIMITS = ReadLimits()
GOOD = {picture.name: picture for picture in good_pictures()}
STAMP = {"model": "x4plus", "model_sha256": "4fa0d38", "parameters": 'a="1" & <b>', "version": "0.1.0"}
XMP = (
    '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
    '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" '
    'tiff:Orientation="6" tiff:ImageWidth="96"><dc:rights>Anna &amp; Co</dc:rights></rdf:Description>'
    '</rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
).encode()


def reread(data: bytes, name: str) -> pyvips.Image:
    """The file as another reader sees it, with all its metadata."""
    return pyvips.Image.new_from_buffer(data, "", access="random")


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_the_calling_thread_alone_gives_the_same(good: GoodPicture) -> None:
    whole, alone = decode(good.data, good.name, LIMITS), decode(good.data, good.name, LIMITS, alone=True)
    assert alone.pixels.dtype == whole.pixels.dtype
    assert np.array_equal(alone.pixels, whole.pixels)
    assert (alone.header, alone.meta, alone.warning) == (whole.header, whole.meta, whole.warning)


def test_a_forked_child_reads_pictures_once_libvips_threads_have_ended() -> None:
    """In a process of its own: a child that is forked at once may wait for ever."""
    code = """
import os, signal
from farm.media.image import ReadLimits, decode
from farm.media.vips import let_threads_end
from tests.pictures import photo, vips
data = vips(photo(1)).webpsave_buffer()
first = decode(data, "a.webp", ReadLimits()).pixels
let_threads_end()
if (child := os.fork()) == 0:
    signal.alarm(20)
    os._exit(0 if (decode(data, "a.webp", ReadLimits()).pixels == first).all() else 1)
raise SystemExit(os.waitpid(child, 0)[1])
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_every_good_picture_is_read(good: GoodPicture) -> None:
    picture = decode(good.data, good.name, LIMITS)
    header = picture.header
    assert picture.pixels.shape == good.shape == (header.height, header.width, header.bands)
    assert picture.pixels.dtype == (np.uint16 if good.depth == 16 else np.uint8)
    assert (header.depth, header.gray, header.has_alpha) == (good.depth, good.shape[2] < 3, good.shape[2] in (2, 4))
    assert picture.pixels.flags.c_contiguous
    assert picture.warning is None
    assert read_header(io.BytesIO(good.data), good.name, LIMITS) == header


@pytest.mark.parametrize("good", GOOD.values(), ids=GOOD)
def test_rows_are_those_of_the_whole_picture(good: GoodPicture) -> None:
    whole = decode(good.data, good.name, LIMITS)
    for y0, y1 in {(0, 1), (good.shape[0] // 3, good.shape[0] // 3 * 2 + 1), (good.shape[0] - 1, good.shape[0])}:
        rows = decode_rows(io.BytesIO(good.data), good.name, LIMITS, y0, y1)
        np.testing.assert_array_equal(rows.pixels, whole.pixels[y0:y1])
        assert (rows.header, rows.meta) == (whole.header, whole.meta)


@pytest.mark.parametrize("name", ["rgb-16.png", "gray-16.png", "gray-alpha-16.png", "alpha-16.png"])
def test_sixteen_bits_stay_sixteen_bits(name: str) -> None:
    bands = GOOD[name].shape[2]
    pixels = decode(GOOD[name].data, name, LIMITS).pixels
    np.testing.assert_array_equal(pixels, photo(1, bands=bands, depth=16))
    dark = np.full((5, 7, bands), 3, np.uint16)  # decided by type, not by the largest value
    assert decode(png_of(dark), name, LIMITS).pixels.dtype == np.uint16


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "tif", "png"])
def test_orientation_is_applied_once_and_reset(orientation: int, suffix: str) -> None:
    pixels = photo(5, 48, 32)
    image = vips(pixels)
    image.set_type(pyvips.GValue.gint_type, "orientation", orientation)
    data: bytes = image.write_to_buffer(f".{suffix}", **({"Q": 100} if suffix == "jpg" else {}))
    expected = pyvips.Image.new_from_buffer(data, "").autorot().numpy()
    picture = decode(data, f"a.{suffix}", LIMITS)
    np.testing.assert_array_equal(picture.pixels, expected)
    assert picture.header.orientation == orientation
    assert (picture.header.height, picture.header.width) == expected.shape[:2]
    rows = decode_rows(data, f"a.{suffix}", LIMITS, 7, 20)
    np.testing.assert_array_equal(rows.pixels, expected[7:20])
    for target in ("jpg", "png", "webp", "tiff", "avif"):
        out = reread(encode(picture.pixels, picture.meta, EncodeSpec(format=target), "o"), target)
        assert (out.get("orientation") if out.get_typeof("orientation") else 1) == 1
        assert (out.width, out.height) == (picture.header.width, picture.header.height)


@pytest.mark.parametrize("file_format", ["png", "tiff"])
@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_lossless_formats_give_back_every_sample(file_format: str, depth: int, bands: int) -> None:
    pixels = photo(7, bands=bands, depth=depth)
    data = encode(pixels, ImageMeta(), EncodeSpec(format=file_format), "o")
    back = decode(data, "o." + file_format, LIMITS)
    np.testing.assert_array_equal(back.pixels, pixels)
    assert back.pixels.dtype == pixels.dtype


@pytest.mark.parametrize("file_format", ["webp", "avif"])
@pytest.mark.parametrize("bands", [3, 4])
def test_quality_100_is_lossless_where_the_format_can(file_format: str, bands: int) -> None:
    pixels = photo(7, bands=bands)
    back = decode(encode(pixels, ImageMeta(), EncodeSpec(format=file_format, quality=100), "o"), "o", LIMITS)
    np.testing.assert_array_equal(back.pixels, pixels)


@pytest.mark.parametrize(("file_format", "bands"), [("jpg", 1), ("jpg", 3), ("webp", 3), ("webp", 4), ("avif", 4)])
def test_lossy_formats_stay_close(file_format: str, bands: int) -> None:
    x, y = np.meshgrid(np.linspace(0, 200, 96), np.linspace(0, 50, 64))
    pixels = np.repeat((x + y)[..., None], bands, axis=2).astype(np.uint8)
    if bands == 4:
        pixels[..., 3] = 255 - pixels[..., 3] // 4  # colour under what is nearly clear may go
    back = decode(encode(pixels, ImageMeta(), EncodeSpec(format=file_format), "o"), "o", LIMITS).pixels
    assert back.shape == pixels.shape
    assert np.abs(back.astype(int) - pixels).max() <= 6


def test_pixels_that_are_a_view_are_encoded_as_they_look() -> None:
    pixels = photo(7)[::-1, ::2]
    back = decode(encode(pixels, ImageMeta(), EncodeSpec(format="png"), "o"), "o", LIMITS).pixels
    np.testing.assert_array_equal(back, pixels)


@pytest.mark.parametrize("file_format", ["jpg", "webp"])
def test_sixteen_bits_are_rounded_for_formats_of_eight(file_format: str) -> None:
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    data = encode(ramp, ImageMeta(), EncodeSpec(format=file_format, quality=100), "o")
    back = decode(data, "o", LIMITS).pixels[..., 0].astype(int)
    assert np.abs(back - np.rint(ramp[..., 0] / 257)).max() <= (0 if file_format == "webp" else 1)


def test_avif_holds_twelve_bits_of_sixteen() -> None:
    deep = photo(7, depth=16)
    back = decode(encode(deep, ImageMeta(), EncodeSpec(format="avif", quality=95), "o"), "o.avif", LIMITS)
    assert back.header.depth == 16


def test_transparency_is_never_lost_in_silence() -> None:
    pixels = photo(7, bands=4)
    with pytest.raises(ItemError, match="transparent pixels") as caught:
        encode(pixels, ImageMeta(), EncodeSpec(format="jpg"), "o.jpg")
    assert caught.value.kind is ErrorKind.UNSUPPORTED
    pixels[..., 3] = 255
    assert decode(encode(pixels, ImageMeta(), EncodeSpec(format="jpg"), "o.jpg"), "o.jpg", LIMITS).header.bands == 3


def test_colours_of_cmyk_and_lab_become_srgb() -> None:
    red = np.zeros((8, 8, 4), np.uint8)
    red[..., 1:3] = 255  # full magenta and yellow
    data = vips(red).copy(interpretation="cmyk").jpegsave_buffer(Q=100)
    r, g, b = decode(data, "red.jpg", LIMITS).pixels[4, 4]
    assert r > 200 > 80 > max(g, b)
    ink = vips(np.full((8, 8, 4), 255, np.uint8)).copy(interpretation="cmyk").jpegsave_buffer(Q=100)
    assert decode(ink, "ink.jpg", LIMITS).pixels.mean() <= 10
    rgb = photo(9)
    lab = decode(vips(rgb).colourspace("labs").tiffsave_buffer(), "lab.tif", LIMITS)
    assert np.abs(lab.pixels / 256 - rgb).max() <= 1
    assert lab.meta.icc is None


def test_palette_and_bilevel_have_the_values_of_their_pixels() -> None:
    for name in ("palette.png", "palette-trns.png", "bilevel.png", "two-bit.png", "keyed.png", "bilevel.tif"):
        expected = pyvips.Image.new_from_buffer(GOOD[name].data, "").numpy()
        pixels = decode(GOOD[name].data, name, LIMITS).pixels
        np.testing.assert_array_equal(pixels, expected.reshape(pixels.shape))
    bilevel = decode(GOOD["bilevel.png"].data, "b.png", LIMITS).pixels
    assert set(np.unique(bilevel)) == {0, 255}
    clear = decode(GOOD["palette-trns.png"].data, "p.png", LIMITS).pixels
    assert set(np.unique(clear[..., 3])) == {0, 0x80, 255}


def test_content_decides_and_a_wrong_name_is_a_warning() -> None:
    picture = decode(GOOD["rgb.png"].data, "holiday.JPG", LIMITS)
    assert picture.header.format == "png"
    assert picture.warning == "named .jpg but holds png"
    assert decode(GOOD["rgb.jpg"].data, "s3://b/a%20b/x.JPEG", LIMITS).warning is None


def sample_meta() -> ImageMeta:
    """Metadata of every kind, as a source would give it."""
    image = vips(photo(5)).copy(xres=11.811, yres=11.811)  # 300 dpi
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd0-Artist", "Anna (Anna, ASCII, 5 components, 5 bytes)")
    image.set_type(pyvips.GValue.gstr_type, "exif-ifd2-PixelXDimension", "9 (9, Long, 1 components, 4 bytes)")
    image.set_type(pyvips.GValue.gint_type, "orientation", 6)
    image.set_type(pyvips.GValue.blob_type, "xmp-data", XMP)
    data: bytes = image.jpegsave_buffer(profile="srgb")
    return decode(data, "a.jpg", LIMITS).meta


@pytest.mark.parametrize("file_format", ["png", "jpg", "webp", "tiff", "avif"])
def test_profile_exif_xmp_and_resolution_travel(file_format: str) -> None:
    meta = sample_meta()
    assert meta.icc is not None
    assert meta.exif is not None
    assert meta.xres == pytest.approx(11.811, abs=0.01)
    out = reread(encode(photo(6, 200, 100), meta, EncodeSpec(format=file_format, stamp=STAMP), "o"), file_format)
    assert out.get("icc-profile-data") == meta.icc
    xmp = bytes(out.get("xmp-data")).decode()
    assert "<dc:rights>Anna &amp; Co</dc:rights>" in xmp
    assert 'tiff:Orientation="1"' in xmp
    assert 'tiff:ImageWidth="200"' in xmp
    assert f'xmlns:farm="{NAMESPACE}"' in xmp
    if file_format != "tiff":  # libvips writes no EXIF directory into TIFF
        assert str(out.get("exif-ifd0-Artist")).startswith("Anna")
        assert str(out.get("exif-ifd2-PixelXDimension")).startswith("200 ")
        if file_format != "avif":  # there the container turns, and libvips takes the tag out
            assert str(out.get("exif-ifd0-Orientation")).startswith("1 ")
        assert str(out.get("exif-ifd0-XResolution")).startswith(("300", "299", "7680"))
    if file_format not in ("webp", "avif"):
        assert out.xres == pytest.approx(11.811, abs=0.01)


def test_a_broken_or_foreign_profile_is_dropped_with_a_warning() -> None:
    meta = sample_meta()
    good = encode(photo(5), meta, EncodeSpec(format="tiff"), "g")
    assert decode(good, "g.tif", LIMITS).meta.icc == meta.icc
    broken = {b"acsp": "not an ICC profile", b"RGB XYZ ": "made for GRAY, not for RGB"}
    for mark, words in broken.items():
        bad = good.replace(mark, b"GRAYXYZ " if mark != b"acsp" else b"xxxx")
        picture = decode(bad, "g.tif", LIMITS)
        assert picture.meta.icc is None
        assert picture.warning == f"colour profile dropped: {words}"


def test_the_stamp_says_what_made_the_file_once() -> None:
    first = encode(photo(6), ImageMeta(), EncodeSpec(format="png", stamp=STAMP), "o")
    meta = decode(first, "o.png", LIMITS).meta
    again = encode(photo(6), meta, EncodeSpec(format="png", stamp={**STAMP, "model": "x2plus"}), "o")
    xmp = bytes(reread(again, "png").get("xmp-data")).decode()
    assert xmp.count(NAMESPACE) == 1
    assert 'farm:model="x2plus"' in xmp
    assert re.search(r"farm:parameters='a=\"1\" &amp; &lt;b&gt;'", xmp)


@pytest.mark.parametrize("packet", [b"", b"<x", b"\xff\xfe\0", b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', b"<a/>"])
def test_a_broken_packet_gives_way_to_the_stamp(packet: bytes) -> None:
    out = encode(photo(6), ImageMeta(xmp=packet), EncodeSpec(format="png", stamp=STAMP), "o")
    xmp = bytes(reread(out, "png").get("xmp-data"))
    assert b'farm:model="x4plus"' in xmp
    assert b"ENTITY" not in xmp


def test_nothing_is_written_beside_the_pixels_unless_asked() -> None:
    out = reread(encode(photo(6), ImageMeta(), EncodeSpec(format="png"), "o"), "png")
    assert not [name for name in out.get_fields() if "exif" in name or "xmp" in name or "icc" in name]


def test_rubbish_in_exif_does_not_stop_the_picture() -> None:
    for exif in (b"", b"rubbish", b"Exif\0\0II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\xff\xff"):
        assert encode(photo(6), ImageMeta(exif=exif), EncodeSpec(format="jpg"), "o")


def test_metadata_too_large_for_a_jpeg_does_not_stop_the_picture() -> None:
    xmp = XMP.replace(b"Anna", b"A" * 90_000)
    assert encode(photo(6), ImageMeta(xmp=xmp), EncodeSpec(format="jpg", stamp=STAMP), "o")


def test_bytes_behind_the_picture_do_not_survive() -> None:
    for name in ("rgb.png", "rgb.jpg", "rgb.gif", "rgb.webp"):
        picture = decode(GOOD[name].data + b"PK\x03\x04 <script>", name, LIMITS)
        for target in ("png", "jpg", "webp", "tiff", "avif"):
            assert b"<script>" not in encode(picture.pixels, picture.meta, EncodeSpec(format=target), "o")
    hidden = png_of(photo(1)).replace(b"IDAT", b"IDAT", 1)
    at = hidden.index(b"IDAT") - 4
    picture = decode(hidden[:at] + chunk(b"prVt", b"<script>") + hidden[at:], "a.png", LIMITS)
    assert b"<script>" not in encode(picture.pixels, picture.meta, EncodeSpec(format="png"), "o")


def test_sizes_that_a_format_cannot_hold_are_known_without_encoding() -> None:
    for file_format, limit in FORMAT_LIMITS.items():
        assert check_fits(file_format, limit, 1) is None
        assert file_format in (check_fits(file_format, 1, limit + 1) or "")
    assert check_fits("bmp", 1, 1) == "bmp cannot be written"
    with pytest.raises(ItemError, match="16383"):
        encode(np.zeros((1, 16_384, 3), np.uint8), ImageMeta(), EncodeSpec(format="webp"), "o")
    for file_format in ("webp", "jpg"):
        wide = np.zeros((1, FORMAT_LIMITS[file_format], 1), np.uint8)
        assert encode(wide, ImageMeta(), EncodeSpec(format=file_format), "o")


def test_formats_are_known_by_extension() -> None:
    known = {"a.JPG": "jpg", "b.c/d.tif": "tiff", "s3://b/k.webp": "webp", "x.gif": "gif", "noext": None, "a.b/c": None}
    assert {url: format_of(url) for url in known} == known


def test_a_missing_codec_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("farm.media.load._LOADERS", {"avif": "noload_source"})
    with pytest.raises(ItemError, match="built without AVIF") as caught:
        decode(GOOD["rgb.avif"].data, "a.avif", LIMITS)
    assert caught.value.kind is ErrorKind.UNSUPPORTED


def test_libvips_runs_on_one_thread_without_caches() -> None:
    assert pyvips.voperation.concurrency_get() == int(os.environ.get("VIPS_CONCURRENCY", "1"))
    assert pyvips.cache_get_max() == 0
    assert OpenSource(b"").file().read() == b""


@pytest.mark.parametrize(
    ("name", "shape", "depth"),
    [
        ("exif_orientation_6.jpg", (1800, 1200, 3), 8),
        ("cmyk.jpg", (100, 100, 3), 8),
        ("hopper.iccprofile.tif", (128, 128, 3), 8),
        ("tiff_16bit_RGB.tiff", (40, 100, 3), 16),
        ("tree_alpha_16bit.png", (256, 342, 4), 16),
        ("children-alpha.png", (350, 566, 4), 8),
        ("00017_gray.png", (351, 500, 1), 8),
    ],
)
def test_real_pictures_keep_what_they_are(name: str, shape: tuple[int, int, int], depth: int) -> None:
    with real_picture(name).open("rb") as file:
        picture = decode(file, name, LIMITS)
        assert picture.pixels.shape == shape
        assert picture.header.depth == depth
        rows = decode_rows(file, name, LIMITS, 11, 29)
    np.testing.assert_array_equal(rows.pixels, picture.pixels[11:29])
    back = decode(encode(picture.pixels, picture.meta, EncodeSpec(format="tiff", stamp=STAMP), "o"), "o.tif", LIMITS)
    np.testing.assert_array_equal(back.pixels, picture.pixels)
    assert back.meta.icc == picture.meta.icc


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("gif", "take the first with --pages first, or all of them with --pages animation"),
        ("webp", "take the first with --pages first, or all of them with --pages animation"),
        ("tiff", "take the first with --pages first"),
    ],
)
def test_several_frames_are_refused_with_every_way_to_take_them(kind: str, said: str) -> None:
    frames = pyvips.Image.gaussnoise(32, 96, mean=128).cast("uchar").bandjoin([100, 90])
    data = frames.copy(interpretation="srgb").write_to_buffer(f".{kind}", page_height=32)
    with pytest.raises(ItemError) as refused:
        decode(data, f"three.{kind}", ReadLimits())
    assert str(refused.value).endswith(f"3 pages or frames; {said}")
