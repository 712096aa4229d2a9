"""Small films made with PyAV itself, so that tests of reading run anywhere: a moving pattern, one file a name."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from types import MappingProxyType

import av
import numpy as np

from farm.media.video.planes import source_format
from farm.media.video.write.priority import ordinary_priority

WIDTH, HEIGHT = 96, 64
X264 = {"preset": "ultrafast"}
X265 = "log-level=none:pools=1:frame-threads=1"


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Frame `number`: slopes that move, grain, and a bright block."""
    y, x = np.mgrid[0:height, 0:width]
    slopes = np.stack([x * 2 + number * 3, y * 3 + number * 5, x + y + number * 7], axis=2) % 256
    grain = np.random.default_rng(number).integers(0, 30, slopes.shape)
    frame = np.clip(slopes * 0.7 + grain, 0, 255).astype(np.uint8)
    frame[4:20, 4 + number % 40 : 20 + number % 40] = 255
    return frame


@ordinary_priority()
def clip(
    codec: str,
    container: str,
    pix_fmt: str = "yuv420p",
    *,
    options: Mapping[str, str] | None = None,
    muxer: Mapping[str, str] | None = None,
    frames: int = 40,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    rate: int = 25,
    times: Sequence[int] | None = None,
    settings: Mapping[str, object] | None = None,
) -> bytes:
    """A film of the pattern.

    Args:
        times: milliseconds of each frame; None: constant rate.
        settings: attributes of the encoder.
    """
    file = io.BytesIO()
    with av.open(file, "w", format=container, container_options=dict(muxer or {})) as out:
        stream = out.add_stream(codec, rate=rate, options=dict(options or {}))
        context = stream.codec_context
        context.width, context.height = size
        context.pix_fmt, context.thread_count = pix_fmt, 1
        if times is not None:
            context.time_base = Fraction(1, 1000)
        for name, value in (settings or {}).items():
            setattr(context, name, value)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(
                format=pix_fmt, threads=1
            )
            frame.pts = number if times is None else times[number]
            frame.time_base = Fraction(1, rate) if times is None else Fraction(1, 1000)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


def h264(container: str, params: str = "bframes=3:keyint=12", **more: object) -> bytes:
    """H.264 with B-frames and a keyframe every twelve frames."""
    options = {**X264, "x264-params": params}
    return clip("libx264", container, options=options, **more)  # pyright: ignore[reportArgumentType]


def in_front(data: bytes) -> bytes:
    """The same packets in an MP4 whose index comes first."""
    out, head = io.BytesIO(), b""
    boxes = [(at, length, data[at + 4 : at + 8]) for at, length in _boxes(data)]
    index = next(data[at : at + length] for at, length, name in boxes if name == b"moov")
    rest = [data[at : at + length] for at, length, name in boxes if name not in (b"moov", b"ftyp")]
    head = next(data[at : at + length] for at, length, name in boxes if name == b"ftyp")
    out.write(head + _shifted(index, len(index)) + b"".join(rest))
    return out.getvalue()


def _boxes(data: bytes) -> list[tuple[int, int]]:
    found, at = [], 0
    while at < len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        found.append((at, length))
        at += length
    return found


_ENTRY = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"avc1")
_HEADS = {b"stsd": 8, b"avc1": 78}
"""bytes that these boxes have before the boxes in them"""


def with_box(data: bytes, name: bytes, content: bytes) -> bytes:
    """An MP4 of H.264 whose index comes last, with one box more in the description of its samples."""
    return _with_box(data, _ENTRY, (len(content) + 8).to_bytes(4, "big") + name + content)


def _with_box(data: bytes, path: tuple[bytes, ...], box: bytes) -> bytes:
    out = bytearray()
    for at, length in _boxes(data):
        name, body = data[at + 4 : at + 8], data[at + 8 : at + length]
        if path[:1] == (name,):
            head, inner = body[: _HEADS.get(name, 0)], body[_HEADS.get(name, 0) :]
            body = head + (_with_box(inner, path[1:], box) if path[1:] else inner + box)
            path = ()
        out += (len(body) + 8).to_bytes(4, "big") + name + body
    return bytes(out)


def _shifted(index: bytes, by: int) -> bytes:
    """An index whose chunks lie `by` bytes further on."""
    data = bytearray(index)
    at = data.index(b"stco")
    for place in range(at + 12, at + 12 + 4 * int.from_bytes(data[at + 8 : at + 12], "big"), 4):
        data[place : place + 4] = (int.from_bytes(data[place : place + 4], "big") + by).to_bytes(4, "big")
    return bytes(data)


