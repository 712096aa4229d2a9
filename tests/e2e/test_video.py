"""Films through the command line: every frame, every stream, in sync, as ffprobe sees what comes out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from sr_kernel.colour import Planes, frame_to_rgb, rgb_to_frame
from sr_kernel.layout import FrameLayout
from sr_kernel.pixels import Pixels
from sr_kernel.upscale import Settings, Upscaler
from sr_kernel.weights import describe_file

from ..media_reader import Probe
from ..networks import plan_of
from ..outside import require_ffmpeg
from ..runs import Farm, files
from ..seeded import save_srvgg
from ..videos import CASES, DAMAGED_GOP, WHOLE_FRAMES, make_film
from . import same_film
from .film_runs import FilmRuns

GOOD = sorted(name for name, film in CASES.items() if film.error is None)
BAD = sorted(name for name, film in CASES.items() if film.error is not None)
FEW = ("constant.mp4", "open-gop.mp4", "hdr.mkv", "tracks.mp4", "odd.webm", "fade.mp4", "half-chroma-10.mov", "av1.mp4")
"""films that further runs repeat"""
RUNS: dict[str, tuple[str, ...]] = {
    "lossless": ("--codec", "ffv1", "--container", "mkv", "--segment-frames", "7", "--workers", "2"),
    "same": ("--segment-frames", "9", "--workers", "3"),
    "long-segments": ("--codec", "ffv1", "--container", "mkv", "--segment-frames", "16", "--workers", "1"),
}
EXTENSIONS = {"ts": "mkv", "mpg": "mkv", "avi": "mkv"}
"""containers that are not written, and what is"""


@dataclass(kw_only=True)
class SetRuns(FilmRuns):
    """Runs over the generated set."""

    films: Path
    """the folder that it lies in"""

    def run(self, name: str) -> Path:
        names = FEW if name == "long-segments" else tuple(CASES)
        return self.submit(name, [make_film(film, self.films) for film in names], *RUNS[name])

    def made(self, name: str, film: str) -> Probe:
        self.run(name)
        return super().made(name, film)


def output_name(film: str, flags: tuple[str, ...]) -> str:
    stem, _, extension = film.rpartition(".")
    return f"{stem}_2x.{'mkv' if '--container' in flags else EXTENSIONS.get(extension, extension)}"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> SetRuns:
    require_ffmpeg()
    folder = tmp_path_factory.mktemp("films")
    farm = Farm(model=save_srvgg(folder / "tiny.pth", features=8, convs=2, scale=2), cache=folder, environment=cluster)
    return SetRuns(farm=farm, folder=folder, films=tmp_path_factory.getbasetemp() / "films")


@pytest.mark.parametrize("run", ["lossless", "same"])
@pytest.mark.parametrize("film", GOOD)
def test_every_frame_is_there_in_order_and_on_time(runs: SetRuns, film: str, run: str) -> None:
    output, source = runs.made(run, film), runs.source(film)
    same_film.check_times(source, output)
    if CASES[film].numbered:
        same_film.check_numbers(output, CASES[film].frames)
    assert output.complaints() == ""
    row = runs.row(run, film)
    assert row["frames"] == CASES[film].frames
    assert (row["width"], row["height"]) == (output.video["width"], output.video["height"])


@pytest.mark.parametrize("run", ["lossless", "same"])
@pytest.mark.parametrize("film", GOOD)
def test_sound_is_copied_bit_for_bit_and_in_sync(runs: SetRuns, film: str, run: str) -> None:
    output = runs.made(run, film)
    same_film.check_sound(runs.source(film), output)


@pytest.mark.parametrize("run", ["lossless", "same"])
@pytest.mark.parametrize("film", GOOD)
def test_everything_else_comes_along(runs: SetRuns, film: str, run: str) -> None:
    output, source = runs.made(run, film), runs.source(film)
    same_film.check_subtitles(source, output)
    same_film.check_rest(source, output)


@pytest.mark.parametrize("run", ["lossless", "same"])
@pytest.mark.parametrize("film", GOOD)
def test_colours_aspect_rotation_and_depth_are_the_source_s(runs: SetRuns, film: str, run: str) -> None:
    output = runs.made(run, film)
    same_film.check_picture(runs.source(film), output, scale=2)


@pytest.mark.parametrize("film", GOOD)
def test_auto_keeps_the_family_of_the_codec(runs: SetRuns, film: str) -> None:
    kept = ("h264", "hevc", "av1", "vp9", "ffv1", "prores")
    made = runs.made("same", film).video["codec_name"]
    source = runs.source(film).video["codec_name"]
    assert made == (source if source in kept else "h264")
    assert runs.made("lossless", film).video["codec_name"] == "ffv1"


def test_nothing_but_the_good_films_is_published(runs: SetRuns) -> None:
    for run in ("lossless", "same"):
        out = runs.run(run)
        assert runs.codes[run] == 3, runs.errors[run]
        assert files(out) == {output_name(film, RUNS[run]) for film in GOOD} | {"results.parquet"}
        assert not list((out / ".farm").rglob("*.piece")), "pieces go when their film is joined"


@pytest.mark.parametrize("film", BAD)
def test_every_bad_film_has_its_class(runs: SetRuns, film: str) -> None:
    for run in ("lossless", "same"):
        runs.run(run)
        row = runs.row(run, film)
        assert (row["status"], row["error"]) == ("failed", CASES[film].error)
        message = str(row["message"])
        assert message.startswith(f"{row['error']}: ")
        assert film in message
        assert "; " in message, "what to do"


def test_refusals_say_how_much_and_where(runs: SetRuns) -> None:
    runs.run("lossless")
    assert f"{WHOLE_FRAMES} of 100 frames decodable" in str(runs.row("lossless", "cut.mp4")["message"])
    damaged = str(runs.row("lossless", "damaged.mp4")["message"])
    assert f"frames {DAMAGED_GOP.start}-" in damaged or f"frames {DAMAGED_GOP.start}," in damaged, damaged
    assert "of 36" in damaged
    for film in ("interlaced.mkv", "interlaced-mpeg2.ts"):
        assert "--deinterlace" in str(runs.row("lossless", film)["message"])


def test_results_score_flicker_and_name_the_worst_seconds(runs: SetRuns) -> None:
    runs.run("lossless")
    for film in ("constant.mp4", "ntsc.mp4", "high10.mp4"):
        row = runs.row("lossless", film)
        assert 0.5 < float(str(row["flicker"])) < 2, "a network of two convolutions hardly changes the picture"
        assert re.fullmatch(r"[01]:\d+\.\d\d( [01]:\d+\.\d\d)?", str(row["worst_seconds"]))
    assert runs.row("lossless", "one-frame.mp4")["flicker"] == 0


@pytest.mark.parametrize("film", FEW)
def test_neither_the_length_of_segments_nor_the_number_of_actors_changes_a_pixel(runs: SetRuns, film: str) -> None:
    seven, sixteen = runs.made("lossless", film), runs.made("long-segments", film)
    assert seven.frame_digests() == sixteen.frame_digests()
    assert seven.times() == sixteen.times()


LAYOUTS: dict[str, tuple[str, FrameLayout]] = {
    "constant.mp4": ("yuv420p", FrameLayout(width=96, height=64, chroma_shift=(1, 1), matrix="bt709")),
    "full-chroma.mkv": ("yuv444p", FrameLayout(width=96, height=64, matrix="bt601")),
    "full-range.mp4": (
        "yuvj420p",
        FrameLayout(width=96, height=64, chroma_shift=(1, 1), matrix="bt601", full_range=True),
    ),
    "odd.webm": ("yuv420p", FrameLayout(width=97, height=65, chroma_shift=(1, 1), matrix="bt601")),
    "high10.mp4": ("yuv420p10le", FrameLayout(width=96, height=64, chroma_shift=(1, 1), matrix="bt601", depth=10)),
    "pq.mp4": (
        "yuv420p10le",
        FrameLayout(width=96, height=64, chroma_shift=(1, 1), matrix="bt2020", depth=10, siting="topleft"),
    ),
    "half-chroma-10.mov": (
        "yuv422p10le",
        FrameLayout(width=96, height=64, chroma_shift=(1, 0), matrix="bt601", depth=10),
    ),
    "gray.mkv": ("gray", FrameLayout(width=96, height=64, model="gray", full_range=True)),
}
"""film -> FFmpeg's name of its pixel format and what its planes are"""


