"""HDR mastering metadata (SMPTE ST 2086 and CTA-861.3): read from a frame, told to encoders and to containers."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import cast

import av
from av.sidedata.sidedata import SideData, Type

from farm.media.video.ebml import element, with_colour

_CHROMATICITY_STEPS = 50_000
_LUMINANCE_STEPS = 10_000
"""units of the two in the bitstreams of H.264 and HEVC: 0.00002 and 0.0001 cd/m2"""
_DISPLAY = struct.Struct("=20i2i")
"""AVMasteringDisplayMetadata: red, green, blue, white as (x, y) rationals, darkest, brightest; whether each is there"""
_LIGHT = struct.Struct("=2I")
"""AVContentLightMetadata: MaxCLL, MaxFALL"""

DISPLAY_OPTION, LIGHT_OPTION = "farm-mastering-display", "farm-max-cll"
"""options that are told to the container instead of the encoder, where the bitstream has no place for them"""


@dataclass(frozen=True, slots=True, kw_only=True)
class HdrMetadata:
    """What the display that a film was mastered on could show, and how bright the film gets."""

    primaries: tuple[Fraction, ...] = ()
    """CIE 1931 x and y of red, green, blue and white; empty: unknown"""
    luminance: tuple[Fraction, Fraction] | None = None
    """darkest and brightest of the display in cd/m2"""
    max_cll: int = 0
    """brightest sample of the film in cd/m2; 0: unknown"""
    max_fall: int = 0
    """brightest frame average of the film in cd/m2; 0: unknown"""

    @property
    def light(self) -> str:
        """`MaxCLL,MaxFALL`, or empty."""
        return f"{self.max_cll},{self.max_fall}" if self.max_cll or self.max_fall else ""

    def display(self, *, whole: bool) -> str:
        """G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) as encoders spell it, or empty where it is not known in full.

        Args:
            whole: in the whole units of H.264 and HEVC (x264, x265), else in fractions and cd/m2 (SVT-AV1).
        """
        if not self.primaries or self.luminance is None:
            return ""
        chroma = [_number(value, _CHROMATICITY_STEPS if whole else None) for value in self.primaries]
        darkest, brightest = (_number(value, _LUMINANCE_STEPS if whole else None) for value in self.luminance)
        red, green, blue, white = (f"({chroma[at]},{chroma[at + 1]})" for at in range(0, 8, 2))
        return f"G{green}B{blue}R{red}WP{white}L({brightest},{darkest})"


def read_hdr(frame: av.VideoFrame) -> HdrMetadata | None:
    """What a decoded frame says, be it from the bitstream or from the container; None: nothing."""
    primaries: tuple[Fraction, ...] = ()
    luminance: tuple[Fraction, Fraction] | None = None
    max_cll = max_fall = 0
    for side in side_data(frame):
        data = bytes(side)
        if side.type is Type.MASTERING_DISPLAY_METADATA and len(data) >= _DISPLAY.size:
            *pairs, has_primaries, has_luminance = _DISPLAY.unpack_from(data)
            values = [Fraction(pairs[at], pairs[at + 1] or 1) for at in range(0, 20, 2)]
            primaries = tuple(values[:8]) if has_primaries else ()
            luminance = (values[8], values[9]) if has_luminance else None
        elif side.type is Type.CONTENT_LIGHT_LEVEL and len(data) >= _LIGHT.size:
            max_cll, max_fall = _LIGHT.unpack_from(data)
    if not (primaries or luminance or max_cll or max_fall):
        return None
    return HdrMetadata(primaries=primaries, luminance=luminance, max_cll=max_cll, max_fall=max_fall)


def side_data(frame: av.VideoFrame) -> list[SideData]:
    """What a decoder says beside a frame's samples."""
    try:
        return list(cast("Iterable[SideData]", frame.side_data))  # PyAV's mapping iterates over its values
    except ValueError:  # a kind newer than PyAV's own list: it then gives none at all
        return []


def with_hdr(header: bytes, options: Mapping[str, str]) -> bytes:
    """The header of a Matroska piece of ours, with the options that no encoder took written into its Colour element.

    FFmpeg's muxers take HDR metadata from what a demuxer found in a container and from nowhere else that is open to us.

    Args:
        header: a Matroska file, from its first byte to the end of its Tracks at least.
        options: of the film; the header is returned as it is where they hold neither of the two above.
    """
    added = _colour_elements(options)
    return with_colour(header, added) if added else header


def _number(value: Fraction, steps: int | None) -> str:
    return str(round(value * steps)) if steps else f"{float(value):.6f}".rstrip("0").rstrip(".")


def _colour_elements(options: Mapping[str, str]) -> bytes:
    """MaxCLL, MaxFALL and MasteringMetadata as Matroska writes them."""
    added = b""
    if light := options.get(LIGHT_OPTION):
        max_cll, max_fall = (int(number) for number in light.split(","))
        added += element(0x55BC, max_cll.to_bytes(4, "big")) + element(0x55BD, max_fall.to_bytes(4, "big"))
    if display := options.get(DISPLAY_OPTION):
        found = [float(number) for number in "".join(c if c in "0123456789." else " " for c in display).split()]
        green, blue, red, white, light_range = (found[at : at + 2] for at in range(0, 10, 2))
        ids = zip(range(0x55D1, 0x55DB), [*red, *green, *blue, *white, *light_range], strict=True)
        added += element(0x55D0, b"".join(element(name, struct.pack(">d", value)) for name, value in ids))
    return added
