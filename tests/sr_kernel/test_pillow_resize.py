"""Every byte is Pillow's, over sizes, channels and both orders of its passes."""

from __future__ import annotations

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sr_kernel.pillow_resize import resize

ORDER_SINCE_13 = int(PIL.__version__.partition(".")[0]) >= 13
SIDES = st.integers(1, 130)


def pillow(pixels: np.ndarray, width: int, height: int) -> np.ndarray:
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS)).reshape(height, width, -1)


def hard(seed: int, width: int, height: int, bands: int, *, binary: bool) -> np.ndarray:
    """Noise, or noise of 0 and 255 alone, whose overshoot is largest."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, bands), dtype=np.uint8)
    return (noise > 127).astype(np.uint8) * np.uint8(255) if binary else noise


@settings(max_examples=400, deadline=None)
@given(size=st.tuples(SIDES, SIDES), to=st.tuples(SIDES, SIDES), bands=st.integers(1, 4), binary=st.booleans())
def test_any_size_is_pillows_to_the_byte(size: tuple[int, int], to: tuple[int, int], bands: int, binary: bool) -> None:
    if not ORDER_SINCE_13 and size[1] - to[1] > max(0, 2 * (size[0] - to[0])):
        return  # an older Pillow has these in another order
    pixels = hard(sum(size), *size, bands, binary=binary)
    np.testing.assert_array_equal(resize(pixels, *to), pillow(pixels, *to))


@pytest.mark.parametrize("scale", [0.75, 0.5, 1 / 3, 0.11, 1.7])
def test_larger_pictures_are_pillows_to_the_byte(scale: float) -> None:
    pixels = hard(1, 1021, 673, 3, binary=True)
    to = int(1021 * scale), int(673 * scale)
    np.testing.assert_array_equal(resize(pixels, *to), pillow(pixels, *to))


def test_gray_of_sixteen_bits_is_pillows_within_a_level_where_pillow_does_not_wrap() -> None:
    gray = np.random.default_rng(2).integers(20000, 45000, (90, 120, 1), dtype=np.uint16)
    made = resize(gray, 47, 31)
    assert made.dtype == np.uint16
    assert np.abs(made.astype(int) - pillow(gray, 47, 31)).max() <= 1


def test_sixteen_bits_that_repeat_eight_give_what_eight_give() -> None:
    pixels = hard(4, 80, 60, 3, binary=False)
    deep = resize(pixels.astype(np.uint16) * np.uint16(257), 33, 25)
    assert np.abs(deep / 257 - resize(pixels, 33, 25)).max() <= 1.5  # 8 bits are rounded twice


def test_sixteen_bits_clamp_where_the_kernel_overshoots() -> None:
    edge = np.zeros((40, 40, 1), np.uint16)
    edge[:, 20:] = 65535
    made = resize(edge, 23, 23)
    assert (made.min(), made.max()) == (0, 65535)
    assert (np.diff(made[0, :9, 0].astype(int)) >= -1000).all()  # nothing wraps around


@pytest.mark.parametrize(("dtype", "value"), [(np.uint8, 200), (np.uint16, 51234)])
@pytest.mark.parametrize("bands", [1, 2, 3, 4])
def test_a_flat_picture_stays_flat(dtype: type, value: int, bands: int) -> None:
    flat = np.full((50, 70, bands), value, dtype)
    if bands in (2, 4):
        flat[:, :, -1] = np.iinfo(dtype).max
    made = resize(flat, 31, 23)
    assert made.dtype == dtype
    assert (made == flat[0, 0]).all()


def test_the_size_it_has_is_a_copy_of_the_samples() -> None:
    pixels = hard(1, 20, 10, 4, binary=False)
    np.testing.assert_array_equal(resize(pixels, 20, 10), pixels)


def test_no_size_is_refused() -> None:
    with pytest.raises(ValueError, match="0x5"):
        resize(np.zeros((5, 5, 3), np.uint8), 0, 5)
