"""The restored video's own stream in the output: described like its pieces, tagged like its source."""

from __future__ import annotations

from fractions import Fraction
from typing import cast

from av.container import OutputContainer
from av.video.stream import VideoStream

from farm.film import FilmPlan, VideoParams
from farm.media.video.pixel_format import parse_pixel_format
from farm.media.video.write import timecode
from farm.media.video.write.streams import Others, describe, kept_tags
from farm.media.video.write.template import add_at_rate, add_like


def add_film(
    output: OutputContainer,
    film: FilmPlan,
    video: VideoParams,
    piece: VideoStream,
    original: VideoStream | None,
    rate: Fraction | None,
    others: Others,
) -> VideoStream:
    """Add the stream of the film.

    Args:
        piece: what it is described like; its codec and its parameter sets are those of all pieces.
        original: the source's stream; None: the film is made of pictures.
        rate: frames a second that every frame keeps; None: it varies.
        others: has the film's timecode, and receives warnings.

    Raises:
        FFmpegError, ValueError: the container refuses.
    """
    kept = None if original is None else _timecode(video, original, rate or film.rate, others)
    if rate is None and kept is not None and video.container in ("mp4", "mov"):
        rate = film.rate  # frames of a timecode are counted, whatever their times
    stream = cast(VideoStream, add_like(output, piece)) if rate is None else add_at_rate(output, piece, rate)
    context, codec = stream.codec_context, piece.codec_context.name
    context.width, context.height, context.pix_fmt = film.target.width, film.target.height, film.pix_fmt
    context.color_primaries, context.color_trc, context.colorspace, context.color_range = film.colour_tags
    if film.sample_aspect is not None:
        context.sample_aspect_ratio = film.sample_aspect
    if film.rotation:
        stream.set_display_matrix(film.rotation)
    extradata = piece.codec_context.extradata or b""
    if video.container in ("mp4", "mov") and codec.startswith("hevc"):
        context.codec_tag = "hvc1"  # the name under which Apple's players take it
    elif codec == "prores" and len(extradata) == 4:
        context.codec_tag = extradata.decode("ascii", "replace")
    stream.time_base = Fraction(1, film.out_base.denominator)
    if original is not None:
        stream.metadata.update(timecode.without_timecode(kept_tags(original.metadata, copied=False)))
        stream.disposition = original.disposition
    if kept is not None:
        stream.metadata[timecode.TAG] = kept
    pixel_format = parse_pixel_format(film.pix_fmt)
    if pixel_format is not None and pixel_format.alpha and film.encoder == "libvpx-vp9":
        stream.metadata["alpha_mode"] = "1"
    return stream


def _timecode(video: VideoParams, original: VideoStream, rate: Fraction, others: Others) -> str | None:
    """The film's timecode where the output keeps it: Matroska as a tag, MOV and MP4 as a track that counts frames."""
    found = others.timecode
    if found is None or video.container not in ("mp4", "mov"):
        return found
    if video.fps and original.average_rate != Fraction(video.fps):
        why = "it counts frames of another rate"
    elif not timecode.is_held(found, rate):
        why = f"{video.container} has no place for {found} at {float(rate):.5g} frames a second"
    else:
        return found
    others.warnings.append(f"the timecode of {describe(original)} is left out: {why}")
    return None
