"""One run at a time, and a dead one in nobody's way."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from farm.errors import BusyError, CredentialsError, DiskError
from farm.lock import RunLock, Standing, holds, new_run_id, standing

HOLD = """
import sys, time
from farm.errors import BusyError
from farm.lock import RunLock
lock = RunLock(sys.argv[1])
began = time.monotonic()
try:
    lock.__enter__()
except BusyError as error:
    print("busy", time.monotonic() - began, error, flush=True)
    sys.exit(error.exit_code)
print("held", lock.run, flush=True)
sys.stdin.read()
"""

ASK = """
import select, sys
from farm.lock import holds
print("asking", flush=True)
while not select.select([sys.stdin], [], [], 0)[0]:
    holds(sys.argv[1], sys.argv[2])
"""


def start(root: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_the_second_run_is_told_who_works_there(tmp_path: Path) -> None:
    with RunLock(str(tmp_path)) as first:
        began = time.monotonic()
        with pytest.raises(BusyError) as caught, RunLock(str(tmp_path)):
            pass
        assert time.monotonic() - began < 2
    assert first.run in str(caught.value)
    assert f"process {os.getpid()}" in str(caught.value)
    assert caught.value.exit_code == 75
    with RunLock(str(tmp_path)) as third:
        assert third.run != first.run


def test_the_holders_death_frees_the_lock(tmp_path: Path) -> None:
    process = start(tmp_path)
    run = line(process).split()[1]
    assert holds(str(tmp_path), run)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert not holds(str(tmp_path), run)
    with RunLock(str(tmp_path)) as lock:
        assert holds(str(tmp_path), lock.run)
        assert not holds(str(tmp_path), run)
    assert not holds(str(tmp_path), lock.run)


def test_a_child_of_the_holder_does_not_keep_the_lock(tmp_path: Path) -> None:
    with RunLock(str(tmp_path)):
        child = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    with RunLock(str(tmp_path)):
        pass
    child.communicate()


def test_asking_whether_a_run_is_alive_never_keeps_another_from_starting(tmp_path: Path) -> None:
    """A dead holder's workers ask without pause; new runs start all the same."""
    process = start(tmp_path)
    dead = line(process).split()[1]
    process.kill()
    process.communicate()
    text = (tmp_path / ".farm/lock").read_text()
    ask = [sys.executable, "-c", ASK, str(tmp_path), dead]
    askers = [subprocess.Popen(ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    try:
        assert [line(one) for one in askers] == ["asking", "asking"]
        for _ in range(20):
            (tmp_path / ".farm/lock").write_text(text)
            with RunLock(str(tmp_path)):
                pass
        for one in askers:
            one.communicate()
    finally:
        for one in askers:
            one.kill()
            one.wait()
    assert [one.returncode for one in askers] == [0, 0]


def test_nothing_heavy_is_loaded_before_the_lock_is_held(tmp_path: Path) -> None:
    code = (
        "import sys; from farm.lock import RunLock; RunLock(sys.argv[1]).__enter__()\n"
        "print([m for m in ('ray', 'torch', 'numpy', 's3fs', 'pyarrow', 'pyvips') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code, str(tmp_path)], text=True).strip() == "[]"


COMMAND = """
import sys
from farm.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    print(ended.code, [name for name in ("ray", "torch", "numpy", "pyarrow", "pyvips", "av") if name in sys.modules])
"""


def test_a_command_that_finds_another_at_work_has_loaded_nothing_heavy(tmp_path: Path) -> None:
    with RunLock(str(tmp_path)):
        command = [sys.executable, "-c", COMMAND, "submit", str(tmp_path / "a.png"), "--out", str(tmp_path)]
        assert subprocess.check_output(command, text=True, stderr=subprocess.DEVNULL).strip() == "75 []"


def test_a_root_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DiskError, match="file"), RunLock(str(tmp_path / "file")):
        pass
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        with pytest.raises(CredentialsError), RunLock(str(tmp_path / "out")):
            pass


@pytest.mark.parametrize("refusal", [errno.ENOSYS, errno.EOPNOTSUPP])
def test_on_a_disk_without_flock_nothing_locks_and_every_run_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: int
) -> None:
    (tmp_path / ".farm").mkdir()
    (tmp_path / ".farm/lock").write_text('{"run": "dead", "pid": 1, "host": "elsewhere"}')  # it had flock once

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(refusal, os.strerror(refusal))

    monkeypatch.setattr(fcntl, "flock", refuse)
    root = str(tmp_path)
    with RunLock(root) as first, RunLock(root) as second:
        assert "no locks (flock)" in str(first.warning)
        assert second.warning == first.warning
        assert holds(root, first.run), "its workers publish"
        assert holds(root, second.run)
        assert standing(root) == Standing(holder=None, is_told=False)
    monkeypatch.undo()
    assert standing(root) == Standing(holder=None, is_told=True)
    with RunLock(root) as third:
        assert third.warning is None
        assert not holds(root, first.run)


def test_a_lock_that_fails_otherwise_is_an_error_of_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int, operation: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(DiskError), RunLock(str(tmp_path)):
        pass


def test_run_ids_sort_by_time_and_are_unique() -> None:
    runs = {new_run_id() for _ in range(1000)}
    assert len(runs) == 1000
    assert all(len(run) == 25 for run in runs)


def test_where_this_host_has_no_locks_just_now_the_run_ends_and_the_holder_keeps_his_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As over NFS while its lock service is down here: another host may hold one."""
    root = str(tmp_path)
    with RunLock(root) as held:
        flock = fcntl.flock

        def refuse(descriptor: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(fcntl, "flock", refuse)
        with pytest.raises(DiskError, match="No locks available"), RunLock(root):
            pass
        monkeypatch.setattr(fcntl, "flock", flock)
        assert holds(root, held.run)
