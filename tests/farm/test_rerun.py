"""A finished run that is started again: nothing is made but what has changed, and little is looked at."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from farm import engine

from ..seeded import save_srvgg
from .here_engine import HereEngine
from .test_shards import World

ROWS, FEW_ROWS = 10_000, 2_000
"""with --trials, and without: making them the first time takes most of the test"""
AGAIN = """
import sys
from farm.cli import main
try:
    main(sys.argv[1:])
finally:
    print("heavy:", *sorted({"ray", "torch"} & set(sys.modules)))
"""


@pytest.fixture
def make_world(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], World]:
    def make(rows: int) -> World:
        folder = tmp_path_factory.mktemp("world")
        world = World(folder, save_srvgg(folder / "tiny.pth", features=8, convs=2), "csv")
        for at in range(rows):
            name = f"in/{at // 100:03d}/{at:05d}.png"
            world.write_source(name, f"picture {at:05d}")
            world.rows.append(name)
        monkeypatch.setattr(HereEngine, "work", staticmethod(world.work), raising=False)
        return world

    monkeypatch.setattr(engine, "Engine", HereEngine)
    return make


def times(world: World) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in world.out.rglob("*") if path.is_file() and path.name != "lock"}


def test_many_rows_that_are_done_are_a_matter_of_seconds(
    make_world: Callable[[int], World], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R10: no output is written, no model loaded, no Ray started.

    What counts are seconds of the processor, which others use too.
    """
    rows = ROWS if request.config.getoption("--trials") else FEW_ROWS
    world = make_world(rows)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # of the first run, which is not what is measured
    assert world.run().done == rows
    before, used_s = times(world), children_s()
    flags = ("--model", world.model, "--precision", "fp32", "--gpus", "0", "--no-stamp", "--out", world.out)
    command = [sys.executable, "-c", AGAIN, "submit", world.folder / "m.csv", *flags]
    again = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120, check=False)
    assert again.returncode == 0, again.stderr
    assert f"{rows} done before" in again.stderr
    assert "heavy:\n" in again.stdout
    assert times(world) == before
    assert children_s() - used_s < 5


def children_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_one_of_a_thousand_that_changed_unseen_is_found_and_only_that_is_made_again(
    make_world: Callable[[int], World],
) -> None:
    """R11: size and time are kept, so only who reads the sources, or is told their digests, can know."""
    world = make_world(1000)
    assert world.run().done == 1000
    path = world.folder / world.rows[777]
    stat = path.stat()
    path.write_text(path.read_text().replace("picture", "pictura"))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert (world.run().reused, world.worked) == (1000, [])
    before = times(world)
    assert (world.run(verify_inputs=True).done, world.worked) == (1, [path.name])
    after = times(world)
    changed = {one.name for one, at in after.items() if before.get(one) != at and ".farm" not in one.parts}
    assert changed == {"00777_4x.png", "results.parquet"}
    assert (world.run(verify_inputs=True).done, world.worked) == (0, [])
