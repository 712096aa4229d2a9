"""A pair is listed when one size is a whole multiple of the other, and never because nobody looked."""

from __future__ import annotations

import pytest

from farm.errors import ErrorKind, ItemError
from farm.sample import PairsOptions
from farm.tasks.operations.base import Content
from farm.tasks.operations.pairs import Pairs, reads_back
from tests.farm.operations.asked import make, params, row
from tests.pictures import bad_pictures, photo, png_of


def operation(scale: int = 0, *, check: bool = True) -> Pairs:
    return Pairs(params("pairs", PairsOptions(scale=scale, check=check)))


def picture(width: int, height: int, bands: int = 3) -> bytes:
    return png_of(photo(1, width, height, bands))


@pytest.mark.parametrize("scale", [0, 4])
def test_a_pair_that_fits_is_measured(scale: int) -> None:
    made = make(operation(scale), picture(96, 64), lq=picture(24, 16, 1))
    assert made.skipped == ""
    assert made.record == {
        "width": 96, "height": 64, "channels": 3, "lq_width": 24, "lq_height": 16, "lq_channels": 1, "scale": 4,
        "lq": "lq/a.png",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("good", "poor", "scale"),
    [
        ((96, 64), (24, 16), 2),  # not what was asked for
        ((96, 64), (24, 17), 0),
        ((97, 64), (24, 16), 0),
        ((96, 64), (24, 32), 0),  # whole, but not the same in both directions
        ((24, 16), (96, 64), 0),  # swapped
    ],
)
def test_a_pair_that_does_not_fit_is_told(good: tuple[int, int], poor: tuple[int, int], scale: int) -> None:
    made = make(operation(scale), picture(*good), lq=picture(*poor))
    assert made.skipped == "size_mismatch"
    assert f"{good[0]}x{good[1]}" in made.message
    assert f"{poor[0]}x{poor[1]}" in made.message
    assert (made.record["width"], made.record["lq_height"]) == (good[0], poor[1])


def test_a_pair_of_one_size_has_scale_one() -> None:
    assert make(operation(), picture(9, 9), lq=picture(9, 9)).record["scale"] == 1


def test_without_a_check_nothing_is_read() -> None:
    made = make(operation(check=False), b"no picture", lq=b"none either")
    assert made.skipped == ""
    assert {name for name, value in made.record.items() if value is not None} == {"lq"}


def test_a_row_without_its_low_quality_picture_fails() -> None:
    for row_of, lq in ((row(), picture(1, 1)), (row(lq="/in/b.png"), None)):
        with pytest.raises(ItemError) as caught:
            operation().make(row_of, Content(data=picture(4, 4), lq=lq), 0, 1)
        assert caught.value.kind is ErrorKind.MISSING


def test_an_error_names_the_file_that_is_bad() -> None:
    bad = next(one for one in bad_pictures() if one.kind is ErrorKind.NOT_AN_IMAGE)
    for good, poor, url in ((picture(4, 4), bad.data, "/in/lq/a.png"), (bad.data, picture(4, 4), "/in/a.png")):
        with pytest.raises(ItemError) as caught:
            make(operation(), good, lq=poor)
        assert (caught.value.kind, caught.value.url) == (bad.kind, url)


@pytest.mark.parametrize("name", ["a, b.png", " a.png", "a\nb.png", "a.png\r"])
def test_a_name_that_would_not_be_read_back_is_told(name: str) -> None:
    assert make(operation(), picture(4, 4), name, lq=picture(4, 4)).skipped == "unsafe_name"


@pytest.mark.parametrize("name", ["a b.png", "a,b.png", "a.png,", "x/ä.png"])
def test_names_are_read_back_as_upstream_reads_them(name: str) -> None:
    gt, lq = f"{name}, lq/{name}\n".strip().split(", ")
    assert (gt, lq) == (name, f"lq/{name}")
    assert reads_back(name)
