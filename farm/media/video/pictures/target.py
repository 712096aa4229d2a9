"""What frames become where the output is no film: numbered pictures, or an animated GIF, WebP or APNG.

Segments of an animated picture wait for their join as lossless pieces of FFV1, so that the join decodes what was
restored, bit for bit, and each picture is encoded once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from types import MappingProxyType

from farm.errors import ErrorKind, ItemError
from farm.film import VideoParams
from farm.kinds import FORMAT_LIMITS
from farm.media.formats import DEEP_FORMATS
from farm.media.video.pixel_format import parse_pixel_format
from farm.media.video.write.codecs import EncoderChoice, SourceFacts
from farm.media.video.write.settings import encoder_options
from farm.params import UpscaleParams
from farm.target import SMALLER
from sr_kernel.layout import FrameLayout

ANIMATIONS = frozenset({"gif", "webp", "apng"})
KEEP_PROFILE = frozenset({"webp", "apng"})
"""those of them that have a place for a colour profile"""
PICTURE_CONTAINERS = ANIMATIONS | {"sequence"}
"""values of VideoParams.container whose frames become pictures"""

_PIECES: Mapping[tuple[str, int, bool], str] = MappingProxyType(
    {
        ("rgb", 8, False): "bgr0",
        ("rgb", 8, True): "bgra",
        ("gray", 8, False): "gray",
        ("gray", 8, True): "ya8",
        ("rgb", 16, False): "gbrp16le",
        ("rgb", 16, True): "gbrap16le",
        ("gray", 16, False): "gray16le",
    }
)
"""(model, depth, alpha) -> pixel format of FFV1; it has none for gray with alpha of 16 bits"""
_LEAST_SIDE = 4
"""of FFV1"""
_FRAME_BYTES = (1 << 31) - 1
"""FFmpeg refuses frames of (8 x width + 1024) x (height + 128) bytes and more (av_image_check_size)"""
_GIF_RATE = 50
"""a GIF counts in hundredths of a second, and viewers show a frame of less than two of them for ten"""


def choose_pictures(source: SourceFacts, size: tuple[int, int], params: UpscaleParams, url: str) -> EncoderChoice:
    """The planes that pictures are made of, and how they wait for their join. A pure function of its arguments.

    Pictures are RGB, or gray where the source is, of the source's alpha, and of 16 bits where source and format have
    more than 8. Options that speak of codecs mean nothing here; the warning names those that were asked for.

    Args:
        size: width and height of the output in pixels.
        url: of the source; stands in messages only.

    Raises:
        ItemError: TOO_LARGE when the format cannot hold the size, UNSUPPORTED for animations less than four pixels
            wide or high.
    """
    video = _video(params)
    _check_size(size, params, url)
    layout = _layout(source.layout, size, params)
    tags = (*source.colour_tags[:2], 0 if layout.model == "rgb" else source.colour_tags[2], 2)
    warnings = _warnings(source, video)
    if video.container == "sequence":
        return EncoderChoice(
            encoder="", pix_fmt="", options=(), target=layout, colour_tags=tags, warning="; ".join(warnings) or None
        )
    pix_fmt = _PIECES[layout.model, layout.depth, layout.alpha]
    pixel_format = parse_pixel_format(pix_fmt)
    if pixel_format is None:
        raise ValueError(f"no pixel format for frames: {pix_fmt}")
    settings = encoder_options("ffv1", pixel_format, layout, replace(video, crf=None, preset=""), None, url)
    return EncoderChoice(
        encoder="ffv1",
        pix_fmt=pix_fmt,
        options=settings.options,
        target=layout,
        colour_tags=tags,
        warning="; ".join(warnings) or None,
    )


def _layout(source: FrameLayout, size: tuple[int, int], params: UpscaleParams) -> FrameLayout:
    container = _video(params).container
    deep = source.depth > 8 and (params.format in DEEP_FORMATS or container == "apng")
    gray = source.model == "gray" and ("gray", 16 if deep else 8, source.alpha) in _PIECES
    return FrameLayout(
        width=size[0],
        height=size[1],
        model="gray" if gray else "rgb",
        depth=16 if deep else 8,
        full_range=True,
        alpha=source.alpha,
    )


def _check_size(size: tuple[int, int], params: UpscaleParams, url: str) -> None:
    width, height = size
    container = _video(params).container
    limit = FORMAT_LIMITS[params.format if container == "sequence" else container]
    if max(size) > limit:
        found = f"{width} x {height}, but {container} holds at most {limit} pixels a side"
        raise ItemError(ErrorKind.TOO_LARGE, url, found, f"{SMALLER}, or ask for --container sequence or mkv")
    if container == "sequence":
        return
    if (8 * width + 1024) * (height + 128) > _FRAME_BYTES:
        found = f"{width} x {height} is more than a frame of an animated picture may have"
        raise ItemError(ErrorKind.TOO_LARGE, url, found, f"{SMALLER}, or ask for --container sequence")
    if min(size) < _LEAST_SIDE:
        found = f"{width} x {height} is less than {_LEAST_SIDE} pixels wide or high"
        raise ItemError(
            ErrorKind.UNSUPPORTED, url, found, "raise --outscale or --size, or ask for --container sequence"
        )


def _warnings(source: SourceFacts, video: VideoParams) -> list[str]:
    ignored = [
        *(["--codec"] if video.codec != "auto" else []),
        *(["--crf"] if video.crf is not None else []),
        *(["--preset"] if video.preset else []),
        *(["--pix-fmt"] if video.pix_fmt != "auto" else []),
        *(["--encoder"] if video.encoder != "software" else []),
    ]
    warnings = [f"--container {video.container} has no use for {' and '.join(ignored)}"] if ignored else []
    if video.container == "gif" and source.codec != "gif":
        warnings.append("a GIF holds 256 colours a frame")
        if source.layout.alpha:
            warnings.append("what is half transparent becomes opaque or clear")
    if video.container == "gif" and source.rate > _GIF_RATE:
        warnings.append(f"a GIF shows at most {_GIF_RATE} of {_shown(source.rate)} frames a second in time")
    if video.container in ("gif", "webp") and source.layout.depth > 8:
        warnings.append(f"{video.container} holds 8 of {source.layout.depth} bits")
    return warnings


def _shown(rate: Fraction) -> str:
    return f"{float(rate):.3f}".rstrip("0").rstrip(".")


def _video(params: UpscaleParams) -> VideoParams:
    if params.video is None:
        raise ValueError("parameters of a picture, not of a film")
    return params.video
