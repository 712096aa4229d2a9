"""Runs over manifests that change between them: what is done is known wherever its row stands, counts add up.

Shards of four rows, so that borders are everywhere. The oracle is a few lines: what the files and the last run say.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import itertools
import os
import random
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farm import engine, entries, failpoints, ledger, plan
from farm.config import LimitConfig, ModelConfig, OutputConfig, RunConfig, VideoConfig, WorkerConfig
from farm.errors import ErrorKind, UsageError
from farm.names import Namer
from farm.records import Done, Failed, Part, StageSeconds
from farm.run import run_manifest
from farm.summary import RunSummary
from farm.survey import shard
from sr_kernel.fidelity import PixelStats

from ..seeded import save_srvgg
from .here_engine import HereEngine

SHARD_ROWS = 4


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_srvgg(tmp_path_factory.mktemp("model") / "tiny.pth", features=8, convs=2)


@dataclass
class World:
    """A folder of sources, a manifest of them, and runs of it into one output root."""

    folder: Path
    model: Path
    form: str
    rows: list[str] = field(default_factory=list)
    """sources as the manifest names them"""
    worked: list[str] = field(default_factory=list)
    """sources that workers were given in the last run"""
    kill_after: int | None = None
    made: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    """by output: what the last run that made it made it of"""
    with_digests: bool = False
    priorities: list[int] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    """names of the outputs, where the manifest has some"""

    @property
    def out(self) -> Path:
        return self.folder / "out"

    def write_source(self, name: str, content: str) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.stat().st_mtime_ns if path.exists() else 0
        path.write_text(content)
        os.utime(path, ns=(max(path.stat().st_mtime_ns, before + 1000), max(path.stat().st_mtime_ns, before + 1000)))

    def write_manifest(self) -> Path:
        path = self.folder / f"m.{self.form}"
        columns: dict[str, list[Any]] = {"source": self.rows}
        if self.with_digests:
            columns["sha256"] = [self.digest(name) for name in self.rows]
        if self.priorities:
            columns["priority"] = self.priorities
        if self.outputs:
            columns["output"] = self.outputs
        if self.form == "parquet":
            pq.write_table(pa.table(columns), path, row_group_size=7)
        else:
            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(columns)
                writer.writerows(zip(*columns.values(), strict=True))
        return path

    def digest(self, name: str) -> str | None:
        path = self.folder / name
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def config(self, **changes: Any) -> RunConfig:
        made = RunConfig(
            manifest=str(self.write_manifest()),
            model=ModelConfig(model=str(self.model), precision="fp32"),
            output=OutputConfig(out=str(self.out), stamp=False),
            worker=WorkerConfig(gpus=0),
            quiet=True,
        )
        return replace(made, **changes)

    def work(self, part: Part) -> Done | Failed:
        """What a worker would do: content in, content and parameters out."""
        if self.kill_after is not None and len(self.worked) >= self.kill_after:
            raise KeyboardInterrupt
        item = part.item
        self.worked.append(Path(item.row.source_url).name)
        content = Path(item.row.source_url).read_text()
        where = {"part_id": part.part_id, "node": "n", "worker": "w"}
        if content.startswith("bad"):
            kind = ErrorKind.CORRUPT if content.startswith("bad for good") else ErrorKind.ENCODE_FAILED
            return Failed(kind=kind, message=f"{kind.value}: {item.row.source_url}: {content}; x", **where)
        allowed = bool(item.params.video and item.params.video.salvage)
        if content.startswith("cut") and not allowed:
            return Failed(kind=ErrorKind.TRUNCATED, message=f"truncated: {item.row.source_url}: cut; x", **where)
        data = f"{content} at {item.params.outscale:g}".encode()
        Path(item.output_url).parent.mkdir(parents=True, exist_ok=True)
        Path(item.output_url).write_bytes(data)
        return Done(
            **where,
            url=item.output_url,
            sha256=hashlib.sha256(data).hexdigest(),
            bytes=len(data),
            width=4,
            height=4,
            source_px=1,
            mode="exact",
            precision="fp32",
            stats=PixelStats(),
            seconds=StageSeconds(),
            source_sha256=hashlib.sha256(content.encode()).hexdigest(),
            lacking=content.startswith("cut"),
        )

    def run(self, **changes: Any) -> RunSummary:
        self.worked = []
        HereEngine.work = staticmethod(self.work)
        return run_manifest(self.config(**changes))

    def results(self) -> list[dict[str, Any]]:
        return pq.read_table(self.out / "results.parquet").to_pylist()

    def snapshot(self) -> dict[str, int]:
        """When each file below the output root was written, but the lock."""
        found = (path for path in self.out.rglob("*") if path.is_file() and path.name != "lock")
        return {str(path): path.stat().st_mtime_ns for path in found}


@pytest.fixture(params=["parquet", "csv"])
def world(request: pytest.FixtureRequest, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(engine, "Engine", HereEngine)
    monkeypatch.setattr(plan, "SHARD_ROWS", SHARD_ROWS)
    failpoints.disarm()
    return World(tmp_path, model, request.param)


def fill(world: World, count: int) -> None:
    world.rows = [f"in/{at:03d}.png" for at in range(count)]
    for name in world.rows:
        world.write_source(name, f"picture {name}")


def assert_nothing_to_do(world: World, **changes: Any) -> RunSummary:
    before = world.snapshot()
    summary = world.run(**changes)
    assert world.worked == []
    assert world.snapshot() == before
    return summary


def test_a_finished_run_is_not_even_planned_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, 10)
    first = world.run()
    assert (first.rows, first.done, first.exit_code) == (10, 10, 0)
    assert sorted(world.worked) == sorted(Path(name).name for name in world.rows)
    monkeypatch.setattr(Namer, "names", None)
    second = assert_nothing_to_do(world)
    assert (second.rows, second.reused, second.done, second.exit_code) == (10, 10, 0, 0)
    assert len(second.outputs) == 5


def test_rows_of_higher_priority_come_first_within_their_shard(world: World) -> None:
    fill(world, 10)
    world.priorities = [0, 5, -1, 5, 9, 0, 0, 0, 0, 1]
    world.run()
    assert [int(name[:3]) for name in world.worked] == [1, 3, 0, 2, 4, 5, 6, 7, 9, 8]
    assert [row["row"] for row in world.results()] == list(range(10)), "rows keep their numbers"
    assert_nothing_to_do(world)


def test_a_row_whose_output_is_refused_is_a_result_beside_others_of_its_source(world: World) -> None:
    """Until a later run has none such any more: then it was mended."""

    def run(*outputs: str) -> list[tuple[int, str]]:
        world.rows, world.outputs = ["in/000.png"] * len(outputs), list(outputs)
        summary = world.run()
        found = [(row["row"], row["status"]) for row in world.results()]
        counted = Counter(status for _, status in found)
        assert (counted["done"], counted["failed"]) == (summary.done + summary.reused, summary.failed)
        return found

    fill(world, 1)
    two = [(0, "failed"), (1, "failed")]
    assert run("../a.png", "../b.png") == two
    assert run("../a.png", "../b.png", "good.png") == [*two, (2, "done")]
    assert run("../a.png", "../b.png", "good.png") == [*two, (2, "done")]
    assert run("../a.png", "b.png", "good.png", "c.png") == [(0, "failed"), (1, "done"), (2, "done"), (3, "done")]
    assert run("a.png", "b.png", "good.png", "c.png") == [(at, "done") for at in range(4)]


def test_a_row_that_is_refused_again_is_a_result_again(world: World) -> None:
    """Its place was another row's meanwhile, whose output is still there."""

    def run(*outputs: str) -> list[tuple[int, str]]:
        world.rows, world.outputs = ["in/000.png"] * len(outputs), list(outputs)
        world.run()
        return [(row["row"], row["status"]) for row in world.results()]

    fill(world, 1)
    assert run("good.png", "../b.png") == [(0, "done"), (1, "failed")]
    assert run("good.png", "b.png") == [(0, "done"), (1, "done")]
    for _ in range(2):
        assert run("good.png", "../b.png") == [(0, "done"), (1, "failed"), (1, "done")]
    assert_nothing_to_do(world)


