"""The film bench in small: clips are cut to the frame, the ratios are those of the runs, and a run's watch sees it."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ..outside import require_ffmpeg
from .scripts import bench_module


@pytest.fixture(scope="module")
def bench() -> Iterator[SimpleNamespace]:
    """The script, and those beside it that it takes things from."""
    with bench_module("video") as video:
        beside = {name: importlib.import_module(name) for name in ("alone", "film_clip", "film_run", "watch")}
        yield SimpleNamespace(video=video, **beside)


@pytest.fixture
def film(tmp_path: Path) -> Path:
    require_ffmpeg()
    path = tmp_path / "film.mp4"
    made = ["-f", "lavfi", "-i", "testsrc=size=64x48:rate=24:duration=0.5", "-f", "lavfi", "-i", "sine=duration=0.5"]
    codecs = ["-c:v", "libx264", "-bf", "3", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run(["ffmpeg", "-v", "error", *made, *codecs, str(path)], check=True)
    return path


def digests(film: Path, frames: int) -> list[str]:
    """One a frame."""
    command = ["ffmpeg", "-v", "error", "-i", str(film), "-map", "0:v", "-frames:v", str(frames), "-f", "framemd5", "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [line.rpartition(",")[2].strip() for line in text.splitlines() if not line.startswith("#")]


def a_run(bench: SimpleNamespace, *, steady_s: float, **memory_mb: float) -> object:
    return bench.film_run.Run(
        wall_s=steady_s + 2,
        steady_s=steady_s,
        frames=24,
        px=24 * 1_000_000,
        memory_mb=memory_mb,
        output=Path("film.mp4"),
        infer_s=2 * steady_s * 0.9,
    )


def test_a_clip_holds_the_first_frames_bit_for_bit_and_the_sound(
    bench: SimpleNamespace, film: Path, tmp_path: Path
) -> None:
    clip = bench.film_clip.cut(film, 5, tmp_path / "clip.mp4")
    assert len(digests(clip, 9)) == 5
    assert digests(clip, 9) == digests(film, 5)
    assert bench.film_clip.psnr_db(clip, clip) == float("inf")
    longer = bench.film_clip.probe(bench.film_clip.repeat(clip, 3, tmp_path / "longer.mp4"))
    assert (longer.frames, longer.has_audio) == (15, True)
    with pytest.raises(SystemExit, match="has 12 frames, 13 were asked for"):
        bench.film_clip.cut(film, 13, tmp_path / "more.mp4")


@pytest.mark.parametrize(
    ("frames", "workers", "wanted"), [(24, 2, 6), (24, 1, 12), (3, 4, 2), (25, 2, 6), (144, 2, 24)]
)
def test_every_worker_has_segments(bench: SimpleNamespace, frames: int, workers: int, wanted: int) -> None:
    assert bench.film_run.segment_frames(frames, workers) == wanted


def test_the_report_holds_the_ratios_of_its_runs(bench: SimpleNamespace) -> None:
    seconds = {"official, untiled": 60, "official, tile 128": 48, "farm, 2 workers": 12, "farm, 1 worker": 24}
    results = {name: [a_run(bench, steady_s=value, actor=value)] for name, value in seconds.items()}
    columns, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in bench.video.table(results)]
    assert [dict(zip(columns, row, strict=True))["times untiled"] for row in rows] == ["1.00", "1.25", "5.00", "2.50"]
    alone = [bench.alone.Cost(network_s=18.0, decode_s=1.0, encode_s=1.0)]
    text = "\n".join(bench.video.derived(results, alone, 2))
    assert "against its default: 5.00 times; against its best tile size: 4.00 times" in text
    assert "2 workers against one, each on a core of its own: 2.00 times" in text
    assert "0.900 (0.900-0.900)" in text
    assert "free: 6.67 times its default (60.0 s by the network's 9.0 s over 2 cores); reached 5.00" in text
    assert "of the farm's 12.0 s decode and encode are 1.0 s, all else 2.0 s" in text
    assert bench.alone.cost_table({"alone": alone}, 12.0, 2)[-1].endswith("| 10.00 | 1.200 |")


def test_limits_are_those_of_the_job(bench: SimpleNamespace, tmp_path: Path) -> None:
    """The wall clock has one from a minute on; other bytes are told whoever looks."""
    costs = {bench.alone.BUSY: [bench.alone.Cost(network_s=110.0, decode_s=5.0, encode_s=5.0)]}
    seconds = {"official, untiled": 240, "official, tile 128": 180, "farm, 2 workers": 62, "farm, 1 worker": 120}
    results = {name: [a_run(bench, steady_s=value)] for name, value in seconds.items()}
    for number, (name, runs) in enumerate(results.items()):
        film = tmp_path / f"{number}.mp4"
        film.write_bytes(b"film" if "official" in name else b"same")
        results[name] = [dataclasses.replace(runs[0], output=film)]
    held = bench.video.limits(results, costs, 2)
    assert [one.holds for one in held] == [True, True, True, True]
    assert held[-1].found == pytest.approx(62 / 60)
    results["farm, 1 worker"][0].output.write_bytes(b"other")
    results["farm, 2 workers"] = [dataclasses.replace(results["farm, 2 workers"][0], steady_s=80.0)]
    assert [one.holds for one in bench.video.limits(results, costs, 2)] == [False, False, False, False]
    results["farm, 2 workers"] = [dataclasses.replace(results["farm, 2 workers"][0], steady_s=59.0)]
    assert len(bench.video.limits(results, costs, 2)) == 3


def test_memory_is_compared_by_role(bench: SimpleNamespace) -> None:
    short = a_run(bench, steady_s=1, actor=500, driver=100)
    long = dataclasses.replace(a_run(bench, steady_s=9, actor=600, driver=90), frames=240)
    lines = bench.video.memory_lines({"short": short, "long": long})
    assert lines[-1] == "- a film 10 times as long: actor 1.20, driver 0.90 times the memory"


def test_a_watched_command_is_measured_and_its_failure_is_ours(bench: SimpleNamespace) -> None:
    out, wall_s, memory_mb = bench.watch.watched([sys.executable, "-c", "import time; time.sleep(1.8); print('done')"])
    assert out == "done\n"
    assert wall_s > 1.8
    assert memory_mb["driver"] > 1
    with pytest.raises(SystemExit, match="ended with 3"):
        bench.watch.watched([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_film_counts_from_the_moment_that_a_worker_opens_it(bench: SimpleNamespace, tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    name = shlex.quote(str(film))
    worker = f"sleep 0.8; exec 4<{name}; date +%s.%N; sleep 0.6; :"
    driver = f"exec 3<{name}; (exec -a ray::Worker.run bash -c {shlex.quote(worker)} 3<&-) & wait $!"
    process = bench.watch.start(["bash", "-c", driver])
    watch = bench.watch.FilmWatch(process.pid, film)
    watch.start()
    opened_unix = float(bench.watch.finish(process))
    watch.stop()
    assert 0 <= opened_unix - watch.opened_unix < 0.7
