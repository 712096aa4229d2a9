"""Opening films safely: real containers only, from one file object, and nothing that a file names is ever opened.

PyAV is given no name and no protocol: every open that a demuxer asks for is refused, and the list of demuxers leaves
out those whose files are lists of other files (concat, HLS, DASH, SDP, image sequences).
"""

from __future__ import annotations

import errno
import logging
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import BinaryIO, NoReturn

import av
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from farm.errors import ErrorKind, ItemError
from farm.media.video.faults import check_memory, ffmpeg_fault, reading
from farm.media.video.read.containers import looks_like, transport_packet
from farm.media.video.read.structure import unsafe, without_film
from farm.media.video.values import VideoHeader

BUFFER_BYTES = 1 << 20
"""asked of the source at a time; a store answers one such range in tens of milliseconds"""
_HEAD_BYTES = 4096
_FORMATS = (
    *("mov", "matroska", "webm", "avi", "mpegts", "mpeg", "mpegvideo", "asf", "asf_o", "flv", "ogg", "mxf", "nut"),
    *(
        "yuv4mpegpipe",
        "dv",
        "h264",
        "hevc",
        "m4v",
        "h263",
        "ivf",
        "obu",
        "av1",
        "vc1",
        "rm",
        "gxf",
        "nsv",
        "wtv",
        "smk",
    ),
    *("mpjpeg", "dirac", "vvc", "gif", "apng"),
)
"""FFmpeg's names of the demuxers that are used: each reads one file and nothing else"""
_LISTS = re.compile(
    rb"\s*(?:ffconcat\b|#EXTM3U|#EXT-X-|v=0\s|\[playlist\]|\[Reference\]|RTSPtext|rtsptext|SMIL|<smil|<MPD\b|<asx\b|"
    rb"<SmoothStreamingMedia|file\s+['\"/\w.]|stream\s*\r?\n|[a-z][a-z0-9+.-]{1,20}:(?://|[^\s:]{1,200}://))",
    re.IGNORECASE,
)
"""how text that names other files or addresses begins"""
_LISTS_WITHIN = re.compile(rb"<(?:MPD|SmoothStreamingMedia|smil|asx|playlist)\b|^\s*file\s+['\"/]|^#EXT", re.I | re.M)
_MARKUP = re.compile(rb"\s*(?:<[!?a-z]|[{\[])", re.IGNORECASE)
_PICTURES = (
    *((b"\xff\xd8\xff", "JPEG"), (b"II*\0", "TIFF"), (b"MM\0*", "TIFF"), (b"BM", "BMP"), (b"8BPS", "Photoshop")),
    *((b"%PDF", "PDF"), (b"\0\0\0\x0cjP  ", "JPEG 2000"), (b"\xff\x0a", "JPEG XL"), (b"v/1\x01", "OpenEXR")),
)
_COPY_AGAIN = "copy it again"
_NO_SUCH_PLACE = frozenset({errno.EINVAL, errno.EOVERFLOW})
_LOG = logging.getLogger("farm.media.video")


