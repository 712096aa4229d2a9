"""Which encoder a film is encoded with: the table of codecs, and the choice made from it at plan time.

What a container or an encoder cannot hold is refused here, before any frame is decoded, with what to ask for instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import cast

from av.codec.codec import UnknownCodecError
from av.error import FFmpegError
from av.video.codeccontext import VideoCodecContext

from farm.encoders import (
    CODECS,
    CodecSpec,
    Misfit,
    container_misfit,
    hardware_misfit,
    pix_fmt_misfit,
    pix_fmts,
    which_format,
)
from farm.errors import ErrorKind, ItemError
from farm.film import VideoParams
from farm.media.video.hdr import HdrMetadata
from farm.media.video.pixel_format import PixelFormat, parse_pixel_format, target_layout
from farm.media.video.values import FULL_RANGE, LIMITED_RANGE
from farm.media.video.write.settings import encoder_options
from farm.params import UpscaleParams
from farm.target import SMALLER
from sr_kernel.layout import FrameLayout

_RGB_TAGS, _BT709_TAGS = (0, FULL_RANGE), (1, LIMITED_RANGE)
"""matrix and range as colour tags say them: identity and full; BT.709 and limited"""
_CONTAINER_SIDE = 65_535
"""largest side in MP4 and MOV, which give it 16 bits"""
_PICTURE_BYTES = (1 << 31) - 1
"""FFmpeg refuses frames of (8 x width + 1024) x (height + 128) bytes and more (av_image_check_size)"""


_AFTER_FAMILY: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "mp4": ("h264", "hevc"),
        "mov": ("h264", "hevc", "prores"),
        "mkv": ("h264", "hevc", "ffv1"),
        "webm": ("vp9", "av1"),
    }
)
"""what `auto` tries after the source's family, in order: the first that loses neither alpha nor depth nor chroma"""
_ALPHA_ADVICE = "ask for --container mov (prores), mkv (ffv1) or webm (vp9)"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFacts:
    """What of a film decides its encoder."""

    codec: str
    """FFmpeg's name of the decoder, such as h264 or libdav1d"""
    layout: FrameLayout
    """of decoded frames"""
    rate: Fraction
    """frames a second on average"""
    colour_tags: tuple[int, int, int, int] = (2, 2, 2, 0)
    """primaries, transfer, matrix and range, as FilmPlan has them"""
    hdr: HdrMetadata | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderChoice:
    """What goes into a FilmPlan."""

    encoder: str
    pix_fmt: str
    options: tuple[tuple[str, str], ...]
    target: FrameLayout
    colour_tags: tuple[int, int, int, int]
    """of the output: the source's, but for matrix and range of an RGB source that becomes YUV"""
    warning: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Fit:
    """A codec with the pixel format that suits the source best, and what of the source that loses."""

    codec: CodecSpec
    pixel_format: PixelFormat
    lost: tuple[str, ...]

    @property
    def loses_depth(self) -> bool:
        return any("bits" in what for what in self.lost)


def size_step(source: SourceFacts, params: UpscaleParams, url: str) -> tuple[int, int]:
    """What width and height of the output must be multiples of, in pixels.

    Raises:
        ItemError: UNSUPPORTED, as `choose_encoder` says.
    """
    fit = _choose(source, params, url)
    across, down = fit.pixel_format.chroma_shift
    return (1 << across, 1 << down) if fit.codec.even else (1, 1)


def choose_encoder(source: SourceFacts, size: tuple[int, int], params: UpscaleParams, url: str) -> EncoderChoice:
    """The encoder of a film, its settings and the planes it takes. A pure function of its arguments.

    Args:
        size: width and height of the output in pixels, multiples of `size_step`.
        url: of the source; stands in messages only.

    Raises:
        ItemError: UNSUPPORTED when container, codec, pixel format and source do not go together, or the encoder is
            not in this build; TOO_LARGE when codec or container cannot hold the size.
    """
    fit = _choose(source, params, url)
    _check_size(fit, size, params, url)
    target = target_layout(fit.pixel_format, source.layout, size, limited=fit.codec.limited)
    video = _video(params)
    encoder = fit.codec.nvenc if video.encoder == "nvenc" else fit.codec.encoder
    settings = encoder_options(encoder, fit.pixel_format, target, video, source.hdr, url)
    lost = f"{fit.codec.name} as {fit.pixel_format.name} loses {' and '.join(fit.lost)}" if fit.lost else None
    hurry = _hurry(fit.codec, size, source.rate)
    kept = video.codec != "auto" or source.codec in fit.codec.families
    family = next((spec.name for spec in CODECS.values() if source.codec in spec.families), None)
    other = None if kept or family is None else f"a film in {family} becomes {fit.codec.name}, which holds it"
    return EncoderChoice(
        encoder=encoder,
        pix_fmt=fit.pixel_format.name,
        options=settings.options,
        target=target,
        colour_tags=_colour_tags(source, target),
        warning="; ".join(part for part in (other, lost, hurry, settings.warning) if part) or None,
    )


