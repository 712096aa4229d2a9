"""kill -9 of an actor in the middle of a film, and of the driver between segments: the film is the same."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ..media_reader import Probe
from ..moving_pattern import encode, frame_number
from ..runs import Farm, actors_of, files, identity
from ..videos import AAC, H264, make_film

FRAMES, SEGMENT = 96, 8
SMALL = ("av1.mp4", "main10.mkv", "odd.webm")
"""further codecs, in 24 frames each"""
SEGMENTS = (FRAMES + 24 * len(SMALL)) // SEGMENT
MADE = ("film_4x.mp4", *(f"{film.partition('.')[0]}_4x.{film.partition('.')[2]}" for film in SMALL))
FLAGS = ("--segment-frames", str(SEGMENT))
IN_HAND = SEGMENTS // 2
"""segments that one of several actors has at most: two units, each a quarter of what waits"""


@dataclass
class Watch:
    """Ledger lines of segments, seen while a run goes on: they go when their film is joined."""

    out: Path
    lines: dict[tuple[str, str], dict[str, object]] = field(default_factory=dict[tuple[str, str], dict[str, object]])
    """(file, line) -> entry"""

    def look(self) -> int:
        """How many segments are known to be done."""
        for path in self.out.glob(".farm/ledger/shard-*/*.jsonl"):
            for line in path.read_text().splitlines():
                if line.endswith("}") and "/segment/" in line:
                    self.lines[path.name, line] = json.loads(line)
        return len(self.keys())

    def keys(self) -> Counter[str]:
        """How often each segment was finished."""
        return Counter(str(entry["key"]) for entry in self.lines.values() if "/segment/" in str(entry["key"]))

    def until(self, count: int, driver: subprocess.Popen[str]) -> None:
        """Waits for so many segments."""
        end = time.monotonic() + 90
        while self.look() < count:
            assert time.monotonic() < end, "the run does not get on"
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.01)

    def to_end(self, driver: subprocess.Popen[str]) -> str:
        """Looks on until the run is over; returns what it said."""
        while driver.poll() is None:
            self.look()
            time.sleep(0.02)
        self.look()
        return driver.communicate(timeout=30)[1]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film-source")
    groups = ("-g", "24", "-sc_threshold", "0", "-bf", "2")
    encode(folder / "film.mp4", *H264, *groups, *AAC, frames=FRAMES, size=(144, 96))
    for film in SMALL:
        shutil.copy(make_film(film, tmp_path_factory.getbasetemp() / "films"), folder)
    return folder


@pytest.fixture(scope="module")
def undisturbed(slow_farm: Farm, source: Path) -> Path:
    """The output root of a run that nothing happened to, of one actor."""
    out = source.with_name("film-undisturbed")
    done = slow_farm.submit(source, out, *FLAGS, "--workers", "1")
    assert done.returncode == 0, done.stderr
    film = Probe(out / MADE[0])
    assert [frame_number(pixels) for pixels in film.rgb()] == list(range(FRAMES))
    return out


def check_same(out: Path, undisturbed: Path) -> None:
    assert files(out) == {*MADE, "results.parquet"}
    assert [name for name in MADE if (out / name).read_bytes() != (undisturbed / name).read_bytes()] == []
    assert identity(out) == identity(undisturbed)
    assert not [path for path in (out / ".farm" / "tmp").rglob("*") if path.is_file()]
    assert not [path for path in (out / ".farm" / "parts").rglob("*") if path.is_file()]


def test_a_killed_actor_costs_the_segments_in_its_hands(
    slow_farm: Farm, source: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    watch = Watch(out)
    driver = slow_farm.start(*slow_farm.submit_args(source, out, *FLAGS, "--workers", "3"))
    watch.until(3, driver)
    before = {str(entry["key"]): entry for entry in watch.lines.values()}
    victims = actors_of(driver)
    assert victims, "no actor found to kill"
    os.kill(victims[0], signal.SIGKILL)
    said = watch.to_end(driver)
    assert driver.returncode == 0, said
    check_same(out, undisturbed)
    assert watch.keys() == Counter(dict.fromkeys(watch.keys(), 1)), "no segment is finished twice"
    after = {str(entry["key"]): entry for entry in watch.lines.values()}
    assert {key: after[key] for key in before} == before, "what was done stays as it is"
    again = sum(int(str(entry["attempts"])) > 1 for entry in watch.lines.values())
    assert again <= IN_HAND, "only what was in its hands is made again"
    assert len(watch.keys()) >= SEGMENTS - 1, "and each is in the ledger"


def test_a_killed_driver_is_resumed_at_the_segment(
    slow_farm: Farm, source: Path, undisturbed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    watch = Watch(out)
    driver = slow_farm.start(*slow_farm.submit_args(source, out, *FLAGS, "--workers", "2"))
    watch.until(5, driver)
    os.kill(driver.pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    watch.look()
    before = set(watch.keys())
    assert 5 <= len(before) < SEGMENTS, "caught in the middle"
    again = slow_farm.start(*slow_farm.submit_args(source, out, *FLAGS, "--workers", "2"))
    said = watch.to_end(again)
    assert again.returncode == 0, said
    check_same(out, undisturbed)
    assert {watch.keys()[key] for key in before} == {1}, "what the ledger had is not made again"
    assert len(watch.keys()) <= SEGMENTS
