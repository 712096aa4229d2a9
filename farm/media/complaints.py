"""What decoders complain of while they go on: lost pixels, or what stands around them. Read from libvips' words."""

from __future__ import annotations

import re
from collections.abc import Sequence

from farm.errors import ItemError

COMPLAINING = frozenset({"jpg", "tiff"})
"""formats whose decoders go on where pixels are lost; libpng, libwebp, libnsgif and libheif end there"""
_DAMAGE = ("premature end", "bad Huffman", "found marker")
"""complaints of libjpeg about entropy-coded data: pixels are lost"""
_HARMLESS = ("extraneous bytes", "Adobe", "progression", "JFIF", "SOS")
"""complaints of libjpeg about what stands around the pixels"""
_LATE = re.compile(r"read gave (\d+) warnings")
"""what libvips says when it lets a picture go of whose last rows libjpeg complained: it asks before rows, not after"""
_MOST_CHARACTERS = 200


class ToldError(ItemError):
    """Of a decoder; the class rests on its words."""


class ComplaintError(ToldError):
    """Of a decoder, which could go on; whether pixels are lost, its words say, or another look."""

    @property
    def final(self) -> bool:
        """Whether pixels are lost, by what it says. libtiff's warnings and errors are told apart by the second look."""
        if self.found.startswith("damaged tiff"):
            return False
        return any(words in self.found for words in _DAMAGE) or not any(words in self.found for words in _HARMLESS)


def late_complaint(file_format: str, heard: Sequence[str]) -> str | None:
    """What a decoder complained of, out of what libvips warned of; None: of nothing."""
    said = [message.removeprefix("VIPS: ").strip() for message in heard]
    if file_format == "jpg":
        counts = [int(found[1]) for message in said if (found := _LATE.search(message))]
        # libvips tells all that it has noted since somebody asked, also of other pictures: the last is of this one.
        words = [line for message in said for line in message.splitlines() if line.startswith("VipsJpeg: ")]
        plural = "s" * (sum(counts) != 1)
        return f"damaged jpg, {sum(counts)} complaint{plural} ({''.join(words[-1:])})" if counts else None
    if file_format == "tiff" and said:
        return f"libtiff complains ({'; '.join(dict.fromkeys(said))[:_MOST_CHARACTERS]})"
    return None


def tells_of_lost_tiles(errors: Sequence[str]) -> bool:
    """Whether libtiff could not decode a tile, of which libvips then takes whatever is in it."""
    return any(error.startswith("tiff2vips:") for error in errors)