def _hurry(codec: CodecSpec, size: tuple[int, int], rate: Fraction) -> str | None:
    """A warning where frames of this size follow each other faster than the codec's highest level says."""
    width, height = size
    if width * height * rate <= codec.rate:
        return None
    asked = f"{width}x{height} at {float(rate):.6g} frames a second"
    return f"{asked} is beyond the highest level of {codec.name}, and few players keep up"


def _colour_tags(source: SourceFacts, target: FrameLayout) -> tuple[int, int, int, int]:
    """The source's, but for what its samples no longer are: of its matrix, or of its range."""
    primaries, transfer, matrix, levels = source.colour_tags
    if target.model == "rgb":
        return primaries, transfer, *_RGB_TAGS
    if source.layout.model == "rgb":
        return primaries, transfer, *_BT709_TAGS
    if target.full_range:
        return primaries, transfer, matrix, levels or FULL_RANGE
    return primaries, transfer, matrix, LIMITED_RANGE if source.layout.full_range else levels


def _choose(source: SourceFacts, params: UpscaleParams, url: str) -> _Fit:
    """The codec and its pixel format."""
    video = _video(params)
    if video.container not in _AFTER_FAMILY:
        raise _unsupported(url, f"no film can be written as {video.container}", "ask for mp4, mkv, mov or webm")
    if video.codec != "auto":
        if video.codec not in CODECS:
            raise _unsupported(url, f"no codec is called {video.codec}", f"ask for one of {', '.join(CODECS)}")
        return _named(CODECS[video.codec], source, params, url)
    fits = [_fit(codec, source, params, url) for codec in _candidates(source, params)]
    held = [fit for fit in fits if fit is not None]
    if not held:
        asked = "what was asked for" if video.pix_fmt == "auto" else f"pixel format {video.pix_fmt}"
        found = f"nothing that fits into {video.container} holds {asked}"
        if source.layout.alpha:
            raise _unsupported(url, f"the film is transparent, which {video.container} does not hold", _ALPHA_ADVICE)
        raise _unsupported(url, found, "leave --pix-fmt at auto, or name another --codec or --container")
    best = min(held, key=lambda fit: _strangeness(fit, source))
    return _checked(best, video.encoder, url)


def _strangeness(fit: _Fit, source: SourceFacts) -> tuple[bool, bool]:
    """Of codecs that `auto` may choose, the first of the smallest is taken."""
    own = source.codec in fit.codec.families
    return fit.loses_depth and not (own and fit.codec.widened), bool(fit.lost) and not own


def _candidates(source: SourceFacts, params: UpscaleParams) -> list[CodecSpec]:
    """The source's family and what `auto` tries after it, of those that the container holds."""
    video = _video(params)
    family = [spec for spec in CODECS.values() if source.codec in spec.families]
    others = [CODECS[name] for name in _AFTER_FAMILY[video.container]]
    usable = [spec for spec in dict.fromkeys((*family, *others)) if video.container in spec.containers]
    return [spec for spec in usable if spec.nvenc] if video.encoder == "nvenc" else usable


def _named(codec: CodecSpec, source: SourceFacts, params: UpscaleParams, url: str) -> _Fit:
    """The codec that was asked for, or why it cannot be."""
    video = _video(params)
    misfit = container_misfit(codec, video.container) or hardware_misfit(codec, video.encoder)
    if misfit:
        raise _misfit(url, misfit)
    fit = _fit(codec, source, params, url)
    if fit is None:
        found = f"the film is transparent, which {codec.name} in {video.container} does not hold"
        raise _unsupported(url, found, _ALPHA_ADVICE)
    return _checked(fit, video.encoder, url)


def _fit(codec: CodecSpec, source: SourceFacts, params: UpscaleParams, url: str) -> _Fit | None:
    """The codec's pixel format nearest to the source, or None where it has none that holds alpha or was asked for."""
    video = _video(params)
    if video.pix_fmt != "auto":
        return _asked(codec, source, params, url)
    names = pix_fmts(codec, video.container, video.encoder)
    formats = [found for found in map(parse_pixel_format, names) if found]
    layout = source.layout
    formats = [one for one in formats if one.alpha == layout.alpha]
    if not formats:
        return None
    best = min(formats, key=lambda one: _cost(one, layout))
    return _Fit(codec=codec, pixel_format=best, lost=_lost(best, layout))


