"""A film of any kind, real or made of pictures: read its cut, show its frames, join its segments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO

from farm.film import FilmPlan, Span
from farm.media.video import plan
from farm.media.video.pictures.animation_join import join_animation
from farm.media.video.pictures.film import is_pictures, iter_pictures, read_pictures
from farm.media.video.pictures.target import ANIMATIONS
from farm.media.video.read import decode
from farm.media.video.read.reader import FilmReader
from farm.media.video.values import DecoderConfig, FilmCut, Frame, Joined
from farm.media.video.write import join
from farm.params import UpscaleParams


def read_film(source: BinaryIO | None, url: str, params: UpscaleParams) -> FilmCut:
    """How a film is restored, and its segments. `source` is None for a numbered sequence. Raises ItemError."""
    if source is None or is_pictures(url):
        return read_pictures(source, url, params)
    return plan.read_film(source, url, params)


def iter_frames(
    reader: FilmReader | None, url: str, film: FilmPlan, span: Span, params: UpscaleParams, how: DecoderConfig
) -> Iterator[Frame]:
    """The frames of one segment, exactly as many as the span has; `reader` is None for a numbered sequence.

    Raises:
        ItemError: DECODE_ERRORS, UNSUPPORTED and more, as `decode.iter_frames` and `iter_pictures` say.
    """
    if reader is None or is_pictures(url):
        return iter_pictures(reader, url, film, span, params)
    return decode.iter_frames(reader, film, span, params, how)


def join_film(
    source: BinaryIO | None,
    url: str,
    film: FilmPlan,
    out_pts: Sequence[int],
    params: UpscaleParams,
    pieces: Sequence[Callable[[], BinaryIO]],
    sink: BinaryIO,
    stamp: Mapping[str, str] | None,
) -> Joined:
    """Write the film into `sink` and say what a person should know; arguments and errors as the two joins have them."""
    if plan.video_params(params).container in ANIMATIONS:
        return Joined(warning=join_animation(source, url, film, out_pts, params, pieces, sink, stamp))
    beside = None if is_pictures(url) else source  # pictures carry nothing that a film has beside its frames
    return join.join_film(beside, url, film, out_pts, params, pieces, sink, stamp)
