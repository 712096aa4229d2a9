"""What killed runs leave is found and removed, and nothing of anybody else's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from farm import engine, failpoints, ledger, lock, storage
from farm.cli import main
from farm.config import OutputConfig
from farm.errors import BusyError, UsageError
from farm.gc import Collected, collect
from farm.lock import RunLock, new_run_id
from farm.records import Done, Failed, ItemStatus, LedgerEntry, Part
from tests.farm.here_engine import HereEngine
from tests.farm.test_shards import World, fill
from tests.seeded import save_srvgg
from tests.stores import Store, opened, output, raised

_UPLOAD = """
from farm import storage
root = storage.OutputRoot(url={root!r}, attempt={attempt!r})
root.publish(root.url + "/" + {name!r}, bytes(40 << 20))
"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


def upload_and_die(root: str, attempt: str, nth_part: int, name: str = "film.bin") -> None:
    """A process of its own is killed before it sends that part of an upload."""
    code = _UPLOAD.format(root=root, attempt=attempt, name=name)
    environment = {**os.environ, failpoints.VARIABLE: f"storage.part=kill@{nth_part}"}
    died = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
    assert died.returncode == -signal.SIGKILL


def begin_upload(store: Store, name: str) -> str:
    """Somebody else's upload, left open; its id."""
    assert store.server is not None
    key = storage.join(store.root, name).split("/", 3)[3]
    return str(store.server.client().create_multipart_upload(Bucket=store.server.bucket, Key=key)["UploadId"])


def open_ids(store: Store) -> set[str]:
    assert store.server is not None
    prefix = store.root.split("/", 3)[3]
    found = store.server.client().list_multipart_uploads(Bucket=store.server.bucket, Prefix=prefix)
    return {str(one["UploadId"]) for one in found.get("Uploads", [])}


def files(root: str) -> list[str]:
    """All but the lock, which says that it is free."""
    found = [one.url.removeprefix(f"{root}/") for one in storage.list_files(root)]
    return [name for name in found if not name.startswith(".farm/lock/")]


# --- uploads ---------------------------------------------------------------------------------------------------------


@pytest.mark.s3
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_an_upload_killed_between_parts_is_aborted_and_foreign_ones_are_not(store: Store, nth: int) -> None:
    output(store.root).publish(storage.join(store.root, ".farm/ledger/keep"), b"")
    foreign = {begin_upload(store, "film.bin"), begin_upload(store, "film.bin.other"), begin_upload(store, "a.bin")}
    time.sleep(1.1)  # a store's times are whole seconds
    upload_and_die(store.root, "dead", nth)
    assert not storage.exists(storage.join(store.root, "film.bin")), "nothing of it can be seen"
    assert len(open_ids(store)) == 4
    found = collect(store.root)
    assert (found.attempts, found.uploads) == (1, 1)
    assert open_ids(store) == foreign
    assert files(store.root) == [".farm/ledger/keep"]
    assert collect(store.root) == Collected(attempts=0, uploads=0, pieces=0, bytes=0, warning=found.warning)


@pytest.mark.s3
def test_the_attempt_that_is_alive_keeps_its_uploads(store: Store) -> None:
    upload_and_die(store.root, "alive", 2, "other.bin")
    (record,), alive = files(store.root), open_ids(store)
    upload_and_die(store.root, "dead", 2)
    assert storage.clear_staging(store.root, keep="alive") == storage.Cleared(attempts=1, uploads=1)
    assert open_ids(store) == alive
    assert files(store.root) == [record]


@pytest.mark.s3
def test_a_probe_that_was_killed_is_removed(store: Store) -> None:
    output(store.root).publish(storage.join(store.root, ".farm/tmp/dead/probe-0a1b"), b"what can this store do?")
    assert storage.clear_staging(store.root, keep="") == storage.Cleared(attempts=1, uploads=0)
    assert files(store.root) == []


@pytest.mark.s3
def test_an_upload_that_could_not_be_aborted_is_aborted_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from farm.storage.objects import upload

    def fail(_: object) -> None:
        raise OSError("the network is gone")

    with monkeypatch.context() as patched:
        patched.setattr(upload.Multipart, "abort", fail)
        with pytest.raises(OSError, match="gone"), output(store.root).open_stream(f"{store.root}/a.bin") as sink:
            sink.write(bytes(40 << 20))
    assert len(open_ids(store)) == 1
    assert storage.clear_staging(store.root, keep="") == storage.Cleared(attempts=1, uploads=1)
    assert open_ids(store) == set()


# --- pieces ----------------------------------------------------------------------------------------------------------


def band(item: str, row: int = 0) -> LedgerEntry:
    key = f"{item}/band/0"
    return LedgerEntry(key=key, shard=0, row=row, source="s", output=f"p/{item}", status=ItemStatus.DONE, extent=(0, 8))


def ended(item: str, status: ItemStatus, error: str = "") -> LedgerEntry:
    return LedgerEntry(
        key=item, shard=0, row=0, source="s", output=f"o/{item}", status=status, error=error, finished_unix=1
    )


