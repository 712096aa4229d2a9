"""Films that are cut, damaged, lie about themselves or point elsewhere, and films that are good though odd.

Made with PyAV alone; `tests.videos` has those that need FFmpeg's program.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from tests.clips import CLIPS, clip, film, flipped, h264, in_front, remuxed, with_sound
from tests.corpus.case import CORRUPT, GOOD, UNSUPPORTED, Case
from tests.corpus.foreign import NOWHERE
from tests.pictures import photo, png_of, vips

CUT = frozenset({"truncated"})
BROKEN = frozenset({"truncated", "corrupt", "decode_errors", "no_frames", "no_video_stream"})
"""how a film ends of which hardly anything is left"""
LIES = BROKEN | frozenset({"unsupported", "too_large"})
UNSAFE = frozenset({"unsafe_container"})
ANY_FILM = LIES | GOOD | UNSAFE
"""after random damage"""
_CONTAINERS = (
    *("constant.mp4", "fragments.mp4", "variable.mkv", "piped.mkv", "open-gop.ts", "mpeg4.avi", "flash.flv"),
    *("windows.asf", "vp9.webm", "mpeg2.mpg", "jpeg.mov", "nv12.nut", "vp8.ivf", "prores.mov"),
)
_CODECS = (
    *("constant.mp4", "open-gop.ts", "open-gop-hevc.mkv", "mpeg2.ts", "mpeg4.avi", "jpeg.mov", "vp8.webm", "vp9.webm"),
    *("prores.mov", "rgb.mkv", "flash.flv", "windows.asf", "fragments.mp4"),
)
_ODD = {"open-gop.mkv": 40, "intra-refresh.ts": 40, "raw.m2v": 40, "one.mp4": 1, "odd.mkv": 40, "ten.mkv": 40}


def films(seed: int, *, flips: int = 8, asked: str = NOWHERE) -> Iterator[Case]:
    """All of this file; `flips` of each container and codec; `asked` is a URL that some of them name.

    Each says its extension twice: several containers become Matroska, and no two outputs may have one name.
    """
    for case in _films(seed, flips, asked):
        stem, _, extension = case.name.rpartition(".")
        yield replace(case, name=f"{stem}-{extension}.{extension}")


def _films(seed: int, flips: int, asked: str) -> Iterator[Case]:
    yield from _good()
    yield from _cut()
    yield from _without()
    yield from _damaged()
    yield from _elsewhere(asked)
    yield from _no_films(seed)
    yield from _lies()
    yield from _changing()
    yield from _flips(seed, flips)


def _good() -> Iterator[Case]:
    for name in CLIPS:
        yield Case(name=f"film-kinds/{name}", data=film(name), ends=GOOD, frames=_frames(name))
    front, sound = in_front(film("constant.mp4")), with_sound(film("constant.mp4"), "mp4", cover=True)
    yield Case(name="film-kinds/in-front.mp4", data=front, ends=GOOD, frames=40)
    yield Case(name="film-kinds/cover.mp4", data=sound, ends=GOOD, frames=40)
    for width, height in ((2, 2), (16, 16), (98, 2), (2, 66), (34, 18)):
        data = h264("mp4", size=(width, height), frames=5)
        yield Case(name=f"film-sizes/{width}x{height}.mp4", data=data, ends=GOOD, frames=5)
    for inside, extension in (
        ("variable.mkv", "mp4"),
        ("constant.mp4", "mkv"),
        ("mpeg4.avi", "mov"),
        ("vp9.webm", "ts"),
    ):
        name = f"film-misnamed/{inside.partition('.')[2]}.{extension}"
        yield Case(name=name, data=film(inside), ends=GOOD, frames=40, warning=f"named .{extension} but holds")


def _frames(name: str) -> int:
    shorter = {"one.mp4": 1, "nv12.nut": 12, "yuyv.avi": 12, "prores.mov": 12, "rgb.mkv": 20, "gray.mkv": 6}
    return (shorter | {"runs.mov": 4}).get(name, 40)


def _cut() -> Iterator[Case]:
    for name in _CONTAINERS:
        stem, _, extension = name.partition(".")
        for share in (3, 10, 30, 60, 90):
            data = film(name)[: len(film(name)) * share // 100]
            ends = CUT if share >= 30 else CUT | CORRUPT | frozenset({"no_frames"})
            yield Case(name=f"film-cut/{stem}-{share}.{extension}", data=data, ends=ends)
    front = in_front(film("constant.mp4"))
    for share in (20, 40, 60, 80, 95):
        yield Case(name=f"film-cut/in-front-{share}.mp4", data=front[: len(front) * share // 100], ends=CUT)
    whole = film("constant.mp4")
    index = whole.index(b"moov") - 4
    yield Case(name="film-cut/no-moov.mp4", data=whole[:index], ends=CUT)
    yield Case(name="film-cut/half-moov.mp4", data=whole[: index + 200], ends=CUT)


def _without() -> Iterator[Case]:
    sound = with_sound(film("constant.mp4"), "mp4")
    none = remuxed(film("constant.mp4"), "mp4", lambda _: False, movflags="frag_keyframe+empty_moov")
    ends = frozenset({"no_video_stream"})
    yield Case(name="film-without/film.mp4", data=with_sound(sound, "mp4", film=False), ends=ends)
    yield Case(name="film-without/film.mkv", data=with_sound(sound, "matroska", film=False), ends=ends)
    cover = with_sound(sound, "mp4", film=False, cover=True)
    yield Case(name="film-without/all-but-cover.mp4", data=cover, ends=ends)
    yield Case(name="film-without/frames.mp4", data=none, ends=frozenset({"no_frames"}))
    empty = remuxed(film("variable.mkv"), "matroska", lambda _: False)
    yield Case(name="film-without/frames.mkv", data=empty, ends=frozenset({"no_frames", "truncated", "corrupt"}))


def _damaged() -> Iterator[Case]:
    for name in _CODECS:
        packet = 12 if _frames(name) == 40 else 3
        stem, _, extension = name.partition(".")
        ends = frozenset({"decode_errors"})
        # VP8 has no sums and decodes whatever is there; in ASF the packets themselves are lost.
        ends |= {"vp8.webm": GOOD, "windows.asf": frozenset({"no_frames"})}.get(name, frozenset[str]())
        yield Case(name=f"film-damaged/{stem}.{extension}", data=flipped(film(name), packet), ends=ends)


def _elsewhere(asked: str) -> Iterator[Case]:
    """Lists of other films, and an index whose samples lie in another file."""
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{asked}\n#EXT-X-ENDLIST\n",
        "hls-file": "#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "ffconcat": "ffconcat version 1.0\nfile '/etc/passwd'\n",
        "concat": "file '/etc/passwd'\nfile 'constant.mp4'\n",
        "concat-bare": "file constant.mp4\n",
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
        "dash": f'<?xml version="1.0"?>\n<MPD><BaseURL>{asked}</BaseURL></MPD>',
        "smooth": f'<?xml version="1.0"?><SmoothStreamingMedia Url="{asked}"/>',
        "smil": f'<smil><body><video src="{asked}"/></body></smil>',
        "asx": f'<asx version="3.0"><entry><ref href="{asked}"/></entry></asx>',
        "pls": f"[playlist]\nFile1={asked}\n",
        "reference": f"[Reference]\nRef1={asked}\n",
        "rtsptext": "RTSPtext\nrtsp://127.0.0.1/x\n",
        "url": f"{asked}\n",
        "protocol": "concat:/etc/passwd|/etc/hosts",  # FFmpeg takes this for a protocol in names only
        "subfile": "subfile,,start,0,end,100,,:///etc/passwd",
        "crypto": "crypto+http://127.0.0.1/x",
    }
    for at, (name, text) in enumerate(texts.items()):
        for extension in ("mp4", ("mkv", "ts", "avi", "mov", "webm")[at % 5]):
            ends = UNSAFE | (CORRUPT if name in ("protocol", "subfile", "crypto") else frozenset[str]())
            yield Case(name=f"film-elsewhere/{name}.{extension}", data=text.encode(), ends=ends)
    whole = film("constant.mp4")
    at = whole.index(b"url \0\0\0\1")
    outside = whole[: at + 7] + b"\0" + whole[at + 8 :]  # the flag says no longer that the samples are in this file
    yield Case(name="film-elsewhere/samples.mp4", data=outside, ends=UNSAFE)


def _no_films(seed: int) -> Iterator[Case]:
    image = vips(photo(seed))
    files = {
        "empty.mp4": (b"", frozenset({"empty_input"})),
        "byte.mp4": (b"x", CORRUPT),
        "page.mp4": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", CORRUPT),
        "error.mkv": (b'<?xml version="1.0"?><Error><Code>NoSuchKey</Code></Error>', CORRUPT),
        "json.mov": (b'{"error": "not found"}', CORRUPT),
        "text.avi": (b"this is no film at all\n" * 50, CORRUPT),
        "zeros.mp4": (bytes(1 << 16), CORRUPT),
        "ones.mkv": (b"\xff" * (1 << 16), CORRUPT),
        "noise.mp4": (np.random.default_rng(seed).bytes(1 << 16), CORRUPT),
        "noise.ts": (np.random.default_rng(seed + 1).bytes(1 << 16), CORRUPT),
        "signature.mkv": (b"\x1a\x45\xdf\xa3", CUT | CORRUPT),
        "signature.mp4": (b"\0\0\0\x18ftypisom", CUT | CORRUPT),
        "picture.mp4": (image.jpegsave_buffer(), UNSUPPORTED),
        "picture.mkv": (png_of(photo(seed)), UNSUPPORTED),
        "picture.mov": (image.webpsave_buffer(), UNSUPPORTED),
        "picture.ts": (image.tiffsave_buffer(), UNSUPPORTED),
        "picture.avi": (image.heifsave_buffer(compression="av1", effort=0), UNSUPPORTED),
        "text-mode.mp4": (film("constant.mp4").replace(b"\n", b"\r\n"), LIES),
        "text-mode.mkv": (film("variable.mkv").replace(b"\n", b"\r\n"), LIES),
    }
    for name, (data, ends) in files.items():
        yield Case(name=f"film-none/{name}", data=data, ends=ends)


def _lies() -> Iterator[Case]:
    """Numbers in heads that cannot be, each in the place of the right one."""
    whole, most = film("constant.mp4"), 0xFFFFFFFF
    places = {  # box -> (offset behind its name, name of what stands there)
        "mvhd": ((12, "timescale"), (16, "duration")),
        "mdhd": ((12, "timescale"), (16, "duration")),
        "tkhd": ((76, "width"), (80, "height")),
        "stts": ((4, "entries"), (8, "samples"), (12, "delta")),
        "ctts": ((4, "entries"), (8, "samples"), (12, "offset")),
        "stss": ((4, "entries"), (8, "sample")),
        "stsc": ((4, "entries"), (8, "first"), (12, "samples"), (16, "description")),
        "stsz": ((4, "size"), (8, "samples"), (12, "first")),
        "stco": ((4, "entries"), (8, "offset")),
        "stsd": ((4, "entries"), (8, "length")),
        "elst": ((4, "entries"), (8, "duration"), (12, "start")),
    }
    for box, fields in places.items():
        start = whole.find(box.encode()) + 4
        if start < 4:
            continue
        for offset, field in fields:
            for value in (0, 1, 0x7FFFFFFF, most):
                at = start + offset
                data = whole[:at] + struct.pack(">I", value) + whole[at + 4 :]
                yield Case(name=f"film-lies/{box}-{field}-{value:x}.mp4", data=data, ends=ANY_FILM)
    sample = whole.index(b"avc1", whole.index(b"stsd")) + 4 + 24
    for width, height in ((0, 0), (16_384, 16_384), (65_535, 65_535)):
        data = whole[:sample] + struct.pack(">HH", width, height) + whole[sample + 4 :]
        yield Case(name=f"film-lies/avc1-{width}x{height}.mp4", data=data, ends=ANY_FILM)
    for name, raw in (("raw.avi", clip("rawvideo", "avi", "yuv420p", frames=3)), ("jpeg.mov", film("jpeg.mov"))):
        yield from _lying_sizes(name, raw)
    matroska = film("variable.mkv")
    for mark, field in ((b"\xb0\x81", "width"), (b"\xba\x81", "height")):
        at = matroska.index(mark) + 2
        for value in (0, 1, 255):
            data = matroska[:at] + bytes([value]) + matroska[at + 1 :]
            yield Case(name=f"film-lies/matroska-{field}-{value}.mkv", data=data, ends=ANY_FILM)
    segment = matroska.index(b"\x18\x53\x80\x67") + 4
    for name, size in (("0", b"\1" + bytes(7)), ("most", b"\1" + b"\xff" * 6 + b"\xfe")):
        data = matroska[:segment] + size + matroska[segment + 8 :]
        yield Case(name=f"film-lies/matroska-segment-{name}.mkv", data=data, ends=ANY_FILM)
    deep = b""
    for _ in range(3000):
        deep = struct.pack(">I", len(deep) + 8) + b"moov" + deep
    yield Case(name="film-lies/nested.mp4", data=whole[:32] + deep, ends=LIES)
    many = struct.pack(">I4s", 8, b"free") * 50_000
    yield Case(name="film-lies/many-boxes.mp4", data=whole[:32] + many + whole[32:], ends=ANY_FILM)


def _lying_sizes(name: str, data: bytes) -> Iterator[Case]:
    stem, _, extension = name.partition(".")
    for width, height in ((0, 0), (16_384, 16_384), (65_535, 65_535)):
        if extension == "avi":
            at = data.index(b"strf") + 12
            changed = data[:at] + struct.pack("<II", width, height) + data[at + 8 :]
        else:
            at = data.index(b"jpeg", data.index(b"stsd")) + 4 + 24
            changed = data[:at] + struct.pack(">HH", width, height) + data[at + 4 :]
        yield Case(name=f"film-lies/{stem}-{width}x{height}.{extension}", data=changed, ends=ANY_FILM)


def _changing() -> Iterator[Case]:
    wide, narrow = h264("mpegts", frames=12), h264("mpegts", frames=12, size=(64, 48))
    yield Case(name="film-changing/size.ts", data=wide + narrow, ends=UNSUPPORTED)
    yield Case(name="film-changing/clock.ts", data=film("open-gop.ts") * 2, ends=UNSUPPORTED)
    fields = clip("mpeg2video", "mpegts", options={"flags": "+ildct+ilme", "top": "1"}, frames=12)
    yield Case(name="film-changing/maybe-fields.ts", data=fields, ends=UNSUPPORTED | GOOD)
    twice = tuple(40 * (number - (number == 6)) for number in range(24))
    doubled = clip("mjpeg", "matroska", "yuvj420p", frames=24, times=twice[:6] + twice[7:] + (40 * 24,))
    yield Case(name="film-changing/duplicate-times.mkv", data=doubled, ends=GOOD, frames=24)
    slow = clip("mjpeg", "matroska", "yuvj420p", frames=3, times=(0, 86_400_000, 2_000_000_000))
    yield Case(name="film-changing/three-weeks.mkv", data=slow, ends=GOOD, frames=3)


def _flips(seed: int, each: int) -> Iterator[Case]:
    for at, name in enumerate(dict.fromkeys(_CONTAINERS + _CODECS)):
        data, (stem, _, extension) = film(name), name.partition(".")
        for number in range(each):
            random = np.random.default_rng((seed, at, number))
            out = bytearray(data)
            for place in random.integers(0, len(data), 1 + number % 5):
                out[place] ^= 1 << int(random.integers(8))
            yield Case(name=f"film-flips/{stem}-{seed}-{number}.{extension}", data=bytes(out), ends=ANY_FILM)