class _Pipe:
    """A file that muxers cannot go back in, as an encoder's standard output."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._parts.append(bytes(data))
        return len(data)

    def getvalue(self) -> bytes:
        return b"".join(self._parts)


def remuxed(
    data: bytes,
    container: str,
    change: Callable[[av.Packet], bool] = lambda _: True,
    *,
    piped: bool = False,
    **muxer: str,
) -> bytes:
    """The packets of a film in another container; those are left out for which `change` says False.

    Args:
        piped: into a pipe, so that Matroska does not know the size of its segment.
    """
    file = _Pipe() if piped else io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=container, container_options=muxer) as out:
        stream = source.streams.video[0]
        target = out.add_stream_from_template(stream, opaque=True)
        out.start_encoding()
        for packet in source.demux(stream):
            if packet.size and change(packet):
                packet.stream = target
                out.mux(packet)
    return file.getvalue()


def without_cluster_sizes(data: bytes) -> bytes:
    """A piped WebM whose clusters have no sizes either, as browsers record them."""
    out, at = bytearray(data), data.find(b"\x1f\x43\xb6\x75")
    while at >= 0:
        length = 9 - data[at + 4].bit_length()
        out[at + 4 : at + 4 + length] = ((1 << 7 * length + 1) - 1).to_bytes(length, "big")
        at = data.find(b"\x1f\x43\xb6\x75", at + 4)
    return bytes(out)


def edited(data: bytes, ticks: int) -> bytes:
    """An MP4 whose first `ticks` ticks an edit list leaves out."""

    def earlier(packet: av.Packet) -> bool:
        packet.pts, packet.dts = packet.pts - ticks, packet.dts - ticks
        return True

    return remuxed(data, "mp4", earlier, avoid_negative_ts="disabled")


def with_sound(data: bytes, container: str, *, cover: bool = False, film: bool = True) -> bytes:
    """The film with a tone; with a picture of one frame marked as cover art, or without the film itself."""
    file = io.BytesIO()
    with av.open(io.BytesIO(data)) as source, av.open(file, "w", format=container) as out:
        stream = source.streams.video[0]
        art = out.add_stream("mjpeg", rate=1) if cover else None
        if art is not None:
            art.codec_context.width, art.codec_context.height, art.codec_context.pix_fmt = 48, 48, "yuvj420p"
            art.disposition = av.stream.Disposition.attached_pic
        target = out.add_stream_from_template(stream, opaque=True) if film else None
        tone = out.add_stream("aac", rate=48000)
        for number in range(20):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.pts, sound.sample_rate = number * 1024, 48000
            out.mux(tone.encode(sound))
        out.mux(tone.encode(None))
        if art is not None:
            image = av.VideoFrame.from_ndarray(picture(0, 48, 48), format="rgb24").reformat(
                format="yuvj420p", threads=1
            )
            image.pts = 0
            out.mux(art.encode(image))
            out.mux(art.encode(None))
        for packet in source.demux(stream) if target is not None else ():
            if packet.size:
                packet.stream = target
                out.mux(packet)
    return file.getvalue()


def extents(data: bytes) -> list[tuple[int, int, bool]]:
    """(offset, bytes, keyframe or not) of every packet, in the order of the file."""
    with av.open(io.BytesIO(data)) as source:
        packets = [packet for packet in source.demux(video=0) if packet.size]
        return [(_offset(data, packet), packet.size, packet.is_keyframe) for packet in packets]


def _offset(data: bytes, packet: av.Packet) -> int:
    return data.index(bytes(packet)[:24]) if packet.pos is None else packet.pos


def flipped(data: bytes, packet: int, share: tuple[float, float] = (0.25, 0.75)) -> bytes:
    """The film with the middle of one of its packets made wrong."""
    at, size, _ = extents(data)[packet]
    out = bytearray(data)
    for place in range(at + int(size * share[0]), at + int(size * share[1])):
        out[place] ^= 0x5A
    return bytes(out)


Decoded = list[tuple[int | None, tuple[bytes, ...]]]


def sequential(data: bytes) -> Decoded:
    """Timestamp and planes of each frame as PyAV gives them when it decodes a film from its start to its end."""
    found: Decoded = []
    with av.open(io.BytesIO(data)) as source:
        stream = source.streams.best("video")
        assert stream is not None
        stream.codec_context.thread_count = 1
        for frame in source.decode(stream):
            kind = source_format(frame.format.name)
            assert kind is not None
            found.append((frame.pts, tuple(plane.tobytes() for plane in kind.read(frame))))
    return found


def _open_gop(container: str, pix_fmt: str = "yuv420p") -> bytes:
    params = f"{X265}:bframes=4:keyint=12:min-keyint=12:open-gop=1:b-adapt=0"
    return clip("libx265", container, pix_fmt, options={"preset": "ultrafast", "x265-params": params})


def _mpeg2(container: str, **more: str) -> bytes:
    return clip("mpeg2video", container, options={"g": "12", "bf": "2", "b": "2M", **more})


_VARIABLE = tuple(33 * number + number * number * 7 % 29 for number in range(40))

CLIPS: Mapping[str, Callable[[], bytes]] = MappingProxyType(
    {
        "constant.mp4": lambda: h264("mp4"),
        "variable.mkv": lambda: h264("matroska", times=_VARIABLE),
        "fragments.mp4": lambda: h264("mp4", muxer={"movflags": "frag_keyframe+empty_moov"}),
        "open-gop.mkv": lambda: h264("matroska", "bframes=3:keyint=12:open-gop=1:b-adapt=0"),
        "open-gop.mp4": lambda: h264("mp4", "bframes=3:keyint=12:open-gop=1:b-adapt=0"),
        "open-gop.ts": lambda: h264("mpegts", "bframes=3:keyint=12:open-gop=1:b-adapt=0"),
        "intra-refresh.ts": lambda: h264("mpegts", "bframes=0:intra-refresh=1:keyint=12"),
        "open-gop-hevc.mkv": lambda: _open_gop("matroska"),
        "open-gop-hevc10.ts": lambda: _open_gop("mpegts", "yuv420p10le"),
        "mpeg2.ts": lambda: _mpeg2("mpegts"),
        "mpeg2.mpg": lambda: _mpeg2("mpeg"),
        "raw.m2v": lambda: _mpeg2("mpeg2video"),
        "mpeg4.avi": lambda: clip("mpeg4", "avi", options={"g": "12", "bf": "2", "b": "2M"}),
        "jpeg.mov": lambda: clip("mjpeg", "mov", "yuvj420p"),
        "vp8.webm": lambda: clip(
            "libvpx", "webm", options={"b": "500k", "g": "15", "auto-alt-ref": "1", "cpu-used": "8"}
        ),
        "vp9.webm": lambda: clip(
            "libvpx-vp9", "webm", options={"b": "500k", "g": "15", "lag-in-frames": "12", "cpu-used": "8"}
        ),
        "piped.mkv": lambda: remuxed(film("constant.mp4"), "matroska", piped=True),
        "piped.webm": lambda: remuxed(film("vp9.webm"), "webm", piped=True),
        "browser.webm": lambda: without_cluster_sizes(film("piped.webm")),
        "vp8.ivf": lambda: clip("libvpx", "ivf", options={"b": "500k", "g": "15", "cpu-used": "8"}),
        "flash.flv": lambda: h264("flv"),
        "windows.asf": lambda: clip("msmpeg4", "asf", options={"g": "12"}),
        "one.mp4": lambda: h264("mp4", frames=1),
        "odd.mkv": lambda: h264("matroska", pix_fmt="yuv444p", size=(97, 65)),
        "ten.mkv": lambda: h264("matroska", pix_fmt="yuv422p10le"),
        "nv12.nut": lambda: clip("rawvideo", "nut", "nv12", frames=12),
        "yuyv.avi": lambda: clip("rawvideo", "avi", "yuyv422", frames=12),
        "prores.mov": lambda: clip("prores_ks", "mov", "yuv422p10le", frames=12),
        "rgb.mkv": lambda: clip(
            "ffv1", "matroska", "bgr0", options={"level": "3", "slicecrc": "1", "g": "6"}, frames=20
        ),
        "gray.mkv": lambda: clip("ffv1", "matroska", "gray10le", frames=6),
        "runs.mov": lambda: clip("qtrle", "mov", "rgb24", frames=4),
    }
)


@functools.cache
def film(name: str) -> bytes:
    """One of CLIPS, made once."""
    return CLIPS[name]()
