"""How much memory an encoder holds, for the budget of the worker that runs it. Standard library only.

Measured as the peak of resident memory over 45 to 70 frames, at 160x96, 640x360, 1280x720 and 1920x1080, with the
options of `settings`, one to four threads, 8 and 10 bits; each figure is the largest seen and about a tenth more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from farm.records import FilmPlan

_SLOW = frozenset({"slower", "veryslow", "placebo"})
"""presets with many reference frames"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """Memory of one encoder."""

    base_mb: int
    frames: int
    """of the output's size in bytes, by one thread"""
    thread_frames: int = 0
    """more by each further thread"""
    slow: float = 1.0
    """how many times the frames with slow presets"""
    piece: float = 0.25
    """largest size of a piece, as a share of its frames' bytes; of noise, usual films give a tenth of it"""


_HELD: Mapping[str, _Held] = MappingProxyType(
    {
        "libx264": _Held(base_mb=12, frames=82, thread_frames=20, slow=2.4),
        "libx265": _Held(base_mb=30, frames=125, thread_frames=32, slow=1.6),
        "libsvtav1": _Held(base_mb=15, frames=165, thread_frames=110),
        "libvpx-vp9": _Held(base_mb=10, frames=128, thread_frames=14),
        "ffv1": _Held(base_mb=4, frames=38, thread_frames=2, piece=1.0),
        "prores_ks": _Held(base_mb=6, frames=5, thread_frames=5, piece=0.35),
    }
)
_OTHER = _Held(base_mb=250, frames=16)
"""hardware encoders, whose frames lie on the device; a guess"""


def encoder_bytes(film: FilmPlan, frames: int = 48) -> int:
    """Bytes that the encoder of a segment holds at most, with the piece that it makes.

    Args:
        frames: of the segment.
    """
    options = dict(film.options)
    held = _HELD.get(film.encoder, _OTHER)
    threads = int(options.get("threads", "1"))
    kept = held.frames * (held.slow if options.get("preset") in _SLOW else 1.0) + held.thread_frames * (threads - 1)
    return (held.base_mb << 20) + round(film.target.bytes * (kept + held.piece * frames))
