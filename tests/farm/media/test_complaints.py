"""Damage that a decoder goes on behind is found, in the last rows too."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.complaints import late_complaint
from farm.media.image import ReadLimits, decode, read_header
from farm.media.png_head import read_png_head
from farm.media.tiff_head import read_tiff_size
from tests.pictures import chunk, giant_png, photo, png_of, vips

LIMITS = ReadLimits()


def damaged_in_its_last_rows() -> bytes:
    """A JPEG whose last restart marker has a wrong number."""
    data = vips(photo(1, 120, 90)).jpegsave_buffer(Q=90, restart_interval=4)
    at = max(data.rfind(bytes([0xFF, 0xD0 + n])) for n in range(8))
    return data[: at + 1] + bytes([0xD0 + (data[at + 1] + 3) % 8]) + data[at + 2 :]


def tile_damaged() -> bytes:
    """A tiled TIFF of which the codes of one tile make no sense."""
    data = bytearray(vips(photo(1)).tiffsave_buffer(tile=True, compression="lzw"))
    data[200:400] = bytes(byte ^ 0x5A for byte in data[200:400])
    return bytes(data)


def kind(data: bytes, name: str) -> ErrorKind | None:
    try:
        decode(data, name, LIMITS)
    except ItemError as error:
        return error.kind
    return None


@pytest.mark.parametrize(("data", "name"), [(damaged_in_its_last_rows(), "x.jpg"), (tile_damaged(), "x.tif")])
def test_damage_that_the_decoder_goes_on_behind_is_found_and_salvaged_with_a_mark(data: bytes, name: str) -> None:
    assert kind(data, name) is ErrorKind.CORRUPT
    kept = decode(data, name, ReadLimits(salvage=True))
    assert "what it still holds was kept" in (kept.warning or "")


def test_of_what_libvips_has_noted_the_last_is_of_this_picture_and_one_line() -> None:
    data = damaged_in_its_last_rows()
    for _ in range(2):
        kept = decode(data, "x.jpg", ReadLimits(salvage=True)).warning or ""
        assert kept.startswith("damaged jpg, 1 complaint (VipsJpeg: Corrupt JPEG data: found marker 0x")
        assert "\n" not in kept
    both = ["VIPS: read gave 2 warnings", "VIPS: VipsJpeg: of another\nVipsJpeg: of this one\n"]
    assert late_complaint("jpg", both) == "damaged jpg, 2 complaints (VipsJpeg: of this one)"


def test_what_is_whole_is_salvaged_without_a_mark() -> None:
    data = vips(photo(1)).jpegsave_buffer()
    assert decode(data, "x.jpg", ReadLimits(salvage=True)).warning is None


def test_a_png_without_its_end_is_cut_although_its_pixels_are_there() -> None:
    data = png_of(photo(1))
    for less in (1, 4, 8, 12):
        assert kind(data[:-less], "x.png") is ErrorKind.TRUNCATED
    kept = decode(data[:-12], "x.png", ReadLimits(salvage=True))
    np.testing.assert_array_equal(kept.pixels, photo(1))
    assert "cut" in (kept.warning or "")


def test_an_animation_is_one_however_far_its_mark_stands_from_the_start() -> None:
    data = png_of(photo(1))
    far = chunk(b"tEXt", b"Comment\0" + b"x" * 9000) + chunk(b"acTL", bytes(3) + b"\2" + bytes(4))
    assert kind(data[:33] + far + data[33:], "x.png") is ErrorKind.UNSUPPORTED
    head = read_png_head(io.BytesIO(data[:33] + far + data[33:]))
    assert head is not None
    assert head.frames == 2


def test_a_profile_that_libpng_drops_is_told() -> None:
    data = png_of(photo(1))
    broken = data[:33] + chunk(b"iCCP", b"x\0\0no zlib stream") + data[33:]
    assert "profile dropped" in (decode(broken, "x.png", LIMITS).warning or "")


def test_a_gif_whose_frames_do_not_fill_its_screen_says_so() -> None:
    data = vips(photo(1)).gifsave_buffer()
    other = data[:6] + (640).to_bytes(2, "little") + (480).to_bytes(2, "little") + data[10:]
    assert "its screen is 640x480" in (decode(other, "x.gif", LIMITS).warning or "")
    giant = data[:6] + b"\xff\xff\xff\xff" + data[10:]
    assert kind(giant, "x.gif") is ErrorKind.TOO_LARGE


@pytest.mark.parametrize("place", [1 << 62, (1 << 63) + 8, (1 << 64) - 1])
def test_places_that_no_file_has_are_damage_of_the_picture_and_no_error_of_the_disk(tmp_path: Path, place: int) -> None:
    path = tmp_path / "x.tif"
    path.write_bytes(b"II+\0\10\0\0\0" + place.to_bytes(8, "little") + bytes(400))
    with path.open("rb") as file, pytest.raises(ItemError) as caught:
        read_header(file, "x.tif", LIMITS)
    assert caught.value.kind is ErrorKind.TRUNCATED
    assert kind(path.read_bytes(), "x.tif") is ErrorKind.TRUNCATED


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"tile": True}])
def test_the_size_of_a_tiff_is_read_from_its_first_directory(options: dict[str, bool]) -> None:
    assert read_tiff_size(io.BytesIO(vips(photo(1, 70, 50)).tiffsave_buffer(**options))) == (70, 50)
    for length in (4, 9, 15, 40):
        assert read_tiff_size(io.BytesIO(b"II*\0\xff\xff\xff\x7f".ljust(length, b"\0"))) is None


def test_a_jpeg_of_sides_that_libjpeg_does_not_hold_is_too_large() -> None:
    data = vips(photo(1)).jpegsave_buffer()
    at = data.index(b"\xff\xc0") + 5
    with pytest.raises(ItemError) as caught:
        read_header(data[:at] + b"\xff" * 4 + data[at + 4 :], "x.jpg", LIMITS)
    assert caught.value.kind is ErrorKind.TOO_LARGE
    assert kind(giant_png(), "x.png") is ErrorKind.TOO_LARGE