def _asked(codec: CodecSpec, source: SourceFacts, params: UpscaleParams, url: str) -> _Fit | None:
    """The pixel format that was asked for; None where `auto` may try another codec."""
    video = _video(params)
    name = which_format(video.pix_fmt, pix_fmts(codec, video.container, video.encoder))
    found = name and parse_pixel_format(name)
    if not found:
        misfit = pix_fmt_misfit(codec, video.container, video.encoder, video.pix_fmt)
        if video.codec == "auto" or misfit is None:
            return None
        raise _misfit(url, misfit)
    if source.layout.alpha and not found.alpha:
        advice = "leave --pix-fmt at auto, or name one with alpha, such as yuva444p10le"
        raise _unsupported(url, f"the film is transparent, which {found.name} does not hold", advice)
    if found.alpha and not source.layout.alpha:
        raise _unsupported(url, f"the film has no alpha for {found.name}", "leave --pix-fmt at auto")
    return _Fit(codec=codec, pixel_format=found, lost=())  # what is lost was asked for


def _cost(one: PixelFormat, layout: FrameLayout) -> tuple[int, ...]:
    """Of formats the smallest is nearest: what is lost first, then what is held in vain."""
    across, down = (have - want for have, want in zip(one.chroma_shift, layout.chroma_shift, strict=True))
    coloured = layout.model != "gray"
    return (
        int(coloured and one.model == "gray"),
        coloured * (max(across, 0) + max(down, 0)),
        max(layout.depth - one.depth, 0),
        int(one.model != layout.model),
        -min(across, 0) - min(down, 0) if coloured else -sum(one.chroma_shift),
        abs(one.depth - layout.depth),
    )


def _lost(one: PixelFormat, layout: FrameLayout) -> tuple[str, ...]:
    lost: list[str] = []
    if layout.model != "gray" and any(h > w for h, w in zip(one.chroma_shift, layout.chroma_shift, strict=True)):
        lost.append("chroma resolution")
    if one.depth < layout.depth:
        lost.append(f"{layout.depth - one.depth} of {layout.depth} bits")
    return tuple(lost)


def _checked(fit: _Fit, kind: str, url: str) -> _Fit:
    """The fit, if its encoder is there."""
    name = fit.codec.nvenc if kind == "nvenc" else fit.codec.encoder
    try:
        context = cast(VideoCodecContext, VideoCodecContext.create(name, "w"))
    except UnknownCodecError as error:
        advice = "ask for --encoder software" if kind == "nvenc" else "install PyAV's own wheels, or another --codec"
        raise _unsupported(url, f"this build of PyAV has no encoder {name}", advice) from error
    if kind == "nvenc":  # the build has it, but has the machine?
        context.width, context.height, context.pix_fmt = 256, 256, fit.pixel_format.name
        context.time_base = Fraction(1, 25)
        try:
            context.open()
        except FFmpegError as error:
            found = f"{name} does not open here ({str(error)[:150]})"
            raise _unsupported(url, found, "ask for --encoder software, or run where a GPU has NVENC") from error
    return fit


def _check_size(fit: _Fit, size: tuple[int, int], params: UpscaleParams, url: str) -> None:
    """Refuse what the codec or the container cannot hold."""
    width, height = size
    codec, container = fit.codec, _video(params).container
    asked = f"the output of {width}x{height}"
    if min(size) < codec.least_side:
        found = f"{asked} is too small for {codec.name}, whose sides begin at {codec.least_side}"
        raise _unsupported(url, found, "ask for a larger --outscale or --size, or for another --codec")
    limit = None
    if max(size) > codec.side or height > codec.short_side:
        limit = f"{codec.name} ends at {codec.side}x{min(codec.side, codec.short_side)}"
    elif width * height > codec.area:
        limit = f"the highest level of {codec.name} ends at {codec.area} pixels"
    elif container in ("mp4", "mov") and max(size) > _CONTAINER_SIDE:
        limit = f"sides in {container} end at {_CONTAINER_SIDE}"
    elif (8 * width + 1024) * (height + 128) >= _PICTURE_BYTES:
        limit = "FFmpeg takes frames of up to 268 million pixels"
    if limit is not None:
        others = [spec.name for spec in CODECS.values() if _holds(spec, size) and container in spec.containers]
        advice = f", or --codec {' or '.join(others)}" if others else ""
        raise ItemError(ErrorKind.TOO_LARGE, url, f"{asked}: {limit}", f"{SMALLER}{advice}")


def _holds(codec: CodecSpec, size: tuple[int, int]) -> bool:
    width, height = size
    fits = max(size) <= codec.side and height <= codec.short_side and width * height <= codec.area
    return fits and (8 * width + 1024) * (height + 128) < _PICTURE_BYTES


def _video(params: UpscaleParams) -> VideoParams:
    if params.video is None:
        raise ValueError("parameters of a picture, not of a film")
    return params.video


def _misfit(url: str, misfit: Misfit) -> ItemError:
    return _unsupported(url, misfit.found, misfit.advice)


def _unsupported(url: str, found: str, advice: str) -> ItemError:
    return ItemError(ErrorKind.UNSUPPORTED, url, found, advice)
