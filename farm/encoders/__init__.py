"""What films can be encoded as, by tables alone: codecs, containers, pixel formats, quality and presets.

Standard library only, and below the configuration: what no film at all could be encoded as is found when it is asked
for. What depends on the film is decided in `farm.media.video.write`, from the same tables.
"""

from farm.encoders.asked import (
    INTERLEAVED,
    Asked,
    container_misfit,
    contradiction,
    hardware_misfit,
    pix_fmt_misfit,
    pix_fmts,
    which_format,
)
from farm.encoders.misfit import Misfit
from farm.encoders.scale import SCALES, crf_misfit, preset_misfit
from farm.encoders.table import CODECS, CodecSpec

__all__ = [
    "CODECS",
    "INTERLEAVED",
    "SCALES",
    "Asked",
    "CodecSpec",
    "Misfit",
    "container_misfit",
    "contradiction",
    "crf_misfit",
    "hardware_misfit",
    "pix_fmt_misfit",
    "pix_fmts",
    "preset_misfit",
    "which_format",
]
