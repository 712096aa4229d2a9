"""Each figure is what it is said to be, and every kind of picture gets a line."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from farm.errors import ItemError
from farm.sample import StatsOptions
from farm.tasks.operations.base import Content
from farm.tasks.operations.stats import STATS_COLUMNS, Stats
from tests.farm.operations.asked import make, params, row
from tests.outside import needs_data, real_picture
from tests.pictures import GoodPicture, bad_pictures, good_pictures, photo, png_of

GOOD = list(good_pictures())


def operation() -> Stats:
    return Stats(params("stats", StatsOptions()))


@pytest.mark.parametrize("good", GOOD, ids=lambda good: good.name)
def test_every_kind_of_picture_gets_a_whole_line(good: GoodPicture) -> None:
    made = make(operation(), good.data, good.name)
    record = made.record
    assert set(record) == set(STATS_COLUMNS)
    assert made.samples == ()
    assert (record["height"], record["width"], record["channels"]) == good.shape
    assert (record["depth"], record["has_alpha"]) == (good.depth, good.shape[2] in (2, 4))
    assert (record["pixels"], record["bytes"]) == (good.shape[0] * good.shape[1], len(good.data))
    assert record["sha256"] == hashlib.sha256(good.data).hexdigest()
    assert (record["jpeg_quality"] is not None) == good.name.endswith(".jpg")
    assert ("cmyk_converted" in made.rules) == (good.name == "cmyk.jpg")


def test_an_open_file_gives_the_same_line() -> None:
    data = GOOD[0].data
    assert operation().make(row(), Content(data=io.BytesIO(data)), 0, 1) == make(operation(), data)


@pytest.mark.parametrize("bad", list(bad_pictures()), ids=lambda bad: bad.name)
def test_a_bad_picture_fails_with_its_kind(bad) -> None:
    with pytest.raises(ItemError) as caught:
        make(operation(), bad.data, bad.name)
    assert caught.value.kind is bad.kind


def test_content_decides_the_format_not_the_name() -> None:
    assert make(operation(), GOOD[0].data, "a.jpg").record["format"] == "png"


def test_a_flat_picture_has_no_perceptual_hash() -> None:
    record = make(operation(), png_of(np.full((50, 60, 3), 255, np.uint8))).record
    assert (record["phash"], record["blur"], record["std"], record["blockiness"]) == (None, 0.0, 0.0, None)
    assert (record["mean"], record["saturated"]) == (255.0, 1.0)


@needs_data
def test_copies_that_were_resized_or_compressed_again_look_alike() -> None:
    image = Image.open(real_picture("10045.png")).convert("RGB")
    hashes: list[int] = []
    for size, quality in (((783, 1146), 95), ((783, 1146), 40), ((391, 573), 75)):
        file = io.BytesIO()
        image.resize(size).save(file, "JPEG", quality=quality)
        record = make(operation(), file.getvalue(), "a.jpg").record
        assert record["jpeg_quality"] == quality
        hashes.append(int(str(record["phash"]), 16))
    assert all((one ^ hashes[0]).bit_count() <= 3 for one in hashes)


def test_blur_falls_where_a_picture_is_blurred() -> None:
    pixels = photo(4, 200, 150)
    sharp = make(operation(), png_of(pixels)).record["blur"]
    image = Image.fromarray(pixels).resize((100, 75)).resize((200, 150))
    assert float(make(operation(), png_of(np.asarray(image))).record["blur"] or 0) < float(sharp or 0) / 4