@pytest.mark.parametrize("shards", [1, 2])
def test_what_a_film_may_lack_redoes_the_films_that_lack_it_and_no_other(world: World, shards: int) -> None:
    fill(world, 4 * shards - 2)
    world.rows += ["in/cut.mp4", "in/whole.mp4"]
    world.write_source("in/cut.mp4", "cut film")
    world.write_source("in/whole.mp4", "whole film")
    count = len(world.rows)
    assert (world.run().failed, len(world.worked)) == (1, count)
    salvage = VideoConfig(salvage=True)
    assert (world.run(video=salvage).done, world.worked) == (1, ["cut.mp4"])
    assert_nothing_to_do(world, video=salvage)
    assert (world.run().failed, world.worked) == (1, ["cut.mp4"])
    assert world.run(video=salvage).done == 1


def test_rows_that_move_across_shards_are_not_made_again(world: World) -> None:
    fill(world, 12)
    world.run()
    world.write_source("in/new.png", "picture new")
    world.rows.insert(0, "in/new.png")
    del world.rows[6]
    summary = world.run()
    assert (summary.done, summary.reused, world.worked) == (1, 11, ["new.png"])
    found = {Path(row["source"]).name: row["row"] for row in world.results()}
    assert {Path(name).name: at for at, name in enumerate(world.rows)}.items() <= found.items()
    assert len(found) == 13, "what the manifest does not name any more is still in the output root"
    assert_nothing_to_do(world)
    world.rows.reverse()
    assert world.run().reused == 12
    assert [row["row"] for row in world.results() if Path(row["source"]).name in ("new.png",)] == [11]
    assert_nothing_to_do(world)


