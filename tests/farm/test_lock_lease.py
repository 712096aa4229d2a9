"""The lock of a store: one of many wins, the dead are followed, who cannot renew stops, the old never harm the new."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest

from farm import clock, engine, storage
from farm.config import OutputConfig
from farm.errors import BusyError, LostLockError, UsageError
from farm.ledger import Ledger, ShardFiles, Table, compact, read_ledger
from farm.ledger.read import read_table
from farm.lock import RunLock, holds
from farm.lock import lease as leases
from farm.lock.lease import LeaseLock, epochs, newest
from farm.records import Done, Failed, ItemStatus, LedgerEntry, Part
from tests.farm.here_engine import HereEngine
from tests.farm.test_shards import World, fill
from tests.s3_server import require_s3
from tests.seeded import save_srvgg
from tests.stores import Store, behind_proxy, opened
from tests.waiting import wait_for

LEASE_S = 2.0
pytestmark = pytest.mark.s3


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv(leases.VARIABLE, f"{LEASE_S}")
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def calm(store: Store, monkeypatch: pytest.MonkeyPatch) -> Store:
    """For who does not wait for a lease to end: a machine that is busy loses none."""
    monkeypatch.setenv(leases.VARIABLE, "30")
    return store


def can_be_had(root: str) -> bool:
    try:
        with RunLock(root):
            return True
    except BusyError:
        return False


def test_one_after_the_other_takes_it_at_once_and_no_number_is_used_twice(calm: Store) -> None:
    numbers: list[int] = []
    for _ in range(3):
        with RunLock(calm.root) as held:
            held.check()
            assert held.warning is None
            found = newest(calm.root, 10)
            assert found is not None
            assert found.holder is not None
            assert found.holder.run == held.run
            numbers.append(found.number)
    assert numbers == [1, 2, 3]
    last = newest(calm.root, 10)
    assert last is not None
    assert (last.number, last.is_released) == (3, True)
    assert not holds(calm.root, held.run)


def test_an_answer_that_was_lost_is_no_other_run(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_proxy(store, monkeypatch) as proxy:
        storage.capabilities(store.root)
        proxy.inject(what="put", reset="answer")
        with RunLock(store.root) as held:
            assert holds(store.root, held.run)


def test_a_holder_that_cannot_renew_counts_itself_out_before_anybody_else_may(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"{store.root}/.farm/ledger"
    with behind_proxy(store, monkeypatch) as proxy, RunLock(store.root) as held:
        book = Ledger(store.root, held.run, held.check)
        began = time.monotonic()
        proxy.inject(times=10**6, reset="request")
        wait_for(lambda: _is_lost(held), "the holder notices", 20)
        assert time.monotonic() - began < LEASE_S, "it ends before its lease does"
        with pytest.raises(LostLockError, match="could not be renewed") as caught:
            held.check()
        assert caught.value.exit_code == 75
        proxy.clear()
        with pytest.raises(LostLockError):
            book.touch(0)
        assert list(storage.list_files(url)) == [], "nothing more is written to the ledger"
        # It does not begin again, although the store answers.
        wait_for(lambda: can_be_had(store.root), "the lock is free", 20)
        with pytest.raises(LostLockError):
            held.check()


def test_a_run_that_loses_its_lock_ends_and_writes_no_more(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without Ray. Its ledger entries, which wait for their segment, are not written any more."""
    monkeypatch.setattr(engine, "Engine", HereEngine)
    model = save_srvgg(tmp_path / "tiny.pth", features=8, convs=2)
    with behind_proxy(store, monkeypatch) as proxy:
        world = World(tmp_path, model, "csv")
        fill(world, 6)
        to_store = {"output": OutputConfig(out=store.root, stamp=False)}
        make = world.work

        def work(part: Part) -> Done | Failed:
            if len(world.worked) == 3:
                proxy.inject(times=10**6, reset="request")
                time.sleep(LEASE_S)
            local = replace(part.item, output_url=str(tmp_path / "made"))
            return make(replace(part, item=local))

        world.work = work
        with pytest.raises(LostLockError):
            world.run(**to_store)
        assert len(world.worked) == 4, "no more work is begun"
        notes = [one.path for one in proxy.seen if one.method == "PUT" and "/.farm/runs/" in one.path]
        assert len(notes) == 1, "that it began, and not how it ended"
        proxy.clear()
        assert [one.url for one in storage.list_files(f"{store.root}/.farm/ledger/shard-00000")] == []
        wait_for(lambda: can_be_had(store.root), "the lock is free", 20)


