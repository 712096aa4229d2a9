"""What a decoded frame says of its film: layout, colours, aspect, rotation, fields."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import cast

import av
from av.sidedata.sidedata import SideData, Type
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.film import FilmPlan
from farm.media.video.hdr import read_hdr
from farm.media.video.planes import SourceFormat, is_opaque_palette, source_format
from farm.media.video.read.siting import said_of
from farm.media.video.values import FULL_RANGE, LIMITED_RANGE, FrameFacts
from sr_kernel.layout import FrameLayout

UNSPECIFIED = 2
DEINTERLACED_MODELS = ("yuv", "gray")
_MATRICES: Mapping[int, str] = MappingProxyType(
    {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
)
"""H.273 number of the matrix -> name in sr_kernel.layout"""
_OTHER_MATRICES: Mapping[int, str] = MappingProxyType(
    {
        8: "YCgCo",
        10: "BT.2020 of constant luminance",
        11: "YDzDx",
        14: "ICtCp",
        15: "IPT-C2",
        16: "YCgCo-R",
        17: "YCgCo-R",
    }
)
_SHOWN: Mapping[str, str] = MappingProxyType(
    {"bt709": "BT.709", "fcc": "FCC", "bt601": "BT.601", "smpte240m": "SMPTE 240M", "bt2020": "BT.2020"}
)
"""names in sr_kernel.layout as people write them"""
_BT2020 = 9
_HD_WIDTH, _SD_HEIGHT = 1280, 576
"""pixels from which on, and lines beyond which, players take a film for BT.709"""
_CENTERED = frozenset({"mjpeg", "mjpegb", "mpeg1video", "theora", "vp3"})
"""codecs whose chroma lies in the middle of its luma samples"""
TELLING = frozenset(
    {
        *("h264", "hevc", "vvc", "mpeg1video", "mpeg2video", "mpeg4", "vc1", "wmv3", "cavs", "h261", "h263", "flv"),
        *("msmpeg4v1", "msmpeg4v2", "msmpeg4", "wmv1", "wmv2", "svq1", "svq3", "rv10", "rv20", "rv30", "rv40", "av1"),
        *("libdav1d", "vp8", "vp9", "theora", "vp3", "dirac", "prores", "dvvideo", "dnxhd", "cfhd", "hqx", "ffv1"),
    }
)
"""codecs whose frames say themselves whether they are interlaced, or never are: the container's word is for others"""
_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def frame_facts(frame: av.VideoFrame, stream: VideoStream, codec: str, url: str) -> FrameFacts:
    """What is true of the film, as far as its first frame tells.

    Args:
        codec: FFmpeg's name of the decoder.

    Raises:
        ItemError: UNSUPPORTED for pixel formats and colour matrices that have no right conversion here.
    """
    kind = source_format(frame.format.name)
    if kind is None:
        found = f"pixel format {frame.format.name}, which is not read"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "convert it to a YUV or RGB format of 8 to 16 bits first")
    tags = (frame.color_primaries, frame.color_trc, frame.colorspace, frame.color_range)
    said = said_of(stream)
    siting = said.siting or ("center" if codec in _CENTERED else "left")  # `left` is also what nothing said is
    return FrameFacts(
        layout=_layout(frame, kind, siting, tags, url),
        pix_fmt=frame.format.name,
        colour_tags=(tags[0], tags[1], tags[2], FULL_RANGE if kind.full_range and kind.model == "yuv" else tags[3]),
        sample_aspect=_sample_aspect(stream),
        rotation=_display_matrix(frame),
        interlaced=frame.interlaced_frame,
        hdr=read_hdr(frame),
        fields=said.fields if codec not in TELLING and kind.model in DEINTERLACED_MODELS else None,
        crop=said.crop,
    )


def _layout(
    frame: av.VideoFrame, kind: SourceFormat, said: str, tags: tuple[int, int, int, int], url: str
) -> FrameLayout:
    full = {"yuv": kind.full_range or tags[3] == FULL_RANGE, "gray": tags[3] != LIMITED_RANGE, "rgb": True}[kind.model]
    matrix = _matrix((frame.width, frame.height), tags, url) if kind.model == "yuv" else "bt709"
    by_custom = "topleft" if matrix == "bt2020" and kind.chroma_shift == (1, 1) else "left"
    return FrameLayout(
        width=frame.width,
        height=frame.height,
        model=kind.model,
        depth=kind.depth,
        chroma_shift=kind.chroma_shift,
        matrix=matrix,
        full_range=full,
        siting=by_custom if said == "left" else said,
        alpha=kind.alpha and not is_opaque_palette(frame),
    )


def _matrix(size: tuple[int, int], tags: tuple[int, int, int, int], url: str) -> str:
    """The matrix that the film says, else that of its primaries or, by convention, of its width and height."""
    if tags[2] in _OTHER_MATRICES:
        found = f"colours in {_OTHER_MATRICES[tags[2]]}, which have no conversion here"
        raise ItemError(ErrorKind.UNSUPPORTED, url, found, "convert it to BT.709 or BT.2020 first")
    if tags[2] in _MATRICES:
        return _MATRICES[tags[2]]
    if tags[0] == _BT2020:
        return "bt2020"
    return "bt709" if size[0] >= _HD_WIDTH or size[1] > _SD_HEIGHT else "bt601"


def other_colours(frame: av.VideoFrame, kind: SourceFormat, film: FilmPlan) -> str | None:
    """The matrix or the range that a frame is said to be of, where its film is said to be of another; None: it is not.

    A frame of which nothing is said is like all others of its film, and so are all of a film of which nothing is.
    """
    number, levels, layout = frame.colorspace, frame.color_range, film.source
    matrix = _MATRICES.get(number, _OTHER_MATRICES.get(number))
    is_said = film.colour_tags[2] != UNSPECIFIED
    if layout.model == "yuv" and is_said and matrix is not None and matrix != layout.matrix:
        return f"the matrix {_SHOWN.get(matrix, matrix)}"
    said = levels or (FULL_RANGE if kind.full_range else 0)  # decoders may keep the format where only levels change
    if layout.model == "rgb" or not film.colour_tags[3] or not said or (said == FULL_RANGE) == layout.full_range:
        return None
    return "full range" if said == FULL_RANGE else "limited range"


def _sample_aspect(stream: VideoStream) -> Fraction | None:
    aspect = stream.sample_aspect_ratio
    return aspect if aspect else None


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """Nine integers of 16.16 and 2.30 bits, as MP4 and FFmpeg have them; empty for upright."""
    try:
        sides = list(cast("Iterable[SideData]", frame.side_data))  # PyAV's mapping iterates over its values
    except ValueError:  # side data of a kind newer than PyAV's list hides all others from it but the angle
        return _turned(frame.rotation)
    for side in sides:
        data = bytes(side)
        if side.type is Type.DISPLAYMATRIX and len(data) >= 36:
            matrix = struct.unpack_from("=9i", data)
            return () if matrix == _UPRIGHT else matrix
    return ()


def _turned(degrees: int) -> tuple[int, ...]:
    """The display matrix of a turn by a multiple of 90 degrees, counted as FFmpeg does: counter-clockwise."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}.get(degrees % 360, (1, 0))
    matrix = (cosine << 16, -sine << 16, 0, sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    return () if matrix == _UPRIGHT else matrix
