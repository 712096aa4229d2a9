"""What each option of films does."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from ..media_reader import Probe
from ..moving_pattern import frame_number
from ..outside import require_ffmpeg
from ..runs import Farm, files, results
from ..seeded import save_srvgg
from ..videos import DAMAGED_GOP, WHOLE_FRAMES, make_film
from . import same_film
from .film_runs import FilmRuns

Films = Callable[..., list[Path]]


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Films:
    """Files of the generated set by name."""
    require_ffmpeg()
    folder = tmp_path_factory.getbasetemp() / "films"
    return lambda *names: [make_film(name, folder) for name in names]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> FilmRuns:
    folder = tmp_path_factory.mktemp("options")
    model = save_srvgg(folder / "x1.pth", features=8, convs=2, scale=1)
    return FilmRuns(farm=Farm(model=model, cache=folder, environment=cluster), folder=folder)


MENDED = ("cut.mp4", "damaged.mp4", "interlaced.mkv", "interlaced-mpeg2.ts", "tracks.mp4")


@pytest.fixture(scope="module")
def mended(runs: FilmRuns, films: Films) -> FilmRuns:
    """Everything that is refused without a flag, and no sound."""
    allowed = ("--salvage", "--allow-damaged", "--deinterlace", "--audio", "none")
    flags = ("--codec", "h264", "--container", "mkv", "--crf", "30", "--preset", "veryfast", "--segment-frames", "10")
    runs.submit("mended", films(*MENDED), *allowed, *flags, "--workers", "2")
    return runs


def numbers(probe: Probe) -> list[int]:
    return [frame_number(pixels) for pixels in probe.rgb()]


def test_salvage_publishes_what_a_cut_film_holds(mended: FilmRuns) -> None:
    assert mended.codes["mended"] == 0, mended.errors["mended"]
    assert numbers(mended.made("mended", "cut.mp4")) == list(range(WHOLE_FRAMES))
    message = str(mended.row("mended", "cut.mp4")["message"])
    assert f"{WHOLE_FRAMES} of 100" in message, "what is missing is said"


def test_damaged_frames_are_allowed_by_flag_and_listed(mended: FilmRuns) -> None:
    output = mended.made("mended", "damaged.mp4")
    same_film.check_times(mended.source("damaged.mp4"), output)
    sound = [number for number in range(36) if number not in DAMAGED_GOP]
    found = numbers(output)
    assert [found[number] for number in sound] == sound, "the other groups of pictures are whole"
    assert str(DAMAGED_GOP.start) in str(mended.row("mended", "damaged.mp4")["message"])


@pytest.mark.parametrize("film", ["interlaced.mkv", "interlaced-mpeg2.ts"])
def test_deinterlaced_films_have_one_moment_a_frame(mended: FilmRuns, film: str) -> None:
    output, source = mended.made("mended", film), mended.source(film)
    same_film.check_times(source, output)
    assert not any(frame["interlaced_frame"] for frame in output.frames)
    assert [frame_number(pixels[::2]) for pixels in output.rgb()] == list(range(0, 48, 2)), "the first field is kept"
    assert comb(output) < comb(source) / 2


def comb(probe: Probe) -> float:
    """How far lines stand out from the lines above and below them, in levels: two moments in one frame do."""
    light = probe.rgb().astype(np.float64).mean(axis=3)
    return float(np.abs(2 * light[:, 1:-1] - light[:, :-2] - light[:, 2:]).mean())


def test_no_sound_is_none_at_all(mended: FilmRuns) -> None:
    for film in MENDED:
        assert not mended.made("mended", film).streams("audio")
    same_film.check_subtitles(mended.source("tracks.mp4"), mended.made("mended", "tracks.mp4"))


def test_codec_container_crf_and_preset_are_what_was_asked_for(mended: FilmRuns) -> None:
    for film in MENDED:
        output = mended.made("mended", film)
        assert output.video["codec_name"] == "h264"
        settings = output.path.read_bytes().partition(b"x264 - core")[2][:1000]
        assert b"crf=30.0" in settings
        assert b"subme=2 " in settings, "of veryfast"
    assert files(mended.folder / "mended") == {f"{Path(film).stem}_1x.mkv" for film in MENDED} | {"results.parquet"}


RATED = ("--fps", "30", "--codec", "ffv1", "--pix-fmt", "bgr0", "--container", "mkv", "--segment-frames", "8")


@pytest.fixture(scope="module")
def rated(runs: FilmRuns, films: Films) -> FilmRuns:
    runs.submit("rated", films("constant.mp4", "variable.mkv", "ntsc.mp4"), *RATED, "--workers", "2")
    return runs


@pytest.mark.parametrize(("film", "rate"), [("constant.mp4", 25), ("variable.mkv", 25), ("ntsc.mp4", 30)])
def test_another_rate_shows_the_frame_of_each_moment(rated: FilmRuns, film: str, rate: int) -> None:
    output, source = rated.made("rated", film), rated.source(film)
    times, shown = output.times(), source.times()
    assert all(abs(b - a - Fraction(1, 30)) <= 2 * output.time_base() for a, b in itertools.pairwise(times))
    wanted = [max(n for n, at in enumerate(shown) if at - shown[0] <= Fraction(j, 30)) for j in range(len(times))]
    assert numbers(output) == wanted
    assert abs(len(times) / 30 - len(shown) / rate) < 0.1
    assert output.video["pix_fmt"] == "bgr0"
    assert (output.video["color_space"], output.video["color_range"]) == ("gbr", "pc")
    same_film.check_sound(source, output)


def test_a_rate_that_is_asked_for_is_exact_where_the_source_counts_in_milliseconds(
    runs: FilmRuns, films: Films
) -> None:
    runs.submit("cadence", films("variable.mkv"), "--fps", "24000/1001", "--container", "mp4", "--workers", "1")
    output = runs.made("cadence", "variable.mkv")
    times = output.times()
    assert {after - before for before, after in itertools.pairwise(times)} == {Fraction(1001, 24000)}
    assert output.video["avg_frame_rate"] == "24000/1001"


def test_a_finished_run_is_left_alone(rated: FilmRuns) -> None:
    out = rated.folder / "rated"
    before = {path: path.stat().st_mtime_ns for path in out.glob("*.*")}
    started = time.monotonic()
    again = rated.farm.submit(rated.folder / "rated-in", out, "--precision", "fp32", *RATED)
    assert again.returncode == 0, again.stderr
    assert "3 done before" in again.stderr
    assert time.monotonic() - started < 5, "nothing to do must not start Ray or open a film"
    assert {path: path.stat().st_mtime_ns for path in out.glob("*.*")} == before


def test_a_container_that_cannot_hold_the_sound_gets_it_transcoded_and_says_so(runs: FilmRuns, films: Films) -> None:
    flags = ("--codec", "vp9", "--container", "webm", "--preset", "8", "--workers", "2")
    runs.submit("webm", films("constant.mp4", "tracks.mp4", "odd.webm"), *flags)
    for film in ("constant.mp4", "tracks.mp4"):
        output, source = runs.made("webm", film), runs.source(film)
        same_film.check_times(source, output)
        assert {stream["codec_name"] for stream in output.streams("audio")} == {"opus"}
        assert output.tags("audio") == source.tags("audio")
        assert "encoded anew" in str(runs.row("webm", film)["message"])
        heard = [sum(packet.duration or 0 for packet in output.packets(stream)) for stream in output.streams("audio")]
        assert all(abs(float(seconds) - 0.98) < 0.08 for seconds in heard)
    assert len(runs.made("webm", "tracks.mp4").streams("subtitle")) == 2
    same_film.check_sound(runs.source("odd.webm"), runs.made("webm", "odd.webm"))
    assert not runs.row("webm", "odd.webm")["message"], "nothing to warn of where sound is copied"


DELAYS_MS = (100, 100, 2000)
PICTURES = (("a.gif", "GIF"), ("b.apng", "PNG"), ("c.webp", "WEBP"))


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Animated pictures whose last frame is held, and four numbered pictures."""
    folder = tmp_path_factory.mktemp("moving")
    for name, kind in PICTURES:
        frames = [Image.new("RGB", (32, 24), (80 * number, 40, 200)) for number in range(3)]
        more = {"duration": list(DELAYS_MS), "loop": 0, "lossless": True}
        frames[0].save(folder / name, kind, save_all=True, append_images=frames[1:], **more)
    (folder / "scan").mkdir()
    for number in range(7, 11):
        Image.new("RGB", (32, 24), (20 * number, 90, 30)).save(folder / "scan" / f"s{number:04d}.png")
    return folder


