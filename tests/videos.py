"""Films for tests, good and bad, made with Debian's ffmpeg: a moving pattern whose every frame says its number.

`CASES` names each film once; `make_film` gives its file, made when it is first asked for. Every feature that a film's
name promises is checked with ffprobe in tests/farm/media/test_video_set.py.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from farm.errors import ErrorKind

from .moving_pattern import HEIGHT, WIDTH, encode, raw_frames, run_ffmpeg

H264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "12", "-pix_fmt", "yuv420p", "-g", "12", "-bf", "0")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")
VP9 = ("-c:v", "libvpx-vp9", "-crf", "20", "-b:v", "0", "-pix_fmt", "yuv420p")
AAC = ("-c:a", "aac", "-b:a", "64k")
BT709 = ("-color_primaries", "bt709", "-color_trc", "bt709", "-colorspace", "bt709", "-color_range", "tv")
TO_709 = ("-vf", "scale=out_color_matrix=bt709")
PQ = ("-color_primaries", "bt2020", "-color_trc", "smpte2084", "-colorspace", "bt2020nc", "-color_range", "tv")
X265_PQ = "colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc:range=limited"
MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
"""chromaticities in 1/50 000, luminances in 1/10 000 cd/m²"""


def remux(source: Path, path: Path, *args: str | Path) -> None:
    """Packets as they are into another file."""
    run_ffmpeg("-i", source, "-map", "0", "-c", "copy", *args, "-fflags", "+bitexact", path)


def film(*args: str, **options: object) -> Callable[[Path], None]:
    """A maker that encodes the pattern."""
    return lambda path: encode(path, *args, **options)  # pyright: ignore[reportArgumentType]


def text(content: str) -> Callable[[Path], None]:
    """A maker of a file that is no film."""

    def make(path: Path) -> None:
        path.write_text(content)

    return make


def _edit_list(path: Path) -> None:
    """Cut between two keyframes by copying: the frames before the cut are there and must not be shown."""
    whole = path.with_suffix(".whole.mp4")
    encode(whole, *H264, "-bf", "2", "-g", "20", *AAC, frames=50)
    run_ffmpeg("-ss", "0.52", "-i", whole, "-c", "copy", "-fflags", "+bitexact", path)


def _negative_start(path: Path) -> None:
    """A transport stream whose clock of 33 bits overflows 1.8 s after the start: read, it starts before 0."""
    whole = path.with_suffix(".whole.mp4")
    encode(whole, *H264, *AAC)
    remux(whole, path, "-bsf:v", "h264_mp4toannexb", "-muxdelay", "0", "-output_ts_offset", "95441.9")


def _matrix(*values: int) -> Callable[[Path], None]:
    """A film with a display matrix, written into the track's header."""

    def make(path: Path) -> None:
        encode(path, *H264, *AAC)
        data = bytearray(path.read_bytes())
        at = data.index(b"tkhd") + 4 + 40
        data[at : at + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
        path.write_bytes(data)

    return make


def _subtitle(folder: Path, name: str, words: str) -> Path:
    path = folder / f"{name}.srt"
    lines = [f"{i + 1}\n00:00:00,{i * 200 + 100:03d} --> 00:00:00,{i * 200 + 250:03d}\n{words} {i}\n" for i in range(4)]
    path.write_text("\n".join(lines))
    return path


def _chapters(folder: Path, name: str) -> Path:
    path = folder / f"{name}.txt"
    marks = [(0, 320, "Dawn"), (320, 640, "Noon = high"), (640, 960, "Dusk")]
    body = "".join(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={a}\nEND={b}\ntitle={t}\n" for a, b, t in marks)
    path.write_text(";FFMETADATA1\ntitle=Three hours\ncomment=a comment\n" + body.replace(" = ", " \\= "))
    return path


def _picture(folder: Path, name: str) -> Path:
    path = folder / f"{name}.jpg"
    raw = raw_frames(1, (40, 40))
    run_ffmpeg(
        "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", "40x40", "-i", "pipe:0", "-bitexact", path, data=raw
    )
    return path


def _tracks(subtitles: str, *more: str) -> Callable[[Path], None]:
    """Two video, two audio and two subtitle tracks, each with its language."""

    def make(path: Path) -> None:
        inputs: list[str | Path] = ["-f", "lavfi", "-i", "sine=frequency=880:sample_rate=44100:duration=1"]
        inputs += ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=10:duration=1"]
        for words in ("hello", "bonjour"):
            inputs += ["-i", _subtitle(path.parent, f"{path.stem}-{words}", words)]
        maps = [part for number in ("0", "3", "1", "2", "4", "5") for part in ("-map", number)]
        tags = [f"-metadata:s:{kind}:{i}" for kind in "as" for i in (0, 1)]
        languages = ("language=eng", "language=fra", "language=eng", "language=fra")
        named = [part for pair in zip(tags, languages, strict=True) for part in pair]
        titles = (
            "-metadata:s:v:0",
            "language=jpn",
            "-metadata:s:a:1",
            "title=Commentaire",
            "-disposition:a:1",
            "comment",
        )
        encode(path, *maps, *H264, *AAC, "-c:s", subtitles, *named, *titles, *more, inputs=inputs)

    return make


def _with_chapters(path: Path) -> None:
    encode(path, "-map_metadata", "2", *H264, *AAC, inputs=("-i", _chapters(path.parent, path.stem)))


def _with_attachments(path: Path) -> None:
    font = path.with_suffix(".ttf")
    font.write_bytes(bytes(range(256)) * 5)
    plain = path.with_suffix(".plain.mkv")
    encode(plain, *H264, *AAC)
    attach = ("-attach", font, "-metadata:s:2", "mimetype=application/x-truetype-font")
    cover = ("-attach", _picture(path.parent, f"{path.stem}-cover"), "-metadata:s:3", "mimetype=image/jpeg")
    names = ("-metadata:s:2", "filename=letters.ttf", "-metadata:s:3", "filename=cover.jpg")
    remux(plain, path, *attach, *cover, *names)


def _with_cover(path: Path) -> None:
    cover = ("-i", _picture(path.parent, path.stem))
    maps = ("-map", "0", "-map", "1", "-map", "2")
    encode(path, *maps, *H264, "-c:v:1", "copy", "-disposition:v:1", "attached_pic", *AAC, inputs=cover)


def _only_cover(path: Path) -> None:
    cover = ("-i", _picture(path.parent, path.stem))
    encode(path, "-map", "1", "-map", "2", "-c:v", "copy", "-disposition:v:0", "attached_pic", *AAC, inputs=cover)


def _duplicate_times(path: Path) -> None:
    """Frames 5 and 6 have one timestamp, as broken recorders write them."""
    encode(path, *H264, "-bsf:v", "setts=ts='if(eq(N,6),PREV_OUTPTS,PTS)'", sound_s=0)


def _size_change(path: Path) -> None:
    parts = [path.with_suffix(f".{side}.ts") for side in ("96", "64")]
    encode(parts[0], *H264, sound_s=0, frames=12)
    encode(parts[1], *H264, "-output_ts_offset", "0.48", sound_s=0, frames=12, size=(64, 48))
    path.write_bytes(b"".join(part.read_bytes() for part in parts))


WHOLE_FRAMES = 59


def _cut(path: Path) -> None:
    """100 frames of about one size, cut at about 60 % of the bytes, in the middle of the frame after 59 whole ones."""
    encode(path, *H264, "-g", "1", "-qp", "30", "-movflags", "+faststart", frames=100, sound_s=0)
    at, size = packet_extents(path)[WHOLE_FRAMES]
    path.write_bytes(path.read_bytes()[: at + size // 2])


def _without_index(path: Path) -> None:
    """As a recorder leaves it that lost power: the index would have come last."""
    encode(path, *H264, *AAC)
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])


DAMAGED_GOP = range(12, 24)


def _damaged(path: Path) -> None:
    """Bytes flipped in the keyframe of the second of three groups of pictures."""
    encode(path, *H264, "-movflags", "+faststart", frames=36)
    at, size = packet_extents(path)[DAMAGED_GOP.start]
    data = bytearray(path.read_bytes())
    for offset in range(at + size // 4, at + size * 3 // 4):
        data[offset] ^= 0xA5
    path.write_bytes(data)


def packet_extents(path: Path) -> list[tuple[int, int]]:
    """(offset, bytes) of every packet of the first video stream, in the order of the file."""
    show = ("-select_streams", "v:0", "-show_entries", "packet=pos,size", "-of", "json")
    done = subprocess.run(["ffprobe", "-v", "error", *show, str(path)], capture_output=True, check=True)
    return [(int(packet["pos"]), int(packet["size"])) for packet in json.loads(done.stdout)["packets"]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """One film of the set."""

    make: Callable[[Path], None]
    frames: int = 24
    """that are shown"""
    error: ErrorKind | None = None
    """what a run without flags must say of it; None: it is restored"""
    numbered: bool = True
    """whether the frames' numbers can be read, 0, 1, 2 and so on"""


def _bad(error: ErrorKind, make: Callable[[Path], None], frames: int = 0) -> Film:
    return Film(make=make, error=error, frames=frames, numbered=False)


def _fade(number: int) -> float:
    """Black from frame 15 on."""
    return max(0.0, 1 - number / 15)


_VARIABLE = (
    "-vf",
    "settb=1/90000,setpts='N*3600+mod(N*N*397,2700)'",
    "-fps_mode",
    "passthrough",
    "-enc_time_base",
    "1/90000",
)
_TFF = ("-vf", "interlace=scan=tff:lowpass=0", "-flags:v", "+ildct+ilme")
_TEN = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "8", "-pix_fmt", "yuv420p10le", "-g", "12")

CASES: Mapping[str, Film] = MappingProxyType(
    {
        "constant.mp4": Film(make=film(*H264, *TO_709, *BT709, *AAC)),
        "variable.mkv": Film(make=film(*H264, *_VARIABLE, *AAC)),
        "variable-90k.mp4": Film(make=film(*H264, "-bf", "2", *_VARIABLE, "-video_track_timescale", "90000", *AAC)),
        "ntsc.mp4": Film(make=film(*H264, *AAC, rate="30000/1001", frames=30), frames=30),
        "bframes.mp4": Film(make=film(*H264, "-bf", "3", "-b_strategy", "0", *AAC)),
        "open-gop.mp4": Film(
            make=film(*H264, "-bf", "3", "-b_strategy", "0", "-g", "10", "-x264-params", "open-gop=1", *AAC, frames=40),
            frames=40,
        ),
        "open-gop-hevc.mkv": Film(
            make=film(*HEVC, "-x265-params", "open-gop=1:keyint=10:min-keyint=10:bframes=3:b-adapt=0", *AAC, frames=40),
            frames=40,
        ),
        "edit-list.mp4": Film(make=_edit_list, frames=37, numbered=False),
        "negative-start.ts": Film(make=_negative_start),
        "rotated.mp4": Film(make=_matrix(0, 65536, 0, -65536, 0, 0, HEIGHT << 16, 0, 1 << 30)),
        "mirrored.mov": Film(make=_matrix(-65536, 0, 0, 0, 65536, 0, WIDTH << 16, 0, 1 << 30)),
        "anamorphic.mp4": Film(make=film(*H264, "-vf", "setsar=4/3", *AAC)),
        "untimed.mpg": Film(make=film("-c:v", "mpeg2video", "-q:v", "2", "-aspect", "4:3", "-c:a", "mp2")),
        "high10.mp4": Film(make=film(*_TEN, *AAC, pixels="rgb48le")),
        "main10.mkv": Film(make=film(*HEVC, "-pix_fmt", "yuv420p10le", "-c:a", "flac", pixels="rgb48le")),
        "full-chroma.mkv": Film(make=film(*H264, "-pix_fmt", "yuv444p", *AAC)),
        "half-chroma-10.mov": Film(
            make=film("-c:v", "prores_ks", "-pix_fmt", "yuv422p10le", "-c:a", "pcm_s16le", pixels="rgb48le")
        ),
        "tracks.mp4": Film(make=_tracks("mov_text")),
        "tracks-mkv.mkv": Film(
            make=_tracks("srt", "-metadata:s:s:1", "title=Sous-titres", "-disposition:s:1", "forced")
        ),
        "chapters.mkv": Film(make=_with_chapters),
        "chapters-mp4.mp4": Film(make=_with_chapters),
        "attachments.mkv": Film(make=_with_attachments),
        "cover.mp4": Film(make=_with_cover),
        "silent.mp4": Film(make=film(*H264, sound_s=0)),
        "long-sound.mp4": Film(make=film(*H264, *AAC, sound_s=2)),
        "one-frame.mp4": Film(make=film(*H264, *AAC, frames=1), frames=1),
        "odd.webm": Film(make=film(*VP9, "-c:a", "libopus", size=(97, 65))),
        "odd-h264.mkv": Film(make=film(*H264, "-pix_fmt", "yuv444p", *AAC, size=(97, 65))),
        "av1.mp4": Film(make=film("-c:v", "libsvtav1", "-preset", "10", "-crf", "20", *AAC)),
        "hdr.mkv": Film(
            make=film(
                *(*HEVC, "-pix_fmt", "yuv420p10le", *PQ, "-x265-params"),
                f"{X265_PQ}:master-display={MASTERING}:max-cll=1000,400:hdr10=1",
                *AAC,
                pixels="rgb48le",
            )
        ),
        "pq.mp4": Film(
            make=film(
                *HEVC, "-pix_fmt", "yuv420p10le", *PQ, "-x265-params", X265_PQ, "-tag:v", "hvc1", *AAC, pixels="rgb48le"
            )
        ),
        "alpha-prores.mov": Film(
            make=film("-c:v", "prores_ks", "-pix_fmt", "yuva444p10le", "-c:a", "pcm_s16le", pixels="rgba64le")
        ),
        "alpha-ffv1.mkv": Film(make=film("-c:v", "ffv1", "-pix_fmt", "yuva420p", "-c:a", "flac", pixels="rgba")),
        "alpha-vp9.webm": Film(make=film(*VP9, "-pix_fmt", "yuva420p", "-c:a", "libopus", pixels="rgba")),
        "full-range.mp4": Film(make=film(*H264, "-pix_fmt", "yuvj420p", "-color_range", "pc", *AAC)),
        "motion-jpeg.mov": Film(make=film("-c:v", "mjpeg", "-q:v", "2", "-pix_fmt", "yuvj422p", "-c:a", "pcm_s16le")),
        "mpeg2.ts": Film(make=film("-c:v", "mpeg2video", "-q:v", "2", "-bf", "2", "-c:a", "mp2")),
        "xvid.avi": Film(make=film("-c:v", "mpeg4", "-q:v", "2", "-c:a", "libmp3lame")),
        "gray.mkv": Film(make=film("-c:v", "ffv1", "-pix_fmt", "gray", "-c:a", "flac")),
        "gray10.mkv": Film(make=film("-c:v", "ffv1", "-pix_fmt", "gray10le", "-c:a", "flac", pixels="rgb48le")),
        "rgb.mkv": Film(make=film("-c:v", "ffv1", "-pix_fmt", "gbrp", "-c:a", "flac")),
        "duplicate-times.mkv": Film(make=_duplicate_times),
        "fade.mp4": Film(make=film(*H264, *AAC, shade=_fade), numbered=False),
        "interlaced.mkv": _bad(ErrorKind.UNSUPPORTED, film(*H264, *_TFF, *AAC, rate="50", frames=48), 24),
        "interlaced-mpeg2.ts": _bad(
            ErrorKind.UNSUPPORTED,
            film("-c:v", "mpeg2video", "-q:v", "2", *_TFF, "-c:a", "mp2", rate="50", frames=48),
            24,
        ),
        "size-change.ts": _bad(ErrorKind.UNSUPPORTED, _size_change, 24),
        "cut.mp4": _bad(ErrorKind.TRUNCATED, _cut, WHOLE_FRAMES),
        "damaged.mp4": _bad(ErrorKind.DECODE_ERRORS, _damaged, 36),
        "no-index.mp4": _bad(ErrorKind.TRUNCATED, _without_index),
        "sound-only.mp4": _bad(ErrorKind.NO_VIDEO_STREAM, film("-map", "1", *AAC)),
        "cover-only.mp4": _bad(ErrorKind.NO_VIDEO_STREAM, _only_cover),
        "concat.mp4": _bad(ErrorKind.UNSAFE_CONTAINER, text("ffconcat version 1.0\nfile 'constant.mp4'\n")),
        "playlist.mp4": _bad(
            ErrorKind.UNSAFE_CONTAINER, text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nmpeg2.ts\n#EXT-X-ENDLIST\n")
        ),
        "page.mp4": _bad(ErrorKind.CORRUPT, text("<!DOCTYPE html><html><body>404 Not Found</body></html>")),
        "empty.mp4": _bad(ErrorKind.EMPTY_INPUT, text("")),
    }
)
"""File name -> film. No two share a stem, so that all can be written into one folder of one container."""


def make_film(name: str, folder: Path) -> Path:
    """The file of one film in `folder`, made there when it is not; what it is made from lies beside the folder."""
    path = folder / name
    if not path.exists():
        work = folder.with_name(f"{folder.name}-work")
        work.mkdir(parents=True, exist_ok=True)
        folder.mkdir(parents=True, exist_ok=True)
        CASES[name].make(work / name)
        (work / name).rename(path)
    return path
