"""The test films hold what their names promise, as an independent reader sees them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media_reader import Probe
from tests.moving_pattern import frame_number
from tests.videos import CASES, DAMAGED_GOP, WHOLE_FRAMES, make_film

Look = Callable[[str], Probe]
SHOWN = sorted(name for name, film in CASES.items() if film.frames)
BROKEN = ("cut.mp4", "damaged.mp4")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "films"


@pytest.fixture(scope="session")
def probes() -> dict[str, Probe]:
    return {}


@pytest.fixture
def probe(folder: Path, probes: dict[str, Probe]) -> Look:
    def look(name: str) -> Probe:
        return probes.setdefault(name, Probe(make_film(name, folder)))

    return look


@pytest.mark.parametrize("name", SHOWN)
def test_every_frame_is_there_and_says_its_number(probe: Look, name: str) -> None:
    film, frames = CASES[name], probe(name).frames
    assert len(frames) == film.frames
    if film.numbered and name != "size-change.ts":
        assert [frame_number(pixels) for pixels in probe(name).rgb()] == list(range(film.frames))
    assert bool(probe(name).complaints()) == (name in BROKEN)


def test_no_two_films_share_a_stem() -> None:
    assert len({Path(name).stem for name in CASES}) == len(CASES)


def test_a_film_is_the_same_bytes_each_time(tmp_path: Path, folder: Path) -> None:
    for name in ("tracks-mkv.mkv", "hdr.mkv", "damaged.mp4"):
        assert make_film(name, tmp_path / "again").read_bytes() == make_film(name, folder).read_bytes()


def steps(probe: Probe) -> list[Fraction]:
    times = probe.times()
    return [after - before for before, after in itertools.pairwise(times)]


def test_times(probe: Look) -> None:
    assert set(steps(probe("constant.mp4"))) == {Fraction(1, 25)}
    assert set(steps(probe("ntsc.mp4"))) == {Fraction(1001, 30000)}
    assert probe("ntsc.mp4").video["r_frame_rate"] == "30000/1001"
    for name in ("variable.mkv", "variable-90k.mp4"):
        assert len(set(steps(probe(name)))) > 5
        assert min(steps(probe(name))) > 0
    assert 0 in steps(probe("duplicate-times.mkv"))
    assert probe("negative-start.ts").times()[0] < -1
    assert float(probe("long-sound.mp4").streams("audio")[0]["duration"]) > 1.9
    assert not probe("silent.mp4").streams("audio")
    assert any("pts" not in frame for frame in probe("untimed.mpg").frames)


def test_groups_of_pictures(probe: Look) -> None:
    def kinds(name: str) -> str:
        return "".join(frame["pict_type"] for frame in probe(name).frames)

    assert "B" in kinds("bframes.mp4")
    assert kinds("open-gop.mp4")[0] == "I"
    for name in ("open-gop.mp4", "open-gop-hevc.mkv"):
        assert "BI" in kinds(name)[5:], "a picture before a keyframe needs that keyframe"
    hidden = [packet for packet in probe("edit-list.mp4").packets(probe("edit-list.mp4").video) if not packet.shown]
    assert hidden, "packets that an edit list leaves out"
    first, *_ = probe("edit-list.mp4").rgb()
    assert frame_number(first) == 13


def test_shapes_and_colours(probe: Look) -> None:
    assert probe("rotated.mp4").matrix() == "[[0, 65536], [-65536, 0]]"
    assert probe("mirrored.mov").matrix() == "[[-65536, 0], [0, 65536]]"
    assert probe("constant.mp4").matrix() is None
    assert probe("anamorphic.mp4").aspect() == Fraction(4, 3)
    assert [probe("odd.webm").video[side] for side in ("width", "height")] == [97, 65]
    assert probe("constant.mp4").colour()["color_space"] == "bt709"
    assert probe("pq.mp4").colour()["color_transfer"] == "smpte2084"
    assert probe("full-range.mp4").colour()["color_range"] == "pc"
    mastering = probe("hdr.mkv").mastering()
    assert mastering["red_x"] == pytest.approx(0.68)
    assert mastering["max_luminance"] == 1000
    assert (mastering["max_content"], mastering["max_average"]) == (1000, 400)


@pytest.mark.parametrize(
    ("name", "pix_fmt", "depth"),
    [
        ("high10.mp4", "yuv420p10le", 10),
        ("main10.mkv", "yuv420p10le", 10),
        ("half-chroma-10.mov", "yuv422p10le", 10),
        ("full-chroma.mkv", "yuv444p", 8),
        ("gray.mkv", "gray", 8),
        ("gray10.mkv", "gray10le", 10),
        ("alpha-ffv1.mkv", "yuva420p", 8),
        ("alpha-prores.mov", "yuva444p12le", 12),
        ("motion-jpeg.mov", "yuvj422p", 8),
    ],
)
def test_pixel_formats(probe: Look, name: str, pix_fmt: str, depth: int) -> None:
    assert probe(name).video["pix_fmt"] == pix_fmt
    assert probe(name).depth() == depth


def test_ten_bits_are_more_than_eight(probe: Look) -> None:
    luma = np.frombuffer(probe("high10.mp4").raw("gray10le"), "<u2")
    assert len(np.unique(luma)) > 256


def test_tracks_chapters_and_attachments(probe: Look) -> None:
    for name in ("tracks.mp4", "tracks-mkv.mkv"):
        film = probe(name)
        assert [len(film.streams(kind)) for kind in ("video", "audio", "subtitle")] == [2, 2, 2]
        assert [tag["language"] for tag in film.tags("audio")] == ["eng", "fra"]
        assert [tag["language"] for tag in film.tags("subtitle")] == ["eng", "fra"]
        assert all(len(digests) > 2 for digests in film.digests("subtitle"))
    assert probe("tracks-mkv.mkv").tags("subtitle")[1]["title"] == "Sous-titres"
    assert "forced" in probe("tracks-mkv.mkv").dispositions("subtitle")[1]
    for name in ("chapters.mkv", "chapters-mp4.mp4"):
        assert [title for *_, title in probe(name).chapters()] == ["Dawn", "Noon = high", "Dusk"]
        assert probe(name).head["format"]["tags"]["title"] == "Three hours"
    names = [stream["tags"]["filename"] for stream in probe("attachments.mkv").attachments]
    assert names == ["letters.ttf", "cover.jpg"]
    assert len(probe("cover.mp4").covers) == 1


@pytest.mark.parametrize("name", ["interlaced.mkv", "interlaced-mpeg2.ts"])
def test_interlaced_films_have_two_moments_a_frame(probe: Look, name: str) -> None:
    assert all(frame["interlaced_frame"] for frame in probe(name).frames)
    if name.endswith("mkv"):
        assert {frame["top_field_first"] for frame in probe(name).frames} == {1}
    fields = [frame_number(pixels[field::2]) for pixels in probe(name).rgb() for field in (0, 1)]
    assert fields == list(range(48))


def test_bad_films_are_bad(probe: Look, folder: Path) -> None:
    cut = make_film("cut.mp4", folder)
    index = cut.read_bytes().index(b"mdat")
    assert index < len(cut.read_bytes()) // 4, "the index comes first and is whole"
    numbers = [frame_number(pixels) for pixels in probe("cut.mp4").rgb()]
    assert numbers[:WHOLE_FRAMES] == list(range(WHOLE_FRAMES))
    assert len(probe("cut.mp4").packets(probe("cut.mp4").video)) in (WHOLE_FRAMES, WHOLE_FRAMES + 1)
    assert len({(frame["width"], frame["height"]) for frame in probe("size-change.ts").frames}) == 2
    for name in ("sound-only.mp4", "cover-only.mp4"):
        assert probe(name).streams("audio")
        assert not probe(name).streams("video")
    assert probe("cover-only.mp4").covers
    assert b"moov" not in make_film("no-index.mp4", folder).read_bytes()
    assert make_film("empty.mp4", folder).stat().st_size == 0


def test_damage_stays_in_its_group_of_pictures(probe: Look, folder: Path) -> None:
    keys = [n for n, frame in enumerate(probe("damaged.mp4").frames) if frame["key_frame"]]
    assert DAMAGED_GOP.start in keys
    assert DAMAGED_GOP.stop in keys