class Reading:
    """A file object as PyAV reads it: without a name, never closed, and with every error of the store kept.

    Demuxers take a failed read for the end of the file; the error must not turn into a shorter film. Some try again for
    ever, so it is told once and the file is at its end from then on.
    """

    def __init__(self, source: BinaryIO, url: str) -> None:
        self._source = source
        self.url = url
        self.error: BaseException | None = None
        self.opened_others = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes from where the file stands; none once the store has failed."""
        if self.error is not None:
            return b""
        try:
            with reading(self.url):
                return self._source.read(size)
        except BaseException as error:
            self.error = self.error or error
            raise

    def seek(self, offset: int, whence: int = 0) -> int:
        """As of any file; what is below 0 for a place that no file has, which FFmpeg tries in damaged films."""
        if self.error is not None:
            return -errno.EIO
        try:
            with reading(self.url):
                return self._sought(offset, whence)
        except BaseException as error:
            self.error = self.error or error
            raise

    def _sought(self, offset: int, whence: int) -> int:
        try:
            return self._source.seek(offset, whence)
        except (ValueError, OverflowError):
            return -errno.EINVAL
        except OSError as error:
            if error.errno in _NO_SUCH_PLACE:
                return -errno.EINVAL
            raise

    def tell(self) -> int:
        """As of any file."""
        return self._source.tell()

    def refuse(self, _url: str, _flags: int, _options: dict[str, str]) -> NoReturn:
        """What PyAV asks for any other file: there is none."""
        self.opened_others = True
        raise PermissionError("a film may not open other files")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenContainer:
    """A container that is open, and the file that it is read from."""

    container: InputContainer
    file: Reading

    def check(self) -> None:
        """Raises what the store raised so far, even where FFmpeg took it for the end of the file."""
        if self.file.error is not None:
            raise self.file.error
        if self.file.opened_others:
            raise unsafe(self.file.url, "it names other files")


@contextmanager
def opened(source: BinaryIO, url: str) -> Generator[InputContainer]:
    """An open container while the block runs; see `watched`."""
    with watched(source, url) as open_container:
        yield open_container.container


@contextmanager
def watched(source: BinaryIO, url: str, *, hardware: bool = False) -> Generator[OpenContainer]:
    """An open container while the block runs.

    What the store raised meanwhile comes out as `farm.media.video.faults` says, even where FFmpeg took it for the end
    of the file; so does what FFmpeg itself raised in the block.

    Args:
        hardware: let the GPU's own decoder work where there is one for the codec; it gives the same pixels.

    Raises:
        ItemError: EMPTY_INPUT, UNSAFE_CONTAINER, UNSUPPORTED, TRUNCATED, CORRUPT or STORAGE_ERROR.
        MemoryError: when there is none left.
    """
    head = _head(source, url)
    file = Reading(source, url)
    try:
        with _open(file, head, source, url, hardware=hardware) as container:
            found = OpenContainer(container=container, file=file)
            yield found
            found.check()
    except BaseException as error:
        if file.error is not None and error is not file.error:
            raise file.error from error
        if isinstance(error, FFmpegError):
            raise ffmpeg_fault(url, error) from error
        raise


def _head(source: BinaryIO, url: str) -> bytes:
    """The first bytes, once they are no reason to refuse the file."""
    with reading(url):
        source.seek(0)
        head = source.read(_HEAD_BYTES)
    _judge(head, url)
    return head


def _open(file: Reading, head: bytes, source: BinaryIO, url: str, *, hardware: bool = False) -> InputContainer:
    name = "mpegts" if transport_packet(head) else None  # of a short one FFmpeg takes the packets' heads for video
    if hardware:
        try:
            return _demuxer(file, name, HWAccel("cuda", allow_software_fallback=True))
        except (FFmpegError, RuntimeError):
            _LOG.warning("no hardware decoder for %s; FFmpeg's own gives the same pixels", url)
    try:
        return _demuxer(file, name, None)
    except (FFmpegError, ValueError, PermissionError) as error:
        check_memory(error)
        if file.error is not None:
            raise file.error from error
        if file.opened_others:
            raise unsafe(url, "it names other files") from error
        raise _not_opened(head, source, url, str(error)) from error


def _demuxer(file: Reading, name: str | None, hardware: HWAccel | None) -> InputContainer:
    file.seek(0)
    return av.open(
        file,
        "r",
        format=name,
        container_options={"format_whitelist": ",".join(_FORMATS), "protocol_whitelist": "none"},
        metadata_errors="replace",
        buffer_size=BUFFER_BYTES,
        io_open=file.refuse,
        hwaccel=hardware,
    )


def _judge(head: bytes, url: str) -> None:
    """Refuse by the first bytes what FFmpeg would take for something else, or follow."""
    if not head:
        raise ItemError(ErrorKind.EMPTY_INPUT, url, "0 bytes", "copy the file again from where it came")
    plain = head.removeprefix(b"\xef\xbb\xbf")
    text = b"\0" not in head
    if text and (_LISTS.match(plain) or _LISTS_WITHIN.search(plain)):
        raise unsafe(url, "text that names other files or addresses")
    if text and _MARKUP.match(plain):
        found = f"a page of text, not a film ({_printable(plain[:40])})"
        raise ItemError(ErrorKind.CORRUPT, url, found, "fetch it again: a server's error page was saved under its name")
    picture = next((name for magic, name in _PICTURES if head.startswith(magic)), None)
    still = head.startswith(b"\x89PNG") and b"acTL" not in head
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        picture = "WebP"
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis", b"heic", b"heix", b"mif1"):
        picture = "HEIF or AVIF"
    if picture or still:
        found = f"a {picture or 'PNG'} picture, not a film"
        raise ItemError(
            ErrorKind.UNSUPPORTED, url, found, "give it its own extension; it is then restored as a picture"
        )


def _not_opened(head: bytes, source: BinaryIO, url: str, said: str) -> ItemError:
    """Why no demuxer took the file."""
    container = looks_like(head)
    if container:
        damaged = ItemError(ErrorKind.CORRUPT, url, f"damaged {container} ({said[:120]})", _COPY_AGAIN)
        return without_film(container, source, damaged)
    found = "no container of a film that is known here"
    return ItemError(
        ErrorKind.CORRUPT, url, found, "check the file; films are MP4, MOV, Matroska, WebM, AVI, TS and such"
    )


def _printable(data: bytes) -> str:
    return "".join(c if c.isprintable() else " " for c in data.decode("latin-1")).strip()


def film_stream(container: InputContainer, url: str) -> VideoStream:
    """The stream that is restored: the default, else the first, of those that are no cover art and can be decoded.

    Raises:
        ItemError: NO_VIDEO_STREAM, UNSUPPORTED.
    """
    shown = [stream for stream in container.streams.video if not _is_still(stream)]
    if not shown:
        held = sorted({stream.type for stream in container.streams} - {"video"})
        found = "no video stream but cover art" if container.streams.video else "no video stream"
        found += f" (only {', '.join(held)})" if held else ""
        raise ItemError(ErrorKind.NO_VIDEO_STREAM, url, found, "leave the file out of the manifest")
    decodable = [stream for stream in shown if _has_decoder(stream)]
    if not decodable:
        advice = "convert it to a codec that FFmpeg decodes"
        raise ItemError(ErrorKind.UNSUPPORTED, url, "FFmpeg has no decoder for its video stream", advice)
    return next((stream for stream in decodable if stream.disposition & Disposition.default), decodable[0])


def _is_still(stream: VideoStream) -> bool:
    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _has_decoder(stream: VideoStream) -> bool:
    context = stream.codec_context
    return context is not None and context.codec.is_decoder  # pyright: ignore[reportUnnecessaryComparison]


def header_of(container: InputContainer, stream: VideoStream) -> VideoHeader:
    """What the container says of one of its streams."""
    context = stream.codec_context
    base = stream.time_base if stream.time_base is not None and stream.time_base > 0 else Fraction(1, 1_000_000)
    duration = None if stream.duration is None else float(stream.duration * base)
    if duration is None and container.duration is not None:
        duration = container.duration / av.time_base
    rates = (stream.average_rate, stream.guessed_rate, stream.base_rate)
    return VideoHeader(
        container=container.format.name,
        stream_index=stream.index,
        codec=context.name,
        width=context.width,
        height=context.height,
        pix_fmt=pixel_format_name(context),
        time_base=base,
        rate=next((rate for rate in rates if rate is not None and rate > 0), Fraction(25)),
        frames=stream.frames or _counted_tag(stream.metadata),
        duration_s=duration,
    )


def pixel_format_name(context: VideoCodecContext) -> str:
    """FFmpeg's name of the pixel format, empty where none is known; PyAV's own `pix_fmt` then reads address 0."""
    return context.format.name if context.format is not None else ""


def _counted_tag(metadata: dict[str, str]) -> int | None:
    """The number of frames that mkvmerge writes into a track's tags."""
    for name, value in metadata.items():
        if name.upper().startswith("NUMBER_OF_FRAMES") and value.isdigit():
            return int(value)
    return None


def read_header(source: BinaryIO, url: str) -> VideoHeader:
    """What the container says of its film; no frame is decoded.

    Raises:
        ItemError: as `opened` and `film_stream`.
    """
    with opened(source, url) as container:
        return header_of(container, film_stream(container, url))


def seek_to(container: InputContainer, stream: VideoStream, stamp: int) -> bool:
    """Go to the keyframe at or before a timestamp; false where the container cannot."""
    try:
        container.seek(stamp, stream=stream, backward=True)
    except (FFmpegError, ValueError, OverflowError) as error:
        check_memory(error)
        return False
    return True
