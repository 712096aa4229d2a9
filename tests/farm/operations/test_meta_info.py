"""A list names what can be read, and by names that its readers read back."""

from __future__ import annotations

import pytest

from farm.errors import ErrorKind, ItemError
from farm.sample import MetaInfoOptions
from farm.tasks.operations.meta_info import MetaInfo, reads_back
from tests.farm.operations.asked import make, params
from tests.pictures import bad_pictures, good_pictures, photo, png_of, vips

HEADERS_ALONE_SHOW = {ErrorKind.EMPTY_INPUT, ErrorKind.NOT_AN_IMAGE, ErrorKind.TOO_LARGE, ErrorKind.UNSUPPORTED}


def operation(*, check: bool) -> MetaInfo:
    return MetaInfo(params("meta-info", MetaInfoOptions(check=check)))


@pytest.mark.parametrize("check", [True, False])
def test_sizes_are_those_of_the_upright_picture(check: bool) -> None:
    for good in good_pictures():
        record = make(operation(check=check), good.data, good.name).record
        assert (record["height"], record["width"], record["channels"]) == good.shape


@pytest.mark.parametrize("bad", list(bad_pictures()), ids=lambda bad: bad.name)
def test_a_check_finds_every_bad_file_and_a_header_what_it_shows(bad) -> None:
    with pytest.raises(ItemError) as caught:
        make(operation(check=True), bad.data, bad.name)
    assert caught.value.kind is bad.kind
    if bad.kind in HEADERS_ALONE_SHOW:
        with pytest.raises(ItemError) as caught:
            make(operation(check=False), bad.data, bad.name)
        assert caught.value.kind is bad.kind


def test_only_a_check_reads_pixels() -> None:
    jpeg = vips(photo(1, 200, 150)).jpegsave_buffer(Q=90)
    cut = jpeg[: len(jpeg) // 2]
    assert make(operation(check=False), cut, "a.jpg").record["width"] == 200
    with pytest.raises(ItemError) as caught:
        make(operation(check=True), cut, "a.jpg")
    assert caught.value.kind is ErrorKind.TRUNCATED


@pytest.mark.parametrize("name", ["a b.png", " a.png", "sub dir/a.png", "a\nb.png", "a\rb.png", "a.png\t", "a\tb.png"])
def test_a_name_that_would_not_be_read_back_is_told(name: str) -> None:
    made = make(operation(check=False), png_of(photo(1)), name)
    assert made.skipped == "unsafe_name"
    assert repr(name) in made.message


@pytest.mark.parametrize("name", ["a.png", "ordner/ä,b.png", "%20.png"])
def test_names_are_read_back_as_upstream_reads_them(name: str) -> None:
    lines = f"{name}\n".splitlines(keepends=True)
    assert [line.strip().split(" ")[0] for line in lines] == [name]
    assert reads_back(name)
    assert not make(operation(check=False), png_of(photo(1)), name).skipped
