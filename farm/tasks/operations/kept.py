"""Pictures of every kind, kept as they are: what is said of those that are no plain 8-bit RGB, and the file of each."""

from __future__ import annotations

from farm.media.image import EncodeSpec, ImageMeta, Picture, Pixels, encode
from farm.sample import Member

_PNG = EncodeSpec(format="png")
_NOTHING = ImageMeta()


def kept_rules(picture: Picture) -> tuple[str, ...]:
    """What was kept or done, by the names under which it is counted; empty for a plain upright 8-bit RGB picture."""
    header = picture.header
    told = {
        f"{header.converted}_converted": bool(header.converted),
        "turned_upright": header.orientation != 1,
        "profile_dropped": picture.meta.icc is not None,
        "gray_kept": header.gray,
        "alpha_kept": header.has_alpha,
        "16_bit_kept": header.depth == 16,
    }
    return tuple(rule for rule, holds in told.items() if holds)


def png_member(pixels: Pixels, url: str) -> Member:
    """The pixels as a PNG of the same depth and channels, with nothing beside them: what trains reads samples only.

    Written as the farm writes every PNG, fast and nearly as small as can be; its bytes depend on the pixels alone.
    """
    height, width, channels = pixels.shape
    data = encode(pixels, _NOTHING, _PNG, url)
    return Member(role="image", extension="png", data=data, width=width, height=height, channels=channels)
