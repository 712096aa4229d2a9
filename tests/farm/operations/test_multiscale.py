"""Smaller versions are Pillow's and upstream's, to the pixel; nothing is enlarged."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from farm.errors import ErrorKind, ItemError
from farm.sample import MultiscaleOptions
from farm.tasks.operations.multiscale import Multiscale, version_sizes
from tests.farm.operations.asked import make, params, seen
from tests.outside import needs_data, real_picture
from tests.pictures import bad_pictures, photo, png_of, vips

UPSTREAM = MultiscaleOptions()


def operation(options: MultiscaleOptions = UPSTREAM) -> Multiscale:
    return Multiscale(params("multiscale", options))


def upstream_sizes(width: int, height: int, shortest_edge: int = 400) -> list[tuple[int, int]]:
    """What upstream's scripts/generate_multiscale_DF2K.py computes."""
    sizes = [(int(width * scale), int(height * scale)) for scale in (0.75, 0.5, 1 / 3)]
    if width < height:
        ratio = height / width
        width = shortest_edge
        height = int(width * ratio)
    else:
        ratio = width / height
        height = shortest_edge
        width = int(height * ratio)
    return [*sizes, (int(width), int(height))]


@given(width=st.integers(3, 5000), height=st.integers(3, 5000))
def test_sizes_are_upstreams_but_none_larger_than_the_picture(width: int, height: int) -> None:
    made = {number: (w, h) for number, _, w, h in version_sizes(width, height, UPSTREAM)}
    expected = dict(enumerate(upstream_sizes(width, height)))
    if min(width, height) < 400:
        del expected[3]
    assert made == expected


@needs_data
@pytest.mark.parametrize("name", ["10045.png", "Blake_Lively.jpg", "children-alpha.png", "00017_gray.png"])
def test_versions_of_real_pictures_are_what_upstream_makes(name: str) -> None:
    data = real_picture(name).read_bytes()
    options = MultiscaleOptions(shortest_px=300)
    made = make(operation(options), data, name)
    image = Image.open(io.BytesIO(data))
    expected = upstream_sizes(*image.size, 300)
    stem = name.rpartition(".")[0]
    assert [sample.key for sample in made.samples] == [f"{stem}T{number}" for number in range(4)]
    for sample, size in zip(made.samples, expected, strict=True):
        theirs = np.asarray(image.resize(size, Image.Resampling.LANCZOS))
        np.testing.assert_array_equal(seen(sample.members[0].data), theirs.reshape(size[1], size[0], -1))
        assert (sample.record["width"], sample.record["height"]) == size
    assert [sample.record["scale"] for sample in made.samples] == [0.75, 0.5, 1 / 3, None]


def test_a_small_picture_is_not_enlarged_and_a_version_without_a_pixel_is_left_out() -> None:
    made = make(operation(), png_of(photo(1, 2, 90)))
    assert [(sample.key, sample.members[0].width) for sample in made.samples] == [("aT0", 1), ("aT1", 1)]
    assert made.rules == ("versions_left_out",)
    whole = make(operation(MultiscaleOptions(shortest_px=60)), png_of(photo(1, 60, 90)))
    np.testing.assert_array_equal(seen(whole.samples[-1].members[0].data), photo(1, 60, 90))
    assert whole.rules == ()


def test_a_picture_without_any_version_is_told() -> None:
    made = make(operation(), png_of(photo(1, 1, 1)))
    assert (made.skipped, made.samples, made.record["width"]) == ("too_small", (), 1)
    assert "1x1" in made.message


def test_sixteen_bits_are_near_what_eight_bits_give_and_finer() -> None:
    pixels = photo(7, 90, 70, 3, 16)
    made = make(operation(), png_of(pixels))
    eight = make(operation(), png_of((pixels // 257).astype(np.uint8)))
    assert made.rules == ("16_bit_kept", "versions_left_out")
    for deep, flat in zip(made.samples, eight.samples, strict=True):
        fine = seen(deep.members[0].data)
        assert fine.dtype == np.uint16
        assert np.abs(fine / 257 - seen(flat.members[0].data)).max() < 2


def test_what_is_hidden_under_clear_pixels_does_not_fringe() -> None:
    pixels = np.zeros((40, 40, 4), np.uint8)
    pixels[:, :, 1] = 255  # green, hidden
    pixels[:, 20:] = (200, 0, 0, 255)
    made = make(operation(), png_of(pixels))
    assert made.rules == ("alpha_kept", "alpha_premultiplied", "versions_left_out")
    for sample in made.samples:
        small = seen(sample.members[0].data)
        assert small[:, :, 1][small[:, :, 3] > 0].max() == 0


def test_cmyk_becomes_rgb_and_gray_stays_gray() -> None:
    cmyk = vips(photo(1, 60, 60, 4)).copy(interpretation="cmyk").jpegsave_buffer(Q=95)
    made = make(operation(), cmyk, "a.jpg")
    assert "cmyk_converted" in made.rules
    assert {sample.members[0].channels for sample in made.samples} == {3}
    gray = make(operation(), png_of(photo(1, 60, 60, 1)))
    assert {sample.members[0].channels for sample in gray.samples} == {1}


@pytest.mark.parametrize("bad", list(bad_pictures()), ids=lambda bad: bad.name)
def test_a_bad_picture_fails_with_its_kind(bad) -> None:
    with pytest.raises(ItemError) as caught:
        make(operation(), bad.data, bad.name)
    assert caught.value.kind is bad.kind


def test_a_picture_beyond_the_limit_is_refused_from_its_header() -> None:
    with pytest.raises(ItemError) as caught:
        make(Multiscale(params("multiscale", UPSTREAM, max_pixels=99)), png_of(photo(1, 10, 10)))
    assert caught.value.kind is ErrorKind.TOO_LARGE
