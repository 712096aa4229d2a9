"""Runs on a cluster that are stopped, by a signal or by the clock: in time, nothing partial, nobody left, lock free."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from farm import storage
from farm.lock import RunLock
from farm.storage.objects.client import forget_stores

from ..clips import X264, clip
from ..runs import Farm, files, results
from ..s3_server import S3Server, require_s3
from ..stores import reach
from ..waiting import wait_for

Make = Callable[..., Path]
FRAMES = 144
ALLOWED_S = 10.0
"""to a run whose time is over: as much as to one that a signal stops, for what is in flight ends in the same way; what
the command takes until it reads its clock, and from its last word to its exit, is in it"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film of many segments: two workers hold four of them, so much more is to be done when some are there."""
    folder = tmp_path_factory.mktemp("film")
    (folder / "film.mp4").write_bytes(clip("libx264", "mp4", options=X264, frames=FRAMES, size=(96, 64)))
    return folder


def film_args(farm: Farm, source: Path, out: str | Path) -> tuple[str | Path, ...]:
    flags = ("--workers", "2", "--segment-frames", "4")
    return ("submit", source, "--model", farm.model, "--out", out, *flags)


def workers_alive() -> list[int]:
    """Processes below this one that run an actor: those of the tests' cluster."""
    found: list[int] = []
    for child in psutil.Process().children(recursive=True):
        try:
            if " ".join(child.cmdline()).startswith("ray::Worker"):
                found.append(child.pid)
        except psutil.Error:
            continue  # ended while we looked
    return found


def stop(driver: subprocess.Popen[str]) -> None:
    """SIGTERM ends a run within 10 s, and its workers too."""
    driver.send_signal(signal.SIGTERM)
    asked = time.monotonic()
    _, err = driver.communicate(timeout=60)
    taken_s = time.monotonic() - asked
    assert driver.returncode == 143, err
    assert "Traceback" not in err
    assert "run the same command again to finish" in err
    assert taken_s < ALLOWED_S
    wait_for(lambda: not workers_alive(), "no orphan process", 10)


def pieces(out: Path) -> list[Path]:
    return [path for path in (out / ".farm/parts").rglob("*") if path.is_file()]


def staged(out: Path) -> list[Path]:
    return [path for path in (out / ".farm/tmp").rglob("*") if path.is_file()]


def test_a_film_in_flight_is_left_whole_or_not_at_all_and_goes_on_where_it_was(
    slow_farm: Farm, source: Path, tmp_path: Path, cluster: dict[str, str]
) -> None:
    out = tmp_path / "out"
    driver = slow_farm.start(*film_args(slow_farm, source, out), env=cluster)
    wait_for(lambda: len(pieces(out)) >= 2, "segments", pause_s=0.01)
    stop(driver)
    assert files(out) <= {"results.parquet"}
    assert staged(out) == []
    with RunLock(str(out)):
        kept = pieces(out)
    assert kept
    before = {path: path.stat().st_mtime_ns for path in kept}
    late = slow_farm.run(*film_args(slow_farm, source, out), "--max-time", "14s", env=cluster)
    assert late.returncode in (0, 75), late.stderr
    if late.returncode == 75:
        assert "stopped by --max-time; 1 left; run the same command again" in late.stderr
        assert all(path.stat().st_mtime_ns == was for path, was in before.items()), "done segments are not made again"
        again = slow_farm.run(*film_args(slow_farm, source, out), env=cluster)
        assert again.returncode == 0, again.stderr
    (row,) = results(out)
    assert (row["status"], row["frames"]) == ("done", FRAMES)
    assert pieces(out) == []
    assert staged(out) == []


def test_packs_in_flight_are_left_whole_or_not_at_all(
    farm: Farm, make_picture: Make, tmp_path: Path, cluster: dict[str, str]
) -> None:
    out = tmp_path / "out"
    for index in range(12):
        make_picture(tmp_path / f"in/{index:02d}.png", 420, 420, seed=index)
    args = ("degrade", tmp_path / "in", "--out", out, "--workers", "2", "--per-image", "6", "--form", "tar")
    driver = farm.start(*args, env=cluster)
    wait_for(lambda: pieces(out), "samples", pause_s=0.01)
    stop(driver)
    assert staged(out) == []
    assert not [name for name in files(out) if "tmp" in name or "partial" in name]
    with RunLock(str(out)):
        pass


def test_the_clock_stops_a_run_in_time_and_nothing_is_partial(
    slow_farm: Farm, make_picture: Make, tmp_path: Path, cluster: dict[str, str]
) -> None:
    """More than any machine can do: what is published is whole and known to be done, the rest is to be done."""
    out, rows, given_s = tmp_path / "out", 1500, 16.0
    picture = make_picture(tmp_path / "in/0.png", 256, 256)
    for index in range(1, rows):
        (tmp_path / f"in/{index}.png").hardlink_to(picture)
    args = ("submit", tmp_path / "in", "--model", slow_farm.model, "--out", out, "--workers", "2")
    began = time.monotonic()
    made = slow_farm.run(*args, "--max-time", f"{given_s}s", env=cluster)
    taken_s = time.monotonic() - began
    assert made.returncode == 75, made.stderr
    done = len(files(out) - {"results.parquet"})
    assert f"stopped by --max-time; {rows - done} left; run the same command again" in made.stderr
    assert taken_s < given_s + ALLOWED_S
    assert staged(out) == []
    assert len(results(out)) == done
    left = slow_farm.run(*args, "--dry-run", env=cluster)
    assert f"{rows} rows: {rows - done} to do, {done} done before" in left.stdout


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    yield reach(require_s3(), monkeypatch)
    forget_stores()


@pytest.mark.s3
def test_on_a_store_a_signal_leaves_no_open_upload_and_frees_the_lock_at_once(
    slow_farm: Farm, source: Path, server: S3Server
) -> None:
    out = server.new_prefix()
    driver = slow_farm.start(*film_args(slow_farm, source, out), env=dict(os.environ))
    parts = f"{out}/.farm/parts"
    wait_for(lambda: next(storage.list_files(parts), None), "segments", pause_s=0.01)
    stop(driver)
    assert server.open_uploads(out) == []
    names = [found.url.removeprefix(out) for found in storage.list_files(out)]
    kept = ("/.farm/ledger/", "/.farm/parts/", "/.farm/lock/", "/.farm/runs/", "/results.parquet")
    assert [name for name in names if not name.startswith(kept)] == []
    with RunLock(out):
        pass
