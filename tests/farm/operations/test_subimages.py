"""Crops are upstream's, pixel for pixel and name for name; what it lost in silence is told."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ErrorKind, ItemError
from farm.sample import SubimagesOptions
from farm.tasks.operations.base import Content
from farm.tasks.operations.subimages import Subimages, crop_places
from tests.farm.operations.asked import make, params, row, seen
from tests.outside import needs_data, real_picture
from tests.pictures import bad_pictures, photo, png_of, vips


def operation(crop: int = 48, step: int = 24, thresh: int = 0) -> Subimages:
    return Subimages(params("subimages", SubimagesOptions(crop_px=crop, step_px=step, thresh_px=thresh)))


def upstream_crops(pixels: np.ndarray, crop: int, step: int, thresh: int) -> list[np.ndarray]:
    """The loop of upstream's scripts/extract_subimages.py, by its own names: its x is a row."""
    h, w = pixels.shape[:2]
    h_space = np.arange(0, h - crop + 1, step)
    if h - (h_space[-1] + crop) > thresh:
        h_space = np.append(h_space, h - crop)
    w_space = np.arange(0, w - crop + 1, step)
    if w - (w_space[-1] + crop) > thresh:
        w_space = np.append(w_space, w - crop)
    return [pixels[x : x + crop, y : y + crop, ...] for x in h_space for y in w_space]


@given(
    width=st.integers(1, 90), height=st.integers(1, 90), crop=st.integers(1, 40), step=st.integers(1, 50),
    thresh=st.integers(0, 30),
)  # fmt: skip
def test_places_are_upstreams(width: int, height: int, crop: int, step: int, thresh: int) -> None:
    width, height = max(width, crop), max(height, crop)
    numbered = np.arange(width * height).reshape(height, width)
    options = SubimagesOptions(crop_px=crop, step_px=step, thresh_px=thresh)
    places = crop_places(width, height, options)
    assert [y * width + x for x, y in places] == [c[0, 0] for c in upstream_crops(numbered, crop, step, thresh)]


@needs_data
@pytest.mark.parametrize(
    "name", ["Blake_Lively.jpg", "OST_009.png", "00017_gray.png", "children-alpha.png", "tree_alpha_16bit.png"]
)
def test_crops_of_real_pictures_are_what_upstream_cuts(name: str) -> None:
    data = real_picture(name).read_bytes()
    made = make(operation(200, 90, 20), data, name)
    expected = upstream_crops(seen(data), 200, 90, 20)
    stem = name.rpartition(".")[0]
    assert [sample.key for sample in made.samples] == [f"{stem}_s{at:03d}" for at in range(1, len(expected) + 1)]
    for sample, crop in zip(made.samples, expected, strict=True):
        (member,) = sample.members
        np.testing.assert_array_equal(seen(member.data), crop)
        assert seen(member.data).dtype == crop.dtype
        assert (member.extension, member.height, member.width, member.channels) == ("png", *crop.shape)


def test_a_record_says_where_the_crop_lies() -> None:
    pixels = photo(3, 130, 101)
    made = make(operation(), png_of(pixels))
    assert made.record == {"width": 130, "height": 101, "channels": 3, "depth": 8}
    for sample in made.samples:
        x, y, width, height = (int(sample.record[name]) for name in ("x", "y", "width", "height"))
        np.testing.assert_array_equal(seen(sample.members[0].data), pixels[y : y + height, x : x + width])


@pytest.mark.parametrize("size", [(47, 90), (90, 47), (1, 1)])
def test_a_picture_smaller_than_the_crop_is_told(size: tuple[int, int]) -> None:
    made = make(operation(), png_of(photo(1, *size)))
    assert (made.skipped, made.samples) == ("too_small", ())
    assert f"{size[0]}x{size[1]}" in made.message
    assert "48x48" in made.message


def test_a_picture_of_the_crops_size_is_one_crop() -> None:
    made = make(operation(), png_of(photo(1, 48, 48)))
    assert [sample.key for sample in made.samples] == ["a_s001"]


def test_names_keep_what_looks_like_a_scale() -> None:
    assert make(operation(), png_of(photo(1, 48, 48)), "box2x4.png").samples[0].key == "box2x4_s001"


@pytest.mark.parametrize(
    ("bands", "depth", "rules"),
    [
        (3, 8, ()),
        (1, 8, ("gray_kept",)),
        (2, 8, ("gray_kept", "alpha_kept")),
        (4, 8, ("alpha_kept",)),
        (3, 16, ("16_bit_kept",)),
        (2, 16, ("gray_kept", "alpha_kept", "16_bit_kept")),
    ],
)
def test_gray_alpha_and_depth_are_kept_and_said(bands: int, depth: int, rules: tuple[str, ...]) -> None:
    pixels = photo(5, 50, 60, bands, depth)
    made = make(operation(), png_of(pixels))
    assert made.rules == rules
    again = make(operation(48, 200), made.samples[0].members[0].data)
    assert again.samples == made.samples[:1]
    assert made.samples[0].members[0].channels == bands


def test_cmyk_becomes_rgb_and_turned_pictures_stand_upright() -> None:
    cmyk = vips(photo(1, 60, 60, 4)).copy(interpretation="cmyk").jpegsave_buffer(Q=95)
    made = make(operation(), cmyk, "a.jpg")
    assert "cmyk_converted" in made.rules
    assert made.samples[0].members[0].channels == 3
    turned = vips(photo(1, 100, 60)).copy()
    turned.set_type(__import__("pyvips").GValue.gint_type, "orientation", 6)
    made = make(operation(), turned.jpegsave_buffer(Q=95), "b.jpg")
    assert (made.rules, made.record["width"], made.record["height"]) == (("turned_upright",), 60, 100)


@needs_data
def test_a_profile_is_not_carried_and_that_is_said() -> None:
    made = make(operation(), real_picture("hopper.iccprofile.tif").read_bytes(), "a.tif")
    assert made.rules == ("profile_dropped",)
    assert b"iCCP" not in made.samples[0].members[0].data


@pytest.mark.parametrize("bad", list(bad_pictures()), ids=lambda bad: bad.name)
def test_a_bad_picture_fails_with_its_kind(bad) -> None:
    with pytest.raises(ItemError) as caught:
        make(operation(1, 100), bad.data, bad.name)
    assert caught.value.kind is bad.kind


def test_a_picture_beyond_the_limit_is_refused_from_its_header() -> None:
    small = Subimages(params("subimages", SubimagesOptions(crop_px=8), max_pixels=99))
    with pytest.raises(ItemError) as caught:
        make(small, png_of(photo(1, 10, 10)))
    assert caught.value.kind is ErrorKind.TOO_LARGE


def test_an_open_file_gives_the_same_bytes() -> None:
    data = png_of(photo(2, 100, 80))
    assert operation().make(row(), Content(data=io.BytesIO(data)), 0, 1) == make(operation(), data)
