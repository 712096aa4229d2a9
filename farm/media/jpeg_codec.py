"""A picture through real JPEG bytes and back: the codec that a degradation may be given (`sr_kernel.degrade.jpeg`)."""

from __future__ import annotations

import numpy as np
import pyvips
from numpy.typing import NDArray

from farm.media.encode import wrap


def jpeg_bytes_and_back(rgb: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """What a viewer shows of an RGB picture, uint8 HWC, saved as baseline JPEG 4:2:0 of a quality of 1..100.

    By libjpeg's tables, as OpenCV and Pillow write it by default: libvips alone would drop the subsampling from a
    quality of 90 on.
    """
    data: bytes = pyvips.Operation.call("jpegsave_buffer", wrap(rgb), Q=quality, subsample_mode="on", keep="none")
    shown: pyvips.Image = pyvips.Operation.call("jpegload_buffer", data)
    return np.frombuffer(shown.write_to_memory(), np.uint8).reshape(rgb.shape)