def colours(path: Path) -> list[tuple[int, ...]]:
    """Of the middle of each frame of a picture."""
    with Image.open(path) as image:
        return [frame.convert("RGB").getpixel((16, 12)) for frame in ImageSequence.Iterator(image)]


def delays_ms(path: Path) -> tuple[int, ...]:
    with Image.open(path) as image:
        loaded = ((frame.load(), frame.info["duration"]) for frame in ImageSequence.Iterator(image))  # WebP's come late
        return tuple(round(delay) for _, delay in loaded)


def steps(shown: list[tuple[int, ...]]) -> np.ndarray:
    """From one colour to the next: a network of two convolutions shifts them all alike."""
    return np.diff(np.array(shown), axis=0)


def test_animated_pictures_stay_what_they_are(runs: FilmRuns, moving: Path, tmp_path: Path) -> None:
    shutil.copytree(moving, tmp_path / "in", ignore=shutil.ignore_patterns("scan"))
    made = runs.farm.submit(tmp_path / "in", tmp_path / "out", "--pages", "animation")
    assert made.returncode == 0, made.stderr
    assert files(tmp_path / "out") == {"a_1x.gif", "b_1x.apng", "c_1x.webp", "results.parquet"}
    for name, _ in PICTURES:
        output = tmp_path / "out" / name.replace(".", "_1x.")
        assert delays_ms(output) == DELAYS_MS, name
        assert np.abs(steps(colours(output)) - steps(colours(moving / name))).max() < 25, name