def test_only_what_changed_is_made_again(world: World) -> None:
    fill(world, 12)
    world.run()
    world.write_source("in/005.png", "another picture")
    (world.out / "in/010_4x.png").unlink()
    summary = world.run()
    assert (sorted(world.worked), summary.done, summary.reused) == (["005.png", "010.png"], 2, 10)
    assert_nothing_to_do(world)


def test_a_sub_run_of_other_parameters_takes_marks_of_what_it_overwrites(world: World) -> None:
    """Both write the same sizes, so that only the ledger can tell whose outputs they are."""
    fill(world, 12)
    everything = list(world.rows)
    output = OutputConfig(out=str(world.out), stamp=False, name="{stem}.{ext}")
    fine = {"output": output, "model": ModelConfig(model=str(world.model), precision="fp32", outscale=2)}
    world.run(**fine)
    world.rows = ["in/009.png"]
    coarse = {**fine, "model": ModelConfig(model=str(world.model), precision="fp32", outscale=3)}
    assert world.run(**coarse).done == 1
    world.rows = everything
    assert world.run(**fine).done == 1
    assert world.worked == ["009.png"]
    assert_nothing_to_do(world, **fine)


def test_failures_are_settled_or_tried_again(world: World) -> None:
    fill(world, 9)
    world.write_source("in/001.png", "bad for good")
    world.write_source("in/006.png", "bad today")
    world.rows[3:3] = ["../escape.png", "../escape.png", "in/gone.png"]
    first = world.run()
    assert (first.rows, first.done, first.failed, first.left) == (12, 7, 5, 0)
    second = world.run()
    assert (world.worked, second.failed, second.reused) == (["006.png"], 5, 7)
    world.write_source("in/006.png", "picture 6")
    assert world.run().done == 1
    third = assert_nothing_to_do(world)
    assert (third.reused, third.failed) == (8, 4)
    assert len(third.failures) == 4
    world.write_source("in/gone.png", "here it is")
    assert (world.run().done, world.worked) == (1, ["gone.png"])
    assert {row["status"] for row in world.results() if "gone" in row["source"]} == {"done"}


