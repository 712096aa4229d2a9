"""How much memory an encoder holds, for the budget of the worker that runs it.

Measured as the peak of resident memory, with the options of `settings`, one to four threads, 8 and 10 bits: over 45 to
70 frames at 160x96, 640x360, 1280x720 and 1920x1080, over 24 to 40 at 3840x2160, over 12 to 28 at 7680x4320. Figures
for frames of up to Full HD are the largest seen and about a tenth more, for larger ones about a twentieth more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from types import MappingProxyType

from farm.film import FilmPlan
from farm.media.video.write.settings import size_class

_SLOW = frozenset({"slower", "veryslow", "placebo"})
"""presets with many reference frames"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Memory of one encoder."""

    base_mb: int
    frames: tuple[int, int, int]
    """of the output's size in bytes, by one thread; for each of `settings.size_class`"""
    thread_frames: int = 0
    """more by each further thread"""
    slow: float = 1.0
    """how many times the frames with slow presets, up to Full HD: for larger frames references are bounded"""
    piece: float = 0.25
    """largest size of a piece, as a share of its frames' bytes; of noise, usual films give a tenth of it"""
    lossy: bool = True
    """whether a piece of enlarged frames has less in it than one of frames that were so large"""


_HELD: Mapping[str, _Held] = MappingProxyType(
    {
        "libx264": _Held(base_mb=12, frames=(82, 52, 31), thread_frames=20, slow=2.4),
        "libx265": _Held(base_mb=30, frames=(125, 92, 44), thread_frames=32, slow=1.6),
        "libsvtav1": _Held(base_mb=15, frames=(125, 98, 48), thread_frames=60),
        "libvpx-vp9": _Held(base_mb=10, frames=(128, 70, 56), thread_frames=14),
        "ffv1": _Held(base_mb=4, frames=(38, 38, 38), thread_frames=2, piece=1.0, lossy=False),
        "prores_ks": _Held(base_mb=6, frames=(5, 5, 5), thread_frames=5, piece=0.35, lossy=False),
    }
)
_OTHER = _Held(base_mb=250, frames=(16, 16, 16))
"""hardware encoders, whose frames lie on the device; a guess"""


def encoder_bytes(film: FilmPlan, frames: int = 48) -> int:
    """Bytes that the encoder of a segment holds at most, with the piece that it makes.

    Args:
        frames: of the segment.
    """
    options = dict(film.options)
    held = _HELD.get(film.encoder, _OTHER)
    threads = int(options.get("threads", "1"))
    size = size_class(film.target)
    slow = held.slow if size == 0 and options.get("preset") in _SLOW else 1.0
    kept = held.frames[size] * slow + held.thread_frames * (threads - 1)
    piece = held.piece * (_enlarged(film) if held.lossy else 1.0)
    return (held.base_mb << 20) + round(film.target.bytes * (kept + piece * frames))


def _enlarged(film: FilmPlan) -> float:
    """What a pixel of the output has to say against one of the source.

    Noise that was enlarged two and four times gave 0.5 to 0.6 and 0.2 to 0.4 of the bytes that as many pixels of noise
    give (x264, x265, SVT-AV1).
    """
    source, target = film.source, film.target
    return min(1.0, sqrt(source.width * source.height / (target.width * target.height)))