def test_pictures_become_films_as_long_as_they_are_and_numbered_ones_stay_numbered(
    runs: FilmRuns, moving: Path, tmp_path: Path
) -> None:
    sources = [*(name for name, _ in PICTURES), "scan/s%04d.png"]
    (tmp_path / "in.txt").write_text("".join(f"{moving}/{name}\n" for name in sources))
    made = runs.farm.submit(tmp_path / "in.txt", tmp_path / "out", "--pages", "video", "--preset", "ultrafast")
    assert made.returncode == 0, made.stderr
    rows = {Path(str(row["source"])).name: row for row in results(tmp_path / "out")}
    for name, _ in PICTURES:
        probe = Probe(Path(str(rows[name]["output"])))
        assert probe.path.suffix == ".mp4"
        assert [round(1000 * time) for time in probe.times()] == [0, 100, 200], name
        assert float(probe.head["format"]["duration"]) == sum(DELAYS_MS) / 1000, name
    index = Path(str(rows["s%04d.png"]["output"]))
    said = json.loads(index.read_text())
    assert (said["frames"], said["rate"], said["pts"]) == (4, "24/1", [0, 1, 2, 3])
    wanted = [colours(moving / "scan" / f"s{number:04d}.png")[0] for number in range(7, 11)]
    found = [colours(index.parent / name)[0] for name in said["names"]]
    assert np.abs(steps(found) - steps(wanted)).max() < 8


@pytest.mark.parametrize("flags", [("--codec", "h264", "--container", "webm"), ("--pix-fmt", "nonsense")], ids=" ".join)
def test_what_cannot_be_is_refused_and_says_why(runs: FilmRuns, films: Films, flags: tuple[str, ...]) -> None:
    (film,) = films("one-frame.mp4")
    made = runs.farm.submit(film, runs.folder / "refused", *flags, "--workers", "1")
    assert made.returncode == 2, made.stderr
    assert flags[-1] in made.stderr
    assert "Traceback" not in made.stderr
    assert not (runs.folder / "refused").exists(), "nothing was started"


def test_allowing_and_forbidding_damage_redoes_the_films_that_have_some(
    runs: FilmRuns, films: Films, tmp_path: Path
) -> None:
    """A whole film is the same under any of these flags; a damaged one is never left as done where none is allowed."""
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for film in films("constant.mp4", "cut.mp4", "damaged.mp4"):
        shutil.copy(film, source)
    allowed = ("--salvage", "--allow-damaged")

    def submit(target: Path, *flags: str) -> tuple[int, str, dict[str, str]]:
        made = runs.farm.submit(source, target, *flags, "--preset", "ultrafast", "--workers", "2")
        return made.returncode, made.stderr, {str(row["source"]): str(row["status"]) for row in results(target)}

    def whole() -> tuple[int, bytes]:
        film = out / "constant_1x.mp4"
        return film.stat().st_mtime_ns, film.read_bytes()

    code, said, strict = submit(out)
    assert (code, sorted(strict.values())) == (3, ["done", "failed", "failed"]), said
    first = whole()
    code, said, loose = submit(out, *allowed)
    assert (code, set(loose.values())) == (0, {"done"}), said
    assert "2 done, 1 done before of 3" in said
    assert whole() == first, "what has no damage is left alone"
    code, said, _ = submit(out, *allowed)
    assert "3 done before of 3" in said
    code, said, again = submit(out)
    assert (code, again) == (3, strict), said
    assert "1 done before, 2 failed of 3" in said
    assert whole() == first
    code, said, _ = submit(tmp_path / "other", *allowed)
    assert code == 0, said
    assert (tmp_path / "other" / "constant_1x.mp4").read_bytes() == first[1], "allowing what is not there is no change"
    (source / "cut.mp4").unlink()
    (source / "damaged.mp4").unlink()
    code, said, _ = submit(tmp_path / "other")
    assert "1 done before of 1" in said