def statuses(world: World) -> dict[str, str]:
    return {Path(row["source"]).name: row["status"] for row in world.results()}


@pytest.mark.parametrize("count", [3, 10])
def test_results_say_what_is_so_after_sources_went_and_came_back(world: World, count: int) -> None:
    fill(world, count)
    world.run()
    aside = world.folder / "aside"
    (world.folder / "in").rename(aside)
    assert (world.run().failed, set(statuses(world).values())) == (count, {"failed"})
    assert_nothing_to_do(world)
    aside.rename(world.folder / "in")
    summary = world.run()
    assert (summary.reused, summary.done, world.worked) == (count, 0, [])
    assert set(statuses(world).values()) == {"done"}
    assert_nothing_to_do(world)
    (world.folder / "in/001.png").rename(aside)
    assert (world.run().failed, statuses(world)["001.png"]) == (1, "failed")
    assert_nothing_to_do(world)


def test_results_say_what_is_so_after_a_source_was_bad_for_a_while(world: World) -> None:
    fill(world, 6)
    good = (world.folder / "in/002.png").stat()
    world.run()
    world.write_source("in/002.png", "bad for good")
    assert (world.run().failed, statuses(world)["002.png"]) == (1, "failed")
    (world.folder / "in/002.png").write_text("picture in/002.png")
    os.utime(world.folder / "in/002.png", ns=(good.st_atime_ns, good.st_mtime_ns))
    assert (world.run().reused, world.worked, statuses(world)["002.png"]) == (6, [], "done")
    assert_nothing_to_do(world)


def test_the_same_hostile_source_in_two_shards_is_two_rows(world: World) -> None:
    fill(world, 8)
    world.rows[0] = world.rows[6] = "../x.png"
    assert world.run().failed == 2
    assert [row["row"] for row in world.results() if row["error"] == "unsafe_path"] == [0, 6]
    world.run(verify_outputs=True)
    assert_nothing_to_do(world, verify_outputs=True)


def test_rows_that_are_shuffled_again_and_again_leave_no_more_than_themselves(world: World) -> None:
    fill(world, 16)
    world.run()
    random_ = random.Random(4)
    for _ in range(8):
        random_.shuffle(world.rows)
        assert (world.run().reused, world.worked) == (16, [])
        assert_nothing_to_do(world)
    assert len(ledger.read_ledger(str(world.out))) == 16
    files = ledger.read_shards(str(world.out)).values()
    entries = sum(pq.read_metadata(one.compacted).num_rows for one in files if one.compacted)
    assert entries <= 2 * 16, "what has moved away is given up by and by"


