"""Films made of pictures, whichever they are: a numbered sequence or an animated picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from farm.film import FilmPlan, Span
from farm.kinds import ANIMATION_EXTENSIONS, extension_of, is_sequence
from farm.media.video.faults import reading
from farm.media.video.pictures.animation import iter_animation, read_animation
from farm.media.video.pictures.sequence import iter_sequence, read_sequence
from farm.media.video.read.reader import FilmReader
from farm.media.video.values import FilmCut, Frame
from farm.params import UpscaleParams


def is_pictures(url: str) -> bool:
    """Whether a film is made of pictures, by its name."""
    return is_sequence(url) or extension_of(url) in ANIMATION_EXTENSIONS


def read_pictures(source: BinaryIO | None, url: str, params: UpscaleParams) -> FilmCut:
    """The plan of such a film.

    Args:
        source: the open file of an animated picture; None for a sequence.

    Raises:
        ItemError: as `read_sequence` and `read_animation` say.
    """
    with reading(url):
        return read_sequence(url, params) if source is None else read_animation(source, url, params)


def iter_pictures(
    reader: FilmReader | None, url: str, film: FilmPlan, span: Span, params: UpscaleParams
) -> Iterator[Frame]:
    """The frames of one segment, exactly as many as the span has; `reader` is None for a sequence.

    Raises:
        ItemError: as `iter_sequence` and `iter_animation` say.
    """
    with reading(url):
        if reader is None:
            yield from iter_sequence(url, film, span, params)
        else:
            yield from iter_animation(reader, film, span, params)
