"""What somebody asks who comes by: is it at work, how far is it, how long will it take, what failed."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner, Result

from farm import storage
from farm.cli import main
from farm.config import ModelConfig, OutputConfig, RunConfig, WorkerConfig
from farm.errors import DiskError, ErrorKind, FarmError, UsageError
from farm.ledger import Compared, Ledger, Mark, MarkedKeys, compact_shard, read_notes, read_shard
from farm.lock import RunLock
from farm.records import Done, Failed, Part
from farm.run import run_manifest
from farm.run_note import RunningNote
from farm.status import WINDOW_S, iter_roots, read_status
from tests.farm.here_engine import HereEngine
from tests.farm.roots import RUN, entry, failed, note, write
from tests.outside import public_folder, without_rights
from tests.s3_server import require_s3
from tests.seeded import save_srvgg
from tests.stores import reach


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return str(tmp_path / "out")
    return reach(require_s3(), monkeypatch).new_prefix()


@pytest.fixture
def here(tmp_path: Path) -> str:
    return str(tmp_path / "out")


@pytest.fixture
def at_work(here: str) -> Iterator[str]:
    """The name of a run that holds the lock of `here`."""
    with RunLock(here) as held:
        yield held.run


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(main, [*map(str, args)])


# -- counts --------------------------------------------------------------------------------------------------------


def test_a_finished_run_is_counted_on_a_disk_and_on_a_store(root: str) -> None:
    rows = [entry(root, row) for row in range(3)]
    rows += [entry(root, 3, suspect="seam", frames=9), failed(root, 4), failed(root, 5, "missing"), failed(root, 6)]
    write(root, rows)
    note(root, 7, ended_unix=1_767_323_100.0, exit_code=3, done=4, failed=3)
    found = read_status(root)
    assert (found.state, found.rows, found.done, found.failed, found.left) == ("finished", 7, 4, 3, 0)
    assert (found.suspect, found.frames, found.source_px, found.output_bytes) == (1, 9, 4 * 96 * 64, 4000)
    assert list(found.failures.items()) == [("truncated", 2), ("missing", 1)]
    assert (found.run, found.last_unix, found.pace, found.eta_s) == (RUN, 1_767_323_045.0 + 6, None, None)


def test_a_marked_shard_is_counted_by_its_mark(here: str) -> None:
    rows = [entry(here, 0), entry(here, 1), failed(here, 2), entry(here, 3)]
    write(here, rows, compacted=False)
    keys = MarkedKeys()
    for one in rows[:3]:
        keys.add(one.key, Compared.BY_STORE)
    mark = Mark(rows=9, manifest="m", fingerprint="f", done=2, failed=1, refused=6)
    assert compact_shard(here, RUN, read_shard(here, 0), mark, keys)
    found = read_status(here)
    assert (found.done, found.failed) == (2, 7), "the fourth entry is of a row that has gone elsewhere"
    assert (found.output_bytes, dict(found.failures)) == (2000, {"truncated": 1})


def test_only_the_last_word_on_a_row_counts(here: str) -> None:
    write(here, [failed(here, 0), entry(here, 1)], compacted=False)
    again = entry(here, 0, finished_unix=2_000_000_000.0)
    write(here, [again], run="20260103T000000Z-00000000", compacted=False)
    found = read_status(here)
    assert (found.done, found.failed, dict(found.failures)) == (2, 0, {})


def test_a_folder_without_a_ledger_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no output root"):
        read_status(str(tmp_path))


# -- who works there -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "left", "state"),
    [({}, 8, "killed"), ({"ended_unix": 1_767_323_100.0, "exit_code": 130, "left": 8}, 8, "stopped")],
)
def test_a_run_that_left_rows_is_told_from_one_that_was_killed(
    ended: dict[str, float], left: int, state: str, here: str
) -> None:
    write(here, [entry(here, 0), failed(here, 1)])
    note(here, 10, **ended)
    found = read_status(here)
    assert (found.state, found.left, found.pace) == (state, left, None)


def test_without_a_note_nothing_is_made_up(here: str) -> None:
    write(here, [entry(here, 0)])
    found = read_status(here)
    assert (found.state, found.rows, found.left, found.eta_s) == ("idle", None, None, None)


def test_a_run_at_work_has_a_rate_and_a_time_left(here: str, at_work: str) -> None:
    now = time.time()
    rows = [entry(here, row, run=at_work, finished_unix=now - 100 + row) for row in range(20)]
    before = [entry(here, row, run="20260101T000000Z-00000000", finished_unix=now - 5000) for row in range(20, 40)]
    write(here, [*rows, *before], compacted=False)
    note(here, 100, run=at_work, started_unix=now - 120, known=20)
    found = read_status(here)
    assert (found.state, found.done, found.left) == ("running", 40, 60)
    assert found.pace is not None
    assert (found.pace.rows, found.pace.source_px) == (20, 20 * 96 * 64)
    assert 120 <= found.pace.seconds < 150
    assert found.eta_s is not None
    assert abs(found.eta_s - 60 * found.pace.seconds / 20) < 1


def test_a_rate_is_that_of_the_last_minutes_and_films_count_piece_by_piece(here: str, at_work: str) -> None:
    now = time.time()
    film = entry(here, 0, run=at_work, source_px=10_000, frames=48, finished_unix=now - 5)
    pieces = [
        entry(here, 0, run=at_work, key=f"{film.key}/segment/{n}", source_px=5000, extent=(n, n + 1), finished_unix=at)
        for n, at in enumerate((now - WINDOW_S - 20, now - 50))
    ]
    old = entry(here, 1, run=at_work, finished_unix=now - WINDOW_S - 50)
    write(here, [old, *pieces, film], compacted=False)
    note(here, 10, run=at_work, started_unix=now - 4000)
    found = read_status(here)
    assert found.pace is not None
    assert (found.pace.rows, found.pace.source_px) == (1, 5000), "one of two segments, and not the film once more"
    assert found.source_px == 10_000 + 96 * 64
    assert found.pieces == 0


@pytest.mark.s3
def test_a_store_tells_a_killed_run_from_one_at_work_by_its_lease_where_there_ever_was_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = reach(require_s3(), monkeypatch).new_prefix()
    write(root, [entry(root, 0)], compacted=False)
    note(root, 3)
    assert read_status(root).state == "unclear", "of a store that no run has locked nothing is known"
    with RunLock(root) as held:
        found = read_status(root)
        assert (found.state, found.run, found.pid) == ("running", held.run, os.getpid())
    assert read_status(root).state == "killed"
    newer = storage.join(root, ".farm", "lock", "0000000009.json")
    assert storage.create(newer, b"of another version", limit_s=10)
    assert read_status(root).state == "unclear", "somebody holds it, and nobody knows who"


def test_looking_on_disturbs_nobody(here: str, at_work: str) -> None:
    stop, seen = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            seen.append(read_status(here).done)

    write(here, [entry(here, 0)], compacted=False)
    looker = threading.Thread(target=look)
    looker.start()
    try:
        for number in range(1, 30):
            with Ledger(here, at_work) as book:
                book.note(entry(here, number))
            compact_shard(here, at_work, read_shard(here, 0))
    finally:
        stop.set()
        looker.join()
    assert read_status(here).done == 30
    assert seen == sorted(seen)
    assert len(seen) > 3


# -- what a run notes ----------------------------------------------------------------------------------------------


def ran(folder: Path, monkeypatch: pytest.MonkeyPatch, work: Callable[[Part], Done | Failed]) -> Path:
    """A run over two files, without Ray."""
    engine = type("Engine", (HereEngine,), {"work": staticmethod(work)})
    monkeypatch.setattr("farm.engine.Engine", engine)
    for place in (folder / "0.png", folder / "1.png"):
        if not place.exists():
            place.write_bytes(b"picture")
    model = save_srvgg(folder / "tiny.pth", features=8, convs=2)
    config = RunConfig(
        manifest=str(folder),
        model=ModelConfig(model=str(model)),
        output=OutputConfig(out=str(folder / "out")),
        worker=WorkerConfig(gpus=0),
        quiet=True,
    )
    run_manifest(config)
    return folder / "out"


def bad(part: Part) -> Failed:
    return Failed(part_id=part.part_id, kind=ErrorKind.CORRUPT, message="corrupt: x: y; z", node="n", worker="w")


def full(part: Part) -> Failed:
    raise DiskError("the disk is full")


def test_a_run_notes_how_it_ended_and_one_with_nothing_to_do_notes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = ran(tmp_path, monkeypatch, bad)
    (note,) = read_notes(str(out))
    assert (note.rows, note.failed, note.done, note.left, note.exit_code) == (2, 2, 0, 0, 3)
    assert note.manifest == str(tmp_path)
    ran(tmp_path, monkeypatch, bad)
    assert read_notes(str(out)) == [note]
    assert read_status(str(out)).state == "finished"


def test_a_run_that_waits_for_its_workers_says_for_what_until_it_has_them(here: str, at_work: str) -> None:
    noted = RunningNote(here)
    noted.begin(RunConfig(manifest="/in"), at_work, SimpleNamespace(rows=3, states={}))  # type: ignore[arg-type]
    words = "waiting for 6 GPUs: 2 of 8 are free, run X (priority 0) is before us"
    noted.wait(words)
    noted.wait("waiting for 6 GPUs: 3 of 8 are free")  # not every second anew
    assert (read_status(here).state, read_status(here).waiting) == ("running", words)
    assert f"  workers   {words}\n" in run("status", here).stdout
    assert json.loads(run("status", here, "--json").stdout)["waiting"] == words
    noted.wait("")
    assert read_status(here).waiting == ""
    assert "workers" not in run("status", here).stdout


def test_a_run_that_cannot_go_on_says_so_in_its_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DiskError):
        ran(tmp_path, monkeypatch, full)
    (note,) = read_notes(str(tmp_path / "out"))
    assert (note.exit_code, note.left, note.rows) == (74, 2, 2)
    assert note.seconds is not None
    assert read_status(str(tmp_path / "out")).state == "stopped"


# -- commands ------------------------------------------------------------------------------------------------------


def test_the_command_says_it_in_a_few_lines(here: str) -> None:
    write(here, [entry(here, 0), failed(here, 1)])
    note(here, 10)
    said = run("status", here)
    assert said.exit_code == 0, said.output
    assert "killed" in said.stdout
    assert "10 of the manifest: 1 done, 1 failed, 8 left" in said.stdout
    assert "failures  truncated 1" in said.stdout
    assert "(animevideov3)" in said.stdout


def test_machines_read_json(here: str) -> None:
    write(here, [entry(here, 0), failed(here, 1)])
    note(here, 2, ended_unix=1_767_323_100.0, exit_code=3)
    found = json.loads(run("status", here, "--json").stdout)
    assert (found["state"], found["done"], found["failures"], found["eta_s"]) == ("finished", 1, {"truncated": 1}, None)


def test_without_a_name_it_is_the_root_of_this_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused = run("status")
    assert refused.exit_code == 2
    assert "farm-out" in refused.stderr
    write(str(tmp_path / "farm-out"), [entry("/x", 0)])
    assert f"{tmp_path}/farm-out: nobody works there" in run("status").stdout
    monkeypatch.chdir(tmp_path / "farm-out")
    assert f"{tmp_path}/farm-out: nobody works there" in run("status").stdout


def test_every_root_below_a_folder_is_listed_on_a_disk_and_on_a_store(root: str) -> None:
    for name in ("b/c/d", "a", "b/x"):
        place = storage.join(root, name)
        write(place, [entry(place, 0), failed(place, 1)])
    assert list(iter_roots(root, refuse)) == [storage.join(root, name) for name in ("a", "b/c/d", "b/x")]
    lines = run("list", root).stdout.splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == list(iter_roots(root, refuse))
    assert all("1 done, 1 failed" in line for line in lines)
    states = [json.loads(line)["state"] for line in run("list", root, "--json").stdout.splitlines()]
    assert states == ["idle"] * 3
    assert list(iter_roots(storage.join(root, "a"), refuse)) == [storage.join(root, "a")]


def test_names_cannot_act_on_a_terminal(tmp_path: Path) -> None:
    place = str(tmp_path / "\x1b[31mred")
    write(place, [failed(place, 0, "\x1b[2J")])
    note(place, 1, manifest="\x1b]0;x\x07", models=("\x1b[0m",))
    assert "\x1b" not in run("status", place).stdout
    assert "\x1b" not in run("list", tmp_path).stdout


def test_a_root_without_a_ledger_keeps_nobody_from_being_listed(tmp_path: Path) -> None:
    (tmp_path / "a-training" / ".farm").mkdir(parents=True)
    write(str(tmp_path / "b"), [entry(str(tmp_path / "b"), 0)])
    listed = run("list", tmp_path)
    assert listed.exit_code == 0
    (line,) = listed.stdout.splitlines()
    assert line.endswith(str(tmp_path / "b"))


def refuse(error: FarmError) -> None:
    raise AssertionError(error)


def test_a_folder_that_is_not_ours_keeps_nobody_from_being_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    with public_folder() as folder:
        monkeypatch.setenv("XDG_STATE_HOME", str(folder / "state"))
        closed, root = folder / "b-lost+found", str(folder / "c")
        write(str(folder / "a"), [entry(str(folder / "a"), 0)])
        write(root, [entry(root, 0)])
        closed.mkdir(mode=0o700)
        with without_rights():
            listed = run("list", folder)
            inside = run("list", closed)
    assert listed.exit_code == 0, listed.output
    assert [line.rpartition("  ")[2] for line in listed.stdout.splitlines()] == [str(folder / "a"), root]
    assert f"left out: {closed}: " in listed.stderr
    assert inside.exit_code == 77, "it was named itself"


def test_who_works_there_is_named_and_not_who_worked_there_before(here: str, at_work: str) -> None:
    write(here, [entry(here, 0)])
    assert f"(run {at_work}, process {os.getpid()} " in run("status", here).stdout
    note(here, 9, run="20260101T000000Z-00000000", pid=4194305)
    found = read_status(here)
    assert (found.state, found.run, found.pid, found.started_unix) == ("running", at_work, os.getpid(), 0.0)
    said = run("status", here).stdout
    assert "no row begun yet" in said
    assert "4194305" not in said
