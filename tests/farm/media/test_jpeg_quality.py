"""The quality a JPEG was saved with is read back from its tables; what has none is asked in vain, never an error."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from farm.media.image import jpeg_quality
from tests.pictures import flipped, photo, vips


def saved(quality: int, *, gray: bool = False, **options: object) -> bytes:
    file = io.BytesIO()
    image = Image.fromarray(photo(1))
    (image.convert("L") if gray else image).save(file, "JPEG", quality=quality, **options)
    return file.getvalue()


@pytest.mark.parametrize("quality", range(1, 101))
def test_every_quality_of_libjpeg_is_read_back(quality: int) -> None:
    assert jpeg_quality(io.BytesIO(saved(quality))) == quality


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"optimize": True}, {"gray": True}])
def test_it_does_not_matter_how_else_it_was_saved(options: dict[str, bool]) -> None:
    assert jpeg_quality(io.BytesIO(saved(77, **options))) == 77


def test_tables_of_another_make_give_a_quality_that_loses_about_as_much() -> None:
    for quality in (50, 75, 90):
        tables = vips(photo(1)).jpegsave_buffer(Q=quality, quant_table=3)  # mozjpeg's own
        assert abs((jpeg_quality(io.BytesIO(tables)) or 0) - quality) < 25


def test_a_file_without_tables_has_no_quality() -> None:
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"\xff\xd8\xff\xdb\x00\x01", b"\xff\xd8" + b"\xff" * 99):
        assert jpeg_quality(io.BytesIO(data)) is None


@pytest.mark.parametrize("seed", range(40))
def test_damage_is_an_answer_not_an_error(seed: int) -> None:
    found = jpeg_quality(io.BytesIO(flipped(saved(80), seed, 30)))
    assert found is None or 1 <= found <= 100


def test_every_cut_is_an_answer_not_an_error() -> None:
    data = saved(80)
    assert {jpeg_quality(io.BytesIO(data[:at])) for at in range(700)} <= {None, 80}
