"""JPEG as arithmetic is basicsr's where that is right, and real bytes are a real codec's."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from sr_kernel.degrade.jpeg import jpeg_by_arithmetic, jpeg_by_codec
from tests.basicsr_reference import reference_module
from tests.sr_kernel.degrade.test_ops import pictures


def reference(given: torch.Tensor, qualities: list[float]) -> torch.Tensor:
    with torch.no_grad():
        return reference_module("utils.diffjpeg").DiffJPEG(differentiable=False)(given, torch.tensor(qualities))


@pytest.mark.parametrize("size", [(64, 96), (16, 16), (112, 48)])
def test_whole_blocks_are_those_of_diffjpeg(size: tuple[int, int]) -> None:
    """A coefficient in the middle between two steps may round either way: one in some thousand pixels."""
    given, qualities = pictures(3, *size), [30.0, 61.7, 95.0]
    difference = (jpeg_by_arithmetic(given, qualities) - reference(given, qualities)).abs()
    assert difference.quantile(0.99) < 1e-5
    assert difference.mean() < 1e-4


def test_the_best_quality_is_a_picture_where_basicsrs_is_not() -> None:
    """Its steps of quantisation are 0 at 100; ours are at least 1, as those of encoders, which matters above 95."""
    given = pictures(1, 32, 32)
    assert reference(given, [100.0]).isnan().any(), "if not, basicsr has been mended"
    made = jpeg_by_arithmetic(given, [100.0])
    assert (made - given).abs().mean() < (jpeg_by_arithmetic(given, [90.0]) - given).abs().mean()


def test_each_picture_has_its_quality() -> None:
    given = pictures(2, 48, 48)
    together = jpeg_by_arithmetic(given, [30.0, 90.0])
    alone = [jpeg_by_arithmetic(given[index : index + 1], [quality]) for index, quality in enumerate((30.0, 90.0))]
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="2 pictures and 1 qualities"):
        jpeg_by_arithmetic(given, [50.0])


def test_a_border_is_repeated_where_basicsr_lays_black_beside_it() -> None:
    """On a bright picture whose sides are no multiple of 16 basicsr's last columns ring; ours are as the rest."""
    bright = torch.full((1, 3, 44, 44), 0.9)
    ours = (jpeg_by_arithmetic(bright, [30.0]) - bright).abs()
    theirs = (reference(bright, [30.0]) - bright).abs()
    assert ours.max() < 0.02
    assert theirs[..., -4:].max() > 0.05, "if not, basicsr has been mended"


def codec(picture: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    _, data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def test_real_bytes_are_the_codecs_with_the_nearest_whole_quality() -> None:
    given = pictures(2, 37, 50)
    made = jpeg_by_codec(given, [42.4, 87.6], codec)
    levels = (given * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    for index, quality in enumerate((42, 88)):
        np.testing.assert_array_equal(
            (made[index] * 255).permute(1, 2, 0).numpy().round(), codec(levels[index], quality)
        )


@pytest.mark.parametrize("quality", [30.0, 60.0, 95.0])
def test_arithmetic_and_real_bytes_lose_about_the_same(quality: float) -> None:
    """Not equal: the reference's luma table is transposed, and its chroma is enlarged by repetition, not smoothly."""
    given = pictures(1, 96, 96)
    by_codec, ours = jpeg_by_codec(given, [quality], codec), jpeg_by_arithmetic(given, [quality])
    loss = [(made - given).pow(2).mean().sqrt().item() for made in (by_codec, ours)]
    assert 0.5 < loss[0] / loss[1] < 1.1