def planes_of(probe: Probe, pix_fmt: str, layout: FrameLayout) -> list[Planes]:
    """The stored samples of every frame, read by ffmpeg."""
    samples = np.frombuffer(probe.raw(pix_fmt), "u1" if layout.depth == 8 else "<u2")
    frames = samples.reshape(len(probe.frames), -1)
    ends = np.cumsum([width * height for width, height in layout.plane_sizes])
    return [
        tuple(
            part.reshape(height, width).copy()
            for part, (width, height) in zip(np.split(frame, ends[:-1]), layout.plane_sizes, strict=True)
        )
        for frame in frames
    ]


@pytest.fixture(scope="module")
def restore(runs: SetRuns) -> Callable[[Pixels], Pixels]:
    """The image path: a picture HWC through the same network."""
    upscaler = Upscaler.load(describe_file(runs.farm.model), runs.farm.model)

    def of(picture: Pixels) -> Pixels:
        rgb = np.repeat(picture, 3, axis=2) if picture.shape[2] == 1 else picture
        plan = plan_of(upscaler.spec, rgb.shape[1], rgb.shape[0])
        return upscaler.restore(rgb, plan, Settings(precision="fp32")).pixels

    return of


@pytest.mark.parametrize("film", LAYOUTS)
def test_frames_are_what_the_image_path_gives(runs: SetRuns, film: str, restore: Callable[[Pixels], Pixels]) -> None:
    pix_fmt, layout = LAYOUTS[film]
    large = replace(layout, width=layout.width * 2, height=layout.height * 2)
    output = runs.made("lossless", film)
    assert output.video["pix_fmt"].replace("yuvj", "yuv") == pix_fmt.replace("yuvj", "yuv")
    before = planes_of(runs.source(film), pix_fmt, layout)
    after = planes_of(output, output.video["pix_fmt"], large)
    for number in (0, 6, 7, 13, 14, 23):  # on both sides of joins
        wanted = rgb_to_frame(restore(frame_to_rgb(before[number], layout)), large)
        for plane, found in zip(wanted, after[number], strict=True):
            np.testing.assert_array_equal(found, plane)
