"""Frames out are frames in, and sound is bit for bit and in sync (R19), whatever film it is.

With --trials N: N films whose codec, container, size, rate, gaps between frames, distance of keyframes, sound and
segments are drawn, a third of them with a kill -9 in the middle; ffprobe and ffmpeg see what went in and came out.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from farm import failpoints

from ..e2e import same_film
from ..media_reader import Probe
from ..moving_pattern import encode, frame_number
from ..outside import require_ffmpeg
from ..runs import files, results
from .cases import Disk, Work
from .record import Note
from .works import FEW, Command
from .zygote import Zygote

SHORT = 2
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p")
HEVC = ("-c:v", "libx265", "-preset", "ultrafast", "-crf", "12", "-pix_fmt", "yuv420p", "-x265-params")
CODECS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "h264": (H264, ("mp4", "mkv", "mov", "ts")),
    "hevc": (HEVC, ("mp4", "mkv")),
    "vp9": (("-c:v", "libvpx-vp9", "-crf", "20", "-b:v", "0", "-deadline", "realtime"), ("webm", "mkv")),
    "mpeg2": (("-c:v", "mpeg2video", "-q:v", "2"), ("ts", "mkv")),
    "ffv1": (("-c:v", "ffv1", "-pix_fmt", "yuv420p"), ("mkv",)),
    "prores": (("-c:v", "prores_ks"), ("mov",)),
}
SOUNDS: Mapping[str, tuple[str, ...]] = {
    "mp4": ("aac", "libmp3lame", "flac"),
    "mov": ("aac", "pcm_s16le"),
    "mkv": ("aac", "libopus", "flac", "pcm_s16le", "libvorbis"),
    "webm": ("libopus", "libvorbis"),
    "ts": ("aac", "libmp3lame", "ac3"),
}
ODD = ("vp9", "ffv1")
"""whose films may have odd sizes here"""
RATES = {"h264": ("25", "30000/1001", "24000/1001", "12", "60"), "mpeg2": ("25", "30000/1001")}
POINTS = ("decode", "infer", "encode", "join", "mux", "ledger.write.before", "storage.publish.after")
MOST_FRAMES = 60


@dataclass(frozen=True, kw_only=True)
class Film:
    """What is drawn of one."""

    codec: str
    container: str
    options: tuple[str, ...]
    size: tuple[int, int]
    frames: int
    rate: str
    sound: str
    sound_s: float
    flags: tuple[str, ...]
    kill: str
    """failpoint at which the first run ends; empty: at none"""


def draw(chance: random.Random) -> Film:
    codec = chance.choice(list(CODECS))
    options, containers = CODECS[codec]
    container = chance.choice(containers)
    frames, rate = chance.choice((1, 2, chance.randint(3, MOST_FRAMES))), chance.choice(RATES.get(codec, RATES["h264"]))
    keyframes, between = chance.choice((1, 6, 12, 250)), chance.choice((0, 1, 3))
    if codec == "hevc":
        options = (*options, f"log-level=none:keyint={keyframes}:bframes={between}:open-gop={chance.randint(0, 1)}")
    elif codec == "h264":
        options = (*options, "-g", str(keyframes), "-bf", str(between), "-flags", chance.choice(("+cgop", "-cgop")))
    elif codec == "mpeg2":
        options = (*options, "-g", str(min(keyframes, 15)), "-bf", str(min(between, 2)))
    if container in ("mkv", "webm", "mp4") and codec != "mpeg2" and frames > 8 and chance.random() < 0.4:
        gaps = "+".join(f"eq(n,{number})" for number in chance.sample(range(1, frames - 1), frames // 4))
        options = (*options, "-vf", f"select='not({gaps})'", "-fps_mode", "vfr")
    sound = chance.choice(("", *SOUNDS[container]))
    segments = ("--segment-frames", str(chance.choice((2, 5, 8, 48, chance.randint(2, 30)))))
    lossless = ("--codec", "ffv1", "--container", "mkv")
    return Film(
        codec=codec,
        container=container,
        options=options,
        size=tuple(2 * chance.randint(24, 60) + chance.randint(0, int(codec in ODD)) for _ in "wh"),  # pyright: ignore
        frames=frames,
        rate=rate,
        sound=sound,
        sound_s=chance.choice((0.3, 1.0, 2.5)) if sound else 0.0,
        flags=(*segments, *(lossless if chance.random() < 0.5 else ())),
        kill=chance.choice(POINTS) if chance.random() < 1 / 3 else "",
    )


def make(film: Film, path: Path) -> Probe:
    maps = ("-map", "0", *(("-map", "1", "-c:a", film.sound) if film.sound else ()))
    if film.sound in ("libvorbis", "flac") and film.container == "mp4":
        maps += ("-strict", "-2")
    sound_s = film.sound_s
    encode(path, *maps, *film.options, frames=film.frames, rate=film.rate, size=film.size, sound_s=sound_s)
    return Probe(path)


def numbers(probe: Probe) -> list[int]:
    """What the frames themselves say."""
    return [frame_number(pixels) for pixels in probe.rgb()]


def test_every_frame_comes_out_once_in_order_and_the_sound_with_it(
    zygote: Zygote,
    commands: Mapping[str, Command],
    tmp_path: Path,
    trials: int,
    chance: random.Random,
    note: Note,
) -> None:
    require_ffmpeg()
    model = commands["restore"][3]
    met: Counter[str] = Counter()
    frames = killed = 0
    for at in range(trials or SHORT):
        film, folder = draw(chance), tmp_path / f"in-{at}"
        folder.mkdir()
        source = make(film, folder / f"film.{film.container}")
        work = Work(
            zygote=zygote, scratch=tmp_path / "scratch", args=("submit", folder, "--model", model, *film.flags, *FEW)
        )
        place = Disk(tmp_path / f"out-{at}")
        if film.kill:
            assert film.kill in failpoints.POINTS
            killed += work.run(place, f"{film.kill}=kill@{chance.randint(1, 3)}").code == -9
        ran = work.run(place)
        told = f"film {at}, {film}, ended with {ran.code}: {ran.said}"
        assert ran.code == 0, told
        check(source, Path(place.root), told)
        met.update((film.codec, film.container, film.sound or "silent"))
        frames += len(source.times())
    note(films=trials or SHORT, frames=frames, killed=killed, met=dict(met))


def check(source: Probe, out: Path, told: str) -> None:
    (name,) = files(out) - {"results.parquet"}
    output = Probe(out / name)
    try:
        same_film.check_times(source, output)
        same_film.check_sound(source, output)
        assert numbers(output) == numbers(source)
        assert output.complaints() == ""
        assert results(out)[0]["frames"] == len(source.times())
    except AssertionError as error:
        raise AssertionError(f"{told}\n{error}") from error
