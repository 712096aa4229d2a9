"""The real films of FARM_TEST_DATA through the command, as ffprobe sees what comes out.

Short form: a seeded network of two convolutions that keeps their size, over the films as far as BEGINNING_S; once into
their own containers, once into lossless Matroska. Long form, with FARM_TEST_LONG set to a part of a film's name or to
`all`: whole films, through that network and through animevideov3 at four times the size; on a CPU hours for some.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..moving_pattern import run_ffmpeg
from ..outside import FILMS, data_folder, needs_data, real_film, require_ffmpeg
from ..runs import Farm
from ..seeded import save_srvgg
from . import same_film
from .film_runs import FilmRuns

NAMES = [path.name for path in FILMS]
BEGINNING_S = {
    "chaplin.mp4": "2",
    "edit_list_positive_shift.mp4": "1.3",
    "nasa_13013.mp4": "2",
    "onepiece_demo.mp4": "2",
}
"""seconds of long films, cut by copying packets"""
RUNS: dict[str, tuple[str, ...]] = {
    "same": (),
    "lossless": ("--codec", "ffv1", "--container", "mkv", "--segment-frames", "12"),
}
LONG = os.environ.get("FARM_TEST_LONG", "")
LONG_NAMES = [name for name in NAMES if LONG == "all" or LONG in name]
pytestmark = needs_data


@pytest.fixture(scope="module")
def beginnings(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """All films, long ones as far as BEGINNING_S."""
    require_ffmpeg()
    begun = tmp_path_factory.mktemp("beginnings")
    for name, seconds in BEGINNING_S.items():
        run_ffmpeg("-i", real_film(name), "-map", "0", "-c", "copy", "-t", seconds, begun / name)
    return [begun / path.name if path.name in BEGINNING_S else path for path in FILMS]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, cluster: dict[str, str]) -> FilmRuns:
    return _runs(tmp_path_factory.mktemp("real"), cluster)


@pytest.fixture(scope="module")
def long_runs(tmp_path_factory: pytest.TempPathFactory) -> FilmRuns:
    """Of whole films, which bear the names of their beginnings."""
    return _runs(tmp_path_factory.mktemp("whole"), {})


def _runs(folder: Path, environment: dict[str, str]) -> FilmRuns:
    model = save_srvgg(folder / "tiny.pth", features=4, convs=2, scale=1)
    return FilmRuns(farm=Farm(model=model, cache=folder, timeout_s=None, environment=environment), folder=folder)


@pytest.mark.parametrize("run", RUNS)
@pytest.mark.parametrize("film", NAMES)
def test_every_frame_and_every_stream_of_a_real_film_comes_out(
    runs: FilmRuns, beginnings: list[Path], film: str, run: str
) -> None:
    runs.submit(run, beginnings, *RUNS[run], "--workers", "2")
    _check(runs, run, film, scale=1)


@pytest.mark.skipif(not LONG, reason="up to hours of work: FARM_TEST_LONG names a film, or `all`")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("film", LONG_NAMES if LONG else NAMES[:1])
def test_so_they_do_of_a_whole_one(long_runs: FilmRuns, film: str) -> None:
    long_runs.submit(film, [real_film(film)])
    _check(long_runs, film, film, scale=1)


@pytest.mark.skipif(not LONG, reason="up to hours of work: FARM_TEST_LONG names a film, or `all`")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("film", LONG_NAMES if LONG else NAMES[:1])
def test_so_they_do_with_the_official_network(long_runs: FilmRuns, film: str) -> None:
    weights = data_folder() / "weights"
    long_runs.submit(f"official-{film}", [real_film(film)], "--model", "animevideov3", "--weights-dir", str(weights))
    _check(long_runs, f"official-{film}", film, scale=4)


def _check(runs: FilmRuns, run: str, film: str, *, scale: int) -> None:
    output, source = runs.made(run, film), runs.source(film)
    assert output.complaints() == ""
    same_film.check_times(source, output)
    same_film.check_sound(source, output)
    same_film.check_subtitles(source, output)
    same_film.check_rest(source, output)
    same_film.check_picture(source, output, scale=scale)
    assert runs.row(run, film)["frames"] == len(source.frames)