def test_a_holder_that_is_frozen_while_it_compacts_overwrites_nothing_of_its_successors(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a virtual machine that stands still, with its clock, for longer than its lease, at the end of a run."""
    read, frozen = read_table, list[str]()

    def freeze(files: ShardFiles) -> Table:
        table = read(files)
        if not frozen:
            frozen.append("once")
            assert isinstance(held._held, LeaseLock)
            held._held._ending.set()  # nothing of it runs, nor what renews its lease
            began_s = clock.now_s()
            wait_for(lambda: can_be_had(store.root), "the lock is free", 20)
            with RunLock(store.root) as new:
                _note(store.root, new, 1)
                compact(store.root, new.run, new.confirm)
            stood_s = clock.now_s() - began_s
            show = clock.now_s
            monkeypatch.setattr(clock, "now_s", lambda: show() - stood_s)
            held.check()  # as far as it knows
        return table

    monkeypatch.setattr(sys.modules["farm.ledger.compact"], "read_table", freeze)
    with RunLock(store.root) as held:
        _note(store.root, held, 0)
        with pytest.raises(LostLockError, match="has taken over"):
            compact(store.root, held.run, held.confirm)
    assert sorted(read_ledger(store.root)) == ["0", "1"]


def _note(root: str, held: RunLock, row: int) -> None:
    with Ledger(root, held.run, held.check) as book:
        book.append(LedgerEntry(key=str(row), shard=0, row=row, source="s", output=f"o/{row}", status=ItemStatus.DONE))


def test_an_old_holder_sees_the_new_one_and_neither_deletes_nor_overwrites_it(store: Store) -> None:
    """As a machine that was asleep, and for which no time has passed."""
    old = LeaseLock(store.root, "old")
    old.take()
    with RunLock(store.root + "-other"):
        pass  # what the store can do is known: the next one needs no second
    storage.replace(f"{store.root}/.farm/lock/{2:010d}.json", _content("new"), limit_s=10)
    wait_for(lambda: _is_lost(old), "the holder notices", LEASE_S)
    with pytest.raises(LostLockError, match="run new on elsewhere has taken over"):
        old.check()
    old.release()
    old.abandon()
    found = newest(store.root, 10)
    assert found is not None
    assert found.holder is not None
    assert (found.number, found.holder.run, found.is_released) == (2, "new", False)


def test_who_makes_a_number_that_has_come_and_gone_does_not_hold(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was told of a dead holder, and slept while others took over and removed what was before."""
    folder = f"{store.root}/.farm/lock"
    storage.create(f"{folder}/{7:010d}.json", _content("new"), limit_s=10)
    seen = iter([None])  # what it was told before it slept
    asked = leases.newest
    monkeypatch.setattr(leases, "newest", lambda root, limit_s: next(seen, None) or asked(root, limit_s))
    late = LeaseLock(store.root, "late")
    monkeypatch.setattr(leases, "_TRIES", 1)
    with pytest.raises(BusyError):
        late.take()
    assert epochs(store.root, 10) == [7]


def test_a_process_that_ends_in_the_middle_frees_it(store: Store) -> None:
    held = RunLock(store.root)
    held.__enter__()
    held.abandon()
    assert can_be_had(store.root)


def test_a_store_that_hangs_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with behind_proxy(store, monkeypatch) as proxy, RunLock(store.root) as held:
        proxy.inject(times=10**6, stall=True)
        wait_for(lambda: _is_lost(held), "the holder notices", LEASE_S)
        began = time.monotonic()
    assert time.monotonic() - began < 5, "nor at the end"


def test_the_second_of_two_commands_is_told_within_two_seconds(calm: Store, tmp_path: Path) -> None:
    """On the wall, from the start of its process to its end; the median of five: others keep the cores busy here. On a
    slow machine three times what loading click and the store's library takes alone."""
    command = ["-m", "farm", "submit", str(tmp_path / "a.png"), "--model", "x4plus", "--gpus", "0", "--out", calm.root]
    with RunLock(calm.root) as held:

        def taken_s(*words: str, code: int) -> float:
            began_s = time.monotonic()
            ran = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
            assert ran.returncode == code, ran.stderr
            assert code == 0 or held.run in ran.stderr
            return time.monotonic() - began_s

        told, alone = zip(
            *[(taken_s(*command, code=75), taken_s("-c", "import click, s3fs", code=0)) for _ in range(5)], strict=True
        )
        assert median(told) < max(2, 3 * median(alone)), (told, alone)


def test_nothing_heavy_is_loaded_before_a_lease_is_held(store: Store) -> None:
    code = (
        "import sys; from farm.lock import RunLock; lock = RunLock(sys.argv[1]).__enter__()\n"
        "print([m for m in ('ray', 'torch', 'numpy', 'pyarrow', 'pyvips') if m in sys.modules]); lock.__exit__()"
    )
    assert subprocess.check_output([sys.executable, "-c", code, store.root], text=True).strip() == "[]"


def test_on_a_store_that_replaces_what_is_there_nothing_locks_and_every_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with opened("rclone", tmp_path, monkeypatch) as weak, RunLock(weak.root) as first, RunLock(weak.root) as second:
        assert "there is no lock" in str(first.warning)
        assert second.warning == first.warning
        assert holds(weak.root, first.run)
        first.check()
        assert epochs(weak.root, 10) == []


@pytest.mark.parametrize("text", ["1", "a minute", "1e9", "nan"])
def test_a_lease_that_nobody_can_mean_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(leases.VARIABLE, text)
    with pytest.raises(UsageError, match=leases.VARIABLE):
        leases.lease_s()


def test_the_age_of_an_object_is_the_stores_word(store: Store) -> None:
    require_s3()
    url = f"{store.root}/a"
    assert storage.create(url, b"1", limit_s=10)
    assert not storage.create(url, b"2", limit_s=10)
    time.sleep(1.1)
    data, age_s = storage.read_aged(url, limit_s=10)
    assert data == b"1"
    assert 1 <= age_s <= 5


def _content(run: str) -> bytes:
    said = {"run": run, "pid": 1, "host": "elsewhere", "lease_s": 60.0, "released": False}
    return json.dumps(said).encode()


def _is_lost(held: RunLock | LeaseLock) -> bool:
    try:
        held.check()
    except LostLockError:
        return True
    return False
