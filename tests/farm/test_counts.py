"""Rows are done, skipped, failed or left, however a run ends; outputs that clash are found before any work."""

from __future__ import annotations

import csv
import os
import random
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from farm import engine, plan, run, storage
from farm.config import RunConfig
from farm.errors import DiskError, FarmError, LostLockError, ManifestError, StalledError, UnreachableError
from farm.records import Done, Failed, Part
from farm.run import run_manifest
from sr_kernel.passes import PassFigures

from ..seeded import save_srvgg
from .here_engine import HereEngine
from .test_shards import World, fill


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(engine, "Engine", HereEngine)
    monkeypatch.setattr(plan, "SHARD_ROWS", 4)
    return World(tmp_path, save_srvgg(tmp_path / "tiny.pth", features=8, convs=2), "csv")


def draw_rows(world: World, chance: random.Random) -> None:
    """Good sources, bad ones, some that are missing and some that lie where none may."""
    world.rows = []
    for at in range(chance.randint(1, 25)):
        name = f"in/{at:02d}.png"
        what = chance.choice(["good", "good", "good", "bad for good", "bad today", "missing", "hostile"])
        world.rows.append(f"../{at}.png" if what == "hostile" else name)
        if what not in ("missing", "hostile"):
            world.write_source(name, f"{what} {at}")


@pytest.mark.parametrize("seed", range(6))
def test_rows_that_a_signal_left_are_counted_as_left(world: World, seed: int) -> None:
    chance = random.Random(seed)
    draw_rows(world, chance)
    stop_at, stopped = chance.randint(1, 12), []

    def work(part: Part) -> Done | Failed:
        if len(world.worked) == stop_at and not stopped:
            stopped.append(part)
            os.kill(os.getpid(), signal.SIGTERM)
        return world.work(part)

    HereEngine.work = staticmethod(work)
    summary = run_manifest(world.config())
    assert summary.rows == len(world.rows) == summary.done + summary.failed + summary.left
    assert (summary.signum == signal.SIGTERM) == bool(stopped)
    assert stopped or not summary.left
    before = summary.done
    summary = world.run()
    assert summary.rows == summary.done + summary.reused + summary.failed
    assert (summary.reused, summary.left) == (before, 0)
    rows = world.results()
    assert sorted(row["row"] for row in rows) == list(range(len(world.rows)))
    assert sum(row["status"] == "done" for row in rows) == summary.done + summary.reused


def test_first_passes_that_took_long_are_told_once(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    fill(world, 3)
    figures = iter([PassFigures(windows=3), PassFigures(slow_s=21.4), PassFigures(slow_s=9.0)])

    def work(part: Part) -> Done | Failed:
        made = world.work(part)
        return replace(made, passes=next(figures), worker="here", node="n1") if isinstance(made, Done) else made

    HereEngine.work = staticmethod(work)
    assert run_manifest(world.config(quiet=False)).exit_code == 0
    told = [line for line in capsys.readouterr().err.splitlines() if "first passes" in line]
    assert told == [
        "here: its first passes took 21 s, most of it to compile and load kernels; n1 keeps what was compiled"
    ]


def full(world: World, error: FarmError) -> Path:
    """Runs into `error` while a worker has something staged; where that lies."""
    staged: list[Path] = []

    def work(part: Part) -> Done | Failed:
        if world.worked:
            (note,) = (world.out / ".farm/runs").iterdir()
            staged.append(world.out / ".farm/tmp" / note.stem / "film")
            staged[0].parent.mkdir(parents=True, exist_ok=True)
            staged[0].write_bytes(bytes(100))
            raise error
        return world.work(part)

    HereEngine.work = staticmethod(work)
    world.worked = []
    with pytest.raises(type(error)) as caught:
        run_manifest(world.config())
    assert caught.value is error
    return staged[0]


@pytest.mark.parametrize("error", [DiskError("full"), UnreachableError("gone"), StalledError("no worker")])
def test_a_run_that_cannot_go_on_takes_its_staged_files_along(world: World, error: FarmError) -> None:
    """They may be what fills the disk."""
    fill(world, 3)
    assert not full(world, error).exists()
    assert world.run().exit_code == 0


def test_the_workers_of_a_lost_cluster_may_be_at_work_and_only_the_next_run_removes_what_they_staged(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 3)
    monkeypatch.setattr(run, "cluster_address", lambda worker: "head:6379")
    staged = full(world, StalledError("the head does not answer"))
    assert staged.exists()
    assert world.run().exit_code == 0
    assert not staged.exists()


def test_a_run_that_has_lost_its_lock_removes_nothing(world: World) -> None:
    fill(world, 3)
    assert full(world, LostLockError("it is another run's")).exists()


def test_what_keeps_a_run_from_clearing_does_not_hide_why_it_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 3)
    clear = storage.clear_staging

    def refuse(root: str, keep: str, is_dead: Callable[[str], bool]) -> storage.Cleared:
        if not keep:
            raise DiskError("the disk is read-only by now")
        return clear(root, keep, is_dead)

    monkeypatch.setattr(storage, "clear_staging", refuse)
    assert full(world, DiskError("full")).exists()


@pytest.mark.parametrize("seed", range(6))
def test_outputs_that_clash_are_found_before_any_work(world: World, seed: int) -> None:
    chance = random.Random(seed)
    names = [f"in/{at:02d}.png" for at in range(chance.randint(2, 25))]
    outputs = [f"made/{chance.randrange(len(names) ** 2)}.png" for _ in names]
    for name in names:
        world.write_source(name, f"good {name}")
    config = written(world, names, outputs)
    world.worked = []
    HereEngine.work = staticmethod(world.work)
    if len(set(outputs)) == len(outputs):
        assert run_manifest(config).done == len(names)
        return
    with pytest.raises(ManifestError) as raised:
        run_manifest(config)
    twice = {one for one in outputs if outputs.count(one) > 1}
    assert any(one in str(raised.value) for one in twice)
    assert world.worked == []
    assert not (world.out / "made").exists()


def written(world: World, names: list[str], outputs: list[str]) -> RunConfig:
    """A run over rows that say where their outputs go."""
    config = world.config()
    with Path(config.manifest).open("w", newline="") as file:
        csv.writer(file).writerows([("source", "output"), *zip(names, outputs, strict=True)])
    return config
