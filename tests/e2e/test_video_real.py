"""The real films of FARM_TEST_DATA through the command, as ffprobe sees what comes out.

Short form: one run over all of them with a seeded network of two convolutions that keeps their size. Long form, with
FARM_TEST_LONG set to a part of a film's name or to `all`: animevideov3 at four times the size, on a CPU hours for some.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ..moving_pattern import require_ffmpeg
from ..networks import test_data
from ..seeded import save_srvgg
from . import same_film
from .conftest import Farm
from .film_runs import FilmRuns

FOLDER = Path(os.environ.get("FARM_TEST_DATA", "")) / "media" / "videos"
FILMS = sorted(path.name for path in FOLDER.iterdir()) if FOLDER.is_dir() else []
LONG = os.environ.get("FARM_TEST_LONG", "")
LONG_FILMS = [film for film in FILMS if LONG == "all" or LONG in film]
pytestmark = pytest.mark.skipif(not FILMS, reason="FARM_TEST_DATA names no folder with media/videos")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> FilmRuns:
    require_ffmpeg()
    folder = tmp_path_factory.mktemp("real")
    model = save_srvgg(folder / "tiny.pth", features=4, convs=2, scale=1)
    return FilmRuns(farm=Farm(model=model, cache=folder, timeout_s=None), folder=folder)


@pytest.mark.timeout(600)  # the first of them waits for the run
@pytest.mark.parametrize("film", FILMS)
def test_every_frame_and_every_stream_of_a_real_film_comes_out(runs: FilmRuns, film: str) -> None:
    runs.submit("all", [FOLDER / name for name in FILMS])
    _check(runs, "all", film, scale=1)


@pytest.mark.skipif(not LONG, reason="hours of work: FARM_TEST_LONG names a film, or `all`")
@pytest.mark.timeout(0)
@pytest.mark.parametrize("film", LONG_FILMS if LONG else FILMS[:1])
def test_so_they_do_with_the_official_network(runs: FilmRuns, film: str) -> None:
    weights = test_data() / "weights"
    runs.submit(f"long-{film}", [FOLDER / film], "--model", "animevideov3", "--weights-dir", str(weights))
    _check(runs, f"long-{film}", film, scale=4)


def _check(runs: FilmRuns, run: str, film: str, *, scale: int) -> None:
    output, source = runs.made(run, film), runs.source(film)
    assert output.complaints() == ""
    same_film.check_times(source, output)
    same_film.check_sound(source, output)
    same_film.check_subtitles(source, output)
    same_film.check_rest(source, output)
    same_film.check_picture(source, output, scale=scale)
    assert runs.row(run, film)["frames"] == len(source.frames)