def test_a_run_whose_clock_is_behind_is_the_later_one_all_the_same(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(world, 6)
    world.write_source("in/001.png", "bad today")
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    assert world.run().failed == 1
    monkeypatch.setattr(time, "time", real)
    world.write_source("in/001.png", "bad for good")
    assert (world.run().failed, statuses(world)["001.png"]) == (1, "failed")
    world.write_source("in/001.png", "good at last")
    assert (world.run().done, statuses(world)["001.png"]) == (1, "done")
    assert_nothing_to_do(world)


def test_contents_are_read_when_asked_to(world: World) -> None:
    fill(world, 6)
    world.run()
    path, output = world.folder / "in/002.png", world.out / "in/004_4x.png"
    for file in (path, output):
        stat = file.stat()
        data = bytearray(file.read_bytes())
        data[0] ^= 1
        file.write_bytes(data)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert_nothing_to_do(world)
    assert (world.run(verify_outputs=True).done, world.worked) == (1, ["004.png"])
    assert (world.run(verify_inputs=True).done, world.worked) == (1, ["002.png"])
    assert_nothing_to_do(world, verify_inputs=True, verify_outputs=True)


def test_a_link_out_of_the_root_is_refused_without_being_read(world: World) -> None:
    fill(world, 6)
    outside = world.folder.parent / f"{world.folder.name}-outside.png"
    outside.write_text("picture of somebody else")
    (world.folder / "in/link.png").symlink_to(outside)
    (world.folder / "in/inside.png").symlink_to("000.png")
    world.rows[2:2] = ["in/link.png", "in/inside.png"]
    first = world.run()
    assert (first.done, first.failed) == (7, 1)
    assert "link.png" not in world.worked
    assert {row["error"] for row in world.results() if "link.png" in row["source"]} == {"unsafe_path"}
    second = world.run()
    assert (second.reused, second.failed, world.worked) == (7, 1, [])


def test_a_ledger_with_shards_of_another_size_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(world, 6)
    world.run()
    before = world.snapshot()
    monkeypatch.setattr(plan, "SHARD_ROWS", 5)
    with pytest.raises(UsageError, match="shards of 4 rows, this farm makes 5"):
        world.run()
    assert world.snapshot() == before


def test_an_incremental_manifest_adds_to_what_is_there(world: World) -> None:
    """Tonight's rows take the numbers of last night's; both stay in the results, and either run again does nothing."""
    fill(world, 10)
    monday = list(world.rows)
    world.run()
    world.rows = [f"in/tuesday-{at}.png" for at in range(6)]
    for name in world.rows:
        world.write_source(name, name)
    assert world.run().done == 6
    assert_nothing_to_do(world)
    assert len(world.results()) == 16
    world.rows = monday
    assert (world.run().reused, world.worked) == (10, [])
    assert_nothing_to_do(world)
    assert len(world.results()) == 16


@pytest.mark.parametrize("step_s", [0.0, -0.0007, 0.00002])
def test_a_clock_that_stands_still_or_runs_backwards_changes_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    """What counts is the order of runs, and not what a clock says that somebody sets."""
    asked = itertools.count()
    clock = SimpleNamespace(time=lambda: 1_800_000_000.0 + next(asked) * step_s)
    for room in (entries, shard):
        monkeypatch.setattr(room, "time", clock)
    live(world, seed=1)
    assert next(asked) > 1


@pytest.mark.parametrize("seed", range(int(os.environ.get("FARM_TEST_SEEDS", "6"))))
def test_counts_add_up_whatever_happens_between_runs(world: World, seed: int) -> None:
    live(world, seed)


def live(world: World, seed: int) -> None:
    """A history of runs and of what happens between them, all of it drawn from the seed."""
    random_ = random.Random(seed)
    fill(world, 11)
    world.with_digests = seed % 3 == 0
    state = Oracle(world)
    for step in range(7):
        scales = (2.0, 4.0) if step == 3 else (4.0,)
        state.disturb(random_)
        for scale in scales:
            state.check(random_, scale)


class Oracle:
    """What should be done, from what the files say."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.fresh = 0
        self.owner: dict[str, tuple[str, int, float]] = {}
        """by source: content, time and scale of what its output was made of"""
        self.settled: set[tuple[str, str, int, float]] = set()

    def version(self, name: str) -> tuple[str, int]:
        path = self.world.folder / name
        return path.read_text(), 0 if self.world.with_digests else path.stat().st_mtime_ns

    def disturb(self, random_: random.Random) -> None:
        world = self.world
        for _ in range(random_.randint(0, 3)):
            what = random_.choice(["add", "remove", "move", "change", "lose", "spoil", "shuffle", "hostile"])
            if what == "add":
                name = f"in/x{self.fresh:03d}.png"
                self.fresh += 1
                world.write_source(name, f"picture {name}")
                world.rows.insert(random_.randint(0, len(world.rows)), name)
            elif what == "hostile":
                world.rows.insert(random_.randint(0, len(world.rows)), f"../{random_.randint(0, 1)}.png")
            elif what == "shuffle":
                random_.shuffle(world.rows)
            elif world.rows:
                at = random_.randrange(len(world.rows))
                self.disturb_row(what, at, random_)

    def disturb_row(self, what: str, at: int, random_: random.Random) -> None:
        world, name = self.world, self.world.rows[at]
        if what == "remove" and len(world.rows) > 1:
            del world.rows[at]
        elif what == "move":
            world.rows.insert(random_.randint(0, len(world.rows) - 1), world.rows.pop(at))
        elif what == "change" and not name.startswith(".."):
            world.write_source(name, f"picture {name} {random_.random()}")
        elif what == "spoil" and not name.startswith(".."):
            world.write_source(name, random_.choice(["bad for good", "bad today"]))
        elif what == "lose" and name in self.owner:
            self.output(name, self.owner[name][2]).unlink(missing_ok=True)
            del self.owner[name]

    def output(self, name: str, scale: float) -> Path:
        return self.world.out / f"{name.removesuffix('.png')}.png"

    def is_pending(self, name: str, scale: float) -> bool:
        version = (*self.version(name), scale)
        return self.owner.get(name) != version and (name, *version) not in self.settled

    def check(self, random_: random.Random, scale: float) -> None:
        world = self.world
        output = OutputConfig(out=str(world.out), stamp=False, name="{stem}.{ext}")
        options: dict[str, Any] = {
            "output": output,
            "model": ModelConfig(model=str(world.model), precision="fp32", outscale=scale),
            "limits": LimitConfig(),
        }
        real = [name for name in world.rows if not name.startswith("..")]
        if random_.random() < 0.3:
            world.kill_after = random_.randint(0, 3)
            with contextlib.suppress(KeyboardInterrupt):
                world.run(**options)
            world.kill_after = None
            self.learn(world.worked, scale)
        expected = sorted(Path(name).name for name in real if self.is_pending(name, scale))
        summary = world.run(**options)
        assert sorted(world.worked) == expected
        self.learn(world.worked, scale)
        bad = [name for name in real if self.version(name)[0].startswith("bad")]
        hostile = len(world.rows) - len(real)
        assert summary.rows == len(world.rows) == summary.done + summary.reused + summary.failed
        assert summary.failed == len(bad) + hostile
        self.check_results(real, bad, scale)
        before = world.snapshot()
        again = world.run(**options)
        transient = sorted(Path(name).name for name in bad if self.version(name)[0] == "bad today")
        assert sorted(world.worked) == transient
        assert (again.rows, again.reused) == (summary.rows, summary.done + summary.reused)
        if not transient:
            assert world.snapshot() == before

    def learn(self, worked: list[str], scale: float) -> None:
        for name in (f"in/{one}" for one in worked):
            content, at = self.version(name)
            if content.startswith("bad for good"):
                self.settled.add((name, content, at, scale))
            elif not content.startswith("bad"):
                self.owner[name] = (content, at, scale)

    def check_results(self, real: list[str], bad: list[str], scale: float) -> None:
        rows = self.world.results()
        assert [row["row"] for row in rows] == sorted(row["row"] for row in rows)
        outputs = [row["output"] for row in rows if row["output"]]
        assert len(set(outputs)) == len(outputs)
        by_source = {Path(row["source"]).name: row for row in rows}
        for at, name in enumerate(self.world.rows):
            if name in real:
                row = by_source[Path(name).name]
                assert row["row"] == at
                assert row["status"] == ("failed" if name in bad else "done")
                if name not in bad:
                    data = self.output(name, scale).read_bytes()
                    assert data.decode() == f"{self.version(name)[0]} at {scale:g}"
                    assert row["sha256"] == hashlib.sha256(data).hexdigest()
