"""The hash is that of the package ImageHash, and flat pictures have none."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image
from scipy.fft import dct

from sr_kernel.measures import luma
from sr_kernel.phash import hamming, phash
from tests.outside import DATA, needs_data
from tests.pictures import photo

PICTURES = sorted((DATA / "media" / "images").iterdir()) if DATA else []


def imagehash(image: Image.Image) -> int:
    """ImageHash 4's phash(image, hash_size=8, highfreq_factor=4), as a number."""
    small = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS))
    low = dct(dct(small.astype(float), axis=0), axis=1)[:8, :8]
    bits = "".join("1" if bit else "0" for bit in (low > np.median(low)).flatten())
    return int(bits, 2)


@needs_data
@pytest.mark.parametrize("path", PICTURES, ids=lambda path: path.name)
def test_hashes_of_real_pictures_are_imagehashs(path) -> None:
    image = Image.open(path)
    if image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    pixels = np.asarray(image)
    assert phash(luma(pixels.reshape(*pixels.shape[:2], -1))) == imagehash(image)


@pytest.mark.parametrize("seed", range(20))
def test_hashes_of_made_pictures_are_imagehashs(seed: int) -> None:
    pixels = photo(seed, 40 + 31 * seed, 500 - 23 * seed)
    assert phash(luma(pixels)) == imagehash(Image.fromarray(pixels))


def test_flat_pictures_have_no_hash() -> None:
    assert phash(np.full((90, 33), 7, np.uint8)) is None
    assert phash(np.full((1, 1), 7, np.uint8)) is None


def test_a_copy_of_less_quality_is_near_and_another_picture_far() -> None:
    pixels = photo(3, 300, 200)
    file = io.BytesIO()
    Image.fromarray(pixels).resize((150, 100)).save(file, "JPEG", quality=60)
    copy, other = np.asarray(Image.open(file)), photo(4, 300, 200)
    first = phash(luma(pixels))
    assert first is not None
    assert hamming(first, phash(luma(copy)) or 0) <= 3
    assert hamming(first, phash(luma(other)) or 0) > 10
