"""Bad pictures are refused with their class, before they cost anything, and never crash or hang."""

from __future__ import annotations

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from farm.errors import ErrorKind, ItemError
from farm.media.image import ReadLimits, decode, decode_rows, read_header
from tests.memory import forget_peak, peak_bytes
from tests.pictures import (
    BadPicture,
    bad_pictures,
    flipped,
    giant_png,
    good_pictures,
    photo,
    png_of,
    vips,
)

LIMITS = ReadLimits()
BAD = {picture.name: picture for picture in bad_pictures()}
GOOD = {picture.name: picture for picture in good_pictures()}


def kind_of(data: bytes, name: str = "x.png", limits: ReadLimits = LIMITS) -> ErrorKind | None:
    """The class a file is refused with, or None; the same when the calling thread decodes alone."""
    together, alone = (_kind_of(data, name, limits, alone=alone) for alone in (False, True))
    assert together is alone
    return together


def _kind_of(data: bytes, name: str, limits: ReadLimits, *, alone: bool) -> ErrorKind | None:
    try:
        decode(data, name, limits, alone=alone)
    except ItemError as error:
        return error.kind if str(error).startswith(f"{error.kind.value}: {name}: ") else None
    return None


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_every_bad_picture_has_its_class(bad: BadPicture) -> None:
    assert kind_of(bad.data, bad.name) is bad.kind


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
def test_a_file_object_is_refused_like_bytes(bad: BadPicture) -> None:
    with pytest.raises(ItemError) as caught:
        decode(io.BytesIO(bad.data), bad.name, LIMITS)
    assert caught.value.kind is bad.kind


def test_ten_and_more_kinds_of_bad_pictures_cover_the_classes() -> None:
    kinds = {bad.kind for bad in BAD.values()}
    assert len(BAD) >= 30
    assert kinds == {
        ErrorKind.EMPTY_INPUT,
        ErrorKind.NOT_AN_IMAGE,
        ErrorKind.TRUNCATED,
        ErrorKind.CORRUPT,
        ErrorKind.TOO_LARGE,
        ErrorKind.UNSUPPORTED,
    }


def test_a_giant_is_refused_from_its_header() -> None:
    data = giant_png()
    assert len(data) < 150_000
    before = forget_peak()
    start = time.process_time()
    assert kind_of(data) is ErrorKind.TOO_LARGE
    assert time.process_time() - start < 0.05
    assert peak_bytes() - before < 50_000_000


def test_the_limit_counts_pixels_not_bytes() -> None:
    data = png_of(photo(1, 96, 64))
    assert kind_of(data, limits=ReadLimits(max_pixels=96 * 64 - 1)) is ErrorKind.TOO_LARGE
    assert kind_of(data, limits=ReadLimits(max_pixels=96 * 64)) is None


@pytest.mark.parametrize(
    "name", ["rgb.png", "rgb.jpg", "progressive.jpg", "rgb.webp", "deep.tif", "rgb.gif", "rgb.avif"]
)
def test_turned_bits_end_in_an_error_or_a_picture(name: str) -> None:
    data = GOOD[name].data
    outcomes = {kind_of(flipped(data, seed, flips=1 + seed % 9), name) for seed in range(60)}
    assert outcomes <= {
        None,
        ErrorKind.CORRUPT,
        ErrorKind.TRUNCATED,
        ErrorKind.TOO_LARGE,
        ErrorKind.UNSUPPORTED,
        ErrorKind.NOT_AN_IMAGE,
    }


@pytest.mark.parametrize(
    "name", ["rgb.png", "rgb.jpg", "progressive.jpg", "rgb.webp", "rgb.gif", "rgb.tif", "rgb.avif"]
)
def test_a_file_cut_anywhere_is_never_taken_for_whole(name: str) -> None:
    data = GOOD[name].data
    for length in range(12, len(data) - 1, max(1, len(data) // 40)):
        kind = kind_of(data[:length], name)
        if name.endswith(".tif") and kind is None:  # the tail of a TIFF may be nothing but tags that nobody needs
            assert length > len(data) * 0.9
            continue
        assert kind in (ErrorKind.TRUNCATED, ErrorKind.CORRUPT, ErrorKind.UNSUPPORTED), (length, kind)


def test_damage_inside_a_jpeg_is_not_taken_for_a_picture() -> None:
    data = vips(photo(3, 200, 150)).jpegsave_buffer(Q=90, restart_interval=4)
    at = data.index(b"\xff\xd3", len(data) // 2)
    assert kind_of(data[:at] + b"\xff\xd6" + data[at + 2 :], "x.jpg") is ErrorKind.CORRUPT


def test_a_harmless_complaint_of_libjpeg_is_a_warning() -> None:
    data = vips(photo(3, 200, 150)).jpegsave_buffer(Q=90)
    at = data.index(b"\xff\xda")
    picture = decode(data[:at] + b"\0\0\0" + data[at:], "x.jpg", LIMITS)
    assert "extraneous bytes" in (picture.warning or "")
    np.testing.assert_array_equal(picture.pixels, decode(data, "x.jpg", LIMITS).pixels)


def test_salvage_keeps_what_a_cut_file_holds_and_says_so() -> None:
    whole = vips(photo(3, 200, 150)).jpegsave_buffer(Q=90)
    picture = decode(whole[: len(whole) // 2], "x.jpg", ReadLimits(salvage=True))
    assert "cut" in (picture.warning or "")
    np.testing.assert_array_equal(picture.pixels[:48], decode(whole, "x.jpg", LIMITS).pixels[:48])


@pytest.mark.parametrize("name", ["pages.tif", "animated.gif", "animated.webp"])
def test_the_first_page_is_taken_only_when_asked(name: str) -> None:
    picture = decode(BAD[name].data, name, ReadLimits(pages="first"))
    assert picture.pixels.shape[:2] == (64, 96)
    assert picture.header.pages == 2
    assert "first of 2" in (picture.warning or "")


def test_an_error_of_the_file_object_comes_through_as_it_is() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 5000:
                raise ItemError(ErrorKind.STORAGE_ERROR, "s3://b/k", "503", "try again")
            return super().read(size)

    data = png_of(photo(1, 200, 200))
    with pytest.raises(ItemError, match="storage_error") as caught:
        decode(Failing(data), "s3://b/k", LIMITS)
    assert caught.value.kind.retryable


def test_rows_outside_the_picture_are_a_fault_of_the_caller() -> None:
    data = png_of(photo(1))
    for y0, y1 in ((0, 65), (-1, 3), (4, 4)):
        with pytest.raises(ValueError, match="rows"):
            decode_rows(data, "x.png", LIMITS, y0, y1)


def test_the_header_alone_refuses_by_the_same_rules() -> None:
    for name in ("giant.png", "float.tif", "five-bands.tif", "page.jpg", "empty.jpg", "header-crc.png"):
        with pytest.raises(ItemError) as caught:
            read_header(BAD[name].data, name, LIMITS)
        assert caught.value.kind is BAD[name].kind


def test_threads_do_not_mix_up_each_others_errors() -> None:
    bad = [picture for picture in BAD.values() if picture.data] * 12
    with ThreadPoolExecutor(4) as threads:
        kinds = list(threads.map(lambda picture: kind_of(picture.data, picture.name), bad))
    assert kinds == [picture.kind for picture in bad]
