"""The segments of an animated picture into one GIF, WebP or APNG, in memory that does not grow with its length.

An output made of an animated picture keeps its delays as they were, its loop count and, in WebP and APNG, its colour
profile; one made of a film or of numbered pictures is shown for ever, each frame until the next one's time.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from typing import BinaryIO

from av.error import FFmpegError

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan
from farm.kinds import ANIMATION_EXTENSIONS, extension_of
from farm.media.formats import HEAD_BYTES, sniff
from farm.media.image import EncodeSpec, ImageMeta, Pixels, ReadLimits, decode_rows, encode
from farm.media.stamp import stamped_xmp
from farm.media.video.pictures.animation_table import read_animation_table
from farm.media.video.pictures.animation_write import Show, write_apng, write_gif
from farm.media.video.pictures.cut import video_of
from farm.media.video.pictures.png_chunks import profile_chunk, xmp_chunk
from farm.media.video.pictures.still_frames import pixels_of, turned
from farm.media.video.pictures.target import KEEP_PROFILE
from farm.media.video.pictures.webp_animation import WebpWriter
from farm.media.video.planes import source_format
from farm.media.video.write.loss import left_behind
from farm.media.video.write.piece import BrokenPieceError, PieceReader, UnfitPiecesError
from farm.params import UpscaleParams
from farm.target import SMALLER

Opener = Callable[[], BinaryIO]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Carried:
    """What an animated picture takes from its source."""

    show: Show
    meta: ImageMeta


def join_animation(
    source: BinaryIO | None,
    url: str,
    film: FilmPlan,
    out_pts: Sequence[int],
    params: UpscaleParams,
    pieces: Sequence[Opener],
    sink: BinaryIO,
    stamp: Mapping[str, str] | None,
) -> str | None:
    """Decode the pieces in order and write the animated picture; each frame is encoded once, none is left out.

    Args:
        source: the open source; None for numbered pictures.
        url: of the source; stands in messages, and tells whether it is an animated picture.
        out_pts: timestamp of every output frame, in ticks of the film's `out_base`.
        pieces: one a segment; called when its segment is due. The files are closed here.
        sink: seekable, not closed.
        stamp: what the file says of how it was made; a GIF does not.

    Returns:
        What a person should know although the picture was written.

    Raises:
        ItemError: CHANGED_DURING_READ when a piece is damaged or the pieces do not make up the film, ENCODE_FAILED,
            TOO_LARGE; of the source as `opened` says.
    """
    container = video_of(params).container
    carried = _carried(source, url, film, out_pts, params)
    with closing(_frames(pieces, film, url)) as frames:
        if container == "gif":
            write_gif(frames, carried.show, sink, url)
        elif container == "apng":
            write_apng(frames, carried.show, sink, url, _png_chunks(carried.meta, stamp))
        elif film.frames == 1:
            spec = EncodeSpec(format="webp", quality=params.quality, stamp=stamp)
            sink.write(encode(next(frames), carried.meta, spec, url))
        else:
            _write_webp(frames, carried, params, sink, url, stamp)
        for _ in frames:  # what is behind the last frame is found by reading on
            raise _mismatch(url, f"more than {film.frames} frames")
    aspect = film.shown_aspect
    square = aspect is None or aspect == 1
    shape = (
        None if square else f"{container} cannot say that samples are {aspect} as wide as high; viewers show squares"
    )
    return "; ".join(filter(None, (shape, left_behind(source, url, film, params)))) or None


def _carried(
    source: BinaryIO | None, url: str, film: FilmPlan, out_pts: Sequence[int], params: UpscaleParams
) -> _Carried:
    """Delays, loop count and metadata: the source's where it has them."""
    times = [*out_pts, out_pts[-1] + 1 / (film.rate * film.out_base)]
    delays = tuple((after - before) * film.out_base for before, after in pairwise(times))
    if source is None or extension_of(url) not in ANIMATION_EXTENSIONS:
        return _Carried(show=Show(delays=delays, plays=0), meta=ImageMeta())
    source.seek(0)
    table = read_animation_table(source, sniff(source.read(HEAD_BYTES), url))
    if not video_of(params).fps and table.frames >= film.frames:
        delays = table.delays[: film.frames]
    meta = ImageMeta()
    if video_of(params).container in KEEP_PROFILE and table.whole:
        limits = ReadLimits(max_pixels=params.max_pixels_in, pages="first")
        meta = decode_rows(source, url, limits, 0, 1).meta
    return _Carried(show=Show(delays=delays, plays=table.plays), meta=meta)


def _frames(pieces: Sequence[Opener], film: FilmPlan, url: str) -> Generator[Pixels, None, None]:
    """All frames, upright, each as it was restored."""
    count = 0
    size = (film.target.height, film.target.width)
    for number, opener in enumerate(pieces):
        try:
            with PieceReader(opener()) as piece:
                piece.stream.codec_context.thread_count = 1
                for _, packet in piece.numbered():
                    for frame in packet.decode():
                        found = source_format(frame.format.name)
                        if found is None or (frame.height, frame.width) != size:
                            raise BrokenPieceError(f"a frame of {frame.width}x{frame.height} as {frame.format.name}")
                        yield turned(pixels_of(found.read(frame)), film.rotation)
                        count += 1
        except (BrokenPieceError, FFmpegError) as error:
            raise _mismatch(url, f"piece {number}: {str(error)[:200]}", number) from error
    if count < film.frames:
        raise _mismatch(url, f"{count} of {film.frames} frames")


def _png_chunks(meta: ImageMeta, stamp: Mapping[str, str] | None) -> bytes:
    """The profile, and what is said of how the file was made."""
    icc = profile_chunk(meta.icc) if meta.icc is not None else b""
    return icc + (xmp_chunk(stamped_xmp(None, stamp)) if stamp is not None else b"")


def _write_webp(
    frames: Generator[Pixels, None, None],
    carried: _Carried,
    params: UpscaleParams,
    sink: BinaryIO,
    url: str,
    stamp: Mapping[str, str] | None,
) -> None:
    delays = carried.show.rounded(1000)
    xmp = stamped_xmp(None, stamp) if stamp is not None else None
    spec = EncodeSpec(format="webp", quality=params.quality)
    writer = WebpWriter(sink, spec, carried.show.plays, carried.meta.icc, xmp)
    for delay in delays:
        pixels = next(frames, None)
        if pixels is None:
            raise _mismatch(url, f"fewer than {len(delays)} frames")
        writer.write(pixels, delay, url)
    try:
        writer.finish()
    except OverflowError as error:
        raise ItemError(ErrorKind.TOO_LARGE, url, str(error), f"lower --quality, or {SMALLER}") from error


def _mismatch(url: str, has: str, index: int | None = None) -> ItemError:
    return UnfitPiecesError(url, f"its pieces do not make up the film: {has}", index)
