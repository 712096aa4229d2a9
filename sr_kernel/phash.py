"""A hash of what a picture looks like: equal or nearly so for copies that were resized or compressed again. No torch.

The DCT hash of Zauner, Implementation and benchmarking of perceptual image hash functions (2010), in the form of the
Python package ImageHash (`phash`, hash_size 8, highfreq_factor 4), whose bits it equals: luma brought to 32x32 by
Pillow's Lanczos, DCT-II along both axes, the 8x8 lowest frequencies against their median, row by row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sr_kernel.measures import Luma
from sr_kernel.pillow_resize import resize

HASH_BITS = 64
_SIDE, _LOW = 32, 8


def phash(plane: Luma) -> int | None:
    """The hash as a number of 64 bits; None for a picture that is flat at 32x32: all of those look alike."""
    small = resize(plane[:, :, None], _SIDE, _SIDE)[:, :, 0].astype(np.float64)
    if small.min() == small.max():
        return None
    low = _COSINES @ small @ _COSINES.T
    # Rounded so far that the order of the sums cannot turn a bit where frequencies are equal, as those of 0 are.
    low = np.rint(low * (1 << 20))
    bits = low > np.median(low)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def hamming(first: int, second: int) -> int:
    """In how many bits two hashes differ."""
    return (first ^ second).bit_count()


def _cosines() -> NDArray[np.float64]:
    """DCT-II without scale [_LOW, _SIDE]."""
    frequency, place = np.arange(_LOW)[:, None], np.arange(_SIDE)[None, :]
    return np.cos(np.pi * frequency * (2 * place + 1) / (2 * _SIDE))


_COSINES = _cosines()