@pytest.fixture(params=["file", pytest.param("s3-path", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found.root


def test_only_pieces_that_no_run_will_join_are_removed(root: str) -> None:
    with ledger.Ledger(root, "run-1") as book:
        for item in ("open", "tried", "finished", "failed"):
            book.append(band(item))
        book.append(ended("tried", ItemStatus.FAILED, "storage_error"))  # the same command tries it again
        book.append(ended("finished", ItemStatus.DONE))
        book.append(ended("failed", ItemStatus.FAILED, "corrupt"))
    for item in ("open", "tried", "finished", "failed", "unknown"):
        output(root).publish(storage.join(root, ".farm/parts", item, "00000.piece"), bytes(100))
    output(root).publish(storage.join(root, "picture.png"), b"an output")
    found = collect(root)
    assert (found.pieces, found.bytes) == (3, 300)
    kept = [name for name in files(root) if name.startswith(".farm/parts/")]
    assert kept == [".farm/parts/open/00000.piece", ".farm/parts/tried/00000.piece"]
    assert storage.read_bytes(storage.join(root, "picture.png")) == b"an output"


DEAD = "20260131T235959Z-1a2b3c4d"


def by_gc(root: str, _: Path) -> None:
    found = collect(root)
    assert (found.attempts, found.uploads) == (1, 1)
    assert "there is no lock" in str(found.warning)


def by_a_run(root: str, folder: Path) -> None:
    """Without Ray, and with its outputs on a disk: what it clears is what counts here."""
    world = World(folder, save_srvgg(folder / "tiny.pth", features=8, convs=2), "csv")
    fill(world, 2)
    make = world.work

    def work(part: Part) -> Done | Failed:
        return make(replace(part, item=replace(part.item, output_url=str(folder / "made"))))

    world.work = work
    assert world.run(output=OutputConfig(out=root, stamp=False)).exit_code == 0


def kept(root: str) -> list[str]:
    return [name for name in files(root) if name.startswith((".farm/tmp", ".farm/parts"))]


@pytest.mark.parametrize("cleared", [by_gc, by_a_run])
def test_where_nothing_locks_what_may_be_of_a_live_run_is_left_for_a_day(
    cleared: Callable[[str, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its uploads are open, and its ledger may not say yet that a piece is made."""
    monkeypatch.setattr(engine, "Engine", HereEngine)
    with opened("rclone", tmp_path, monkeypatch) as weak:
        live, root = new_run_id(), weak.root
        upload_and_die(root, live, 2, "live.bin")
        upload_and_die(root, DEAD, 2, "dead.bin")
        piece = ".farm/parts/unknown/00000.piece"
        output(root).publish(storage.join(root, piece), bytes(100))
        cleared(root, tmp_path)
        left = kept(root)
        assert left[0] == piece
        assert [name.startswith(f".farm/tmp/{live}/") for name in left[1:]] == [True]
        monkeypatch.setattr(lock, "_YOUNG_S", -60.0)  # as if the day were over
        cleared(root, tmp_path)
        assert kept(root) == []


def test_staged_files_of_dead_attempts_are_removed(tmp_path: Path) -> None:
    staged = tmp_path / ".farm/tmp/dead/half"
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"x")
    assert collect(str(tmp_path)) == Collected(attempts=1, uploads=0, pieces=0, bytes=0, warning=None)
    assert not staged.parent.exists()


def test_strays_of_ours_are_removed_by_their_names_and_no_others(root: str) -> None:
    ours = [f".farm/probe-{'a1' * 16}"]
    others = ["a/.farm-notes.tmp", f".farm/probe-{'a1' * 15}", f"probe-{'a1' * 16}", "a/b.png"]
    if not storage.is_remote(root):
        ours.append(f"a/.farm-{'0f' * 16}.tmp")
        others.append(f"a/.farm-run-1-{'0f' * 16}.tmp")  # of a manifest that somebody is writing
    for name in (*ours, *others):
        storage.publish(storage.join(root, name), b"x", attempt="x")
    assert collect(root).strays == len(ours)
    assert {name for name in files(root) if name != ".farm/lock"} == set(others)


def test_a_root_where_a_run_works_is_left_alone(tmp_path: Path) -> None:
    output(str(tmp_path), "alive").open_write(str(tmp_path / "a.bin"))
    with RunLock(str(tmp_path)):
        raised(BusyError, lambda: collect(str(tmp_path)))
    assert (tmp_path / ".farm/tmp/alive").is_dir()


def test_what_is_no_output_root_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    assert "no output root" in str(raised(UsageError, lambda: collect(str(tmp_path))))
    assert "no output root" in str(raised(UsageError, lambda: collect(str(tmp_path / "none"))))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.s3
def test_a_prefix_that_is_no_output_root_is_said(store: Store) -> None:
    raised(UsageError, lambda: collect(store.root))
    raised(UsageError, lambda: collect("s3://farm-tests-no-such-bucket/out"))


def test_the_command_says_what_it_did(tmp_path: Path) -> None:
    (tmp_path / ".farm/tmp/dead").mkdir(parents=True)
    (tmp_path / ".farm/tmp/dead/half").touch()
    ran = CliRunner().invoke(main, ["gc", str(tmp_path)])
    assert ran.exit_code == 0, ran.output
    assert ran.output == "1 dead attempts cleared, 0 open uploads aborted, 0 pieces removed (0.0 MB)\n"
    ran = CliRunner().invoke(main, ["gc", str(tmp_path / "none")])
    assert ran.exit_code == 2
