"""Every step of publishing and recording may fail: nothing partial is ever seen, and the same again finishes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import failpoints, storage
from farm.errors import FarmError, UsageError
from farm.ledger import Ledger, compact, read_ledger, write_results
from farm.ledger.codec import decode, encode
from farm.records import ItemStatus, LedgerEntry

ENTRY = LedgerEntry(key="k", shard=0, row=0, source="/in/a.png", output="a", status=ItemStatus.DONE, finished_unix=1.0)
CONTENT = {"small.bin": b"s" * 1000, "large.bin": b"l" * 3_000_000}
CYCLE = "import sys; from tests.farm.test_failpoints import work; work(sys.argv[1], sys.argv[2])"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    failpoints.reset()
    yield
    failpoints.reset()


def work(root: str, run: str) -> None:
    """What a run does with its disk: publish, record, compact, report."""
    storage.clear_staging(root, keep=run)
    output = storage.OutputRoot(url=root, attempt=run)
    done = read_ledger(root)
    with Ledger(root, run) as book:
        for name, data in CONTENT.items():
            if name in done:
                continue
            with output.open_write(storage.join(root, name)) as writer:
                writer.write(data)
                writer.commit()
            book.append(
                decode(encode(ENTRY).replace(b'"k"', f'"{name}"'.encode()).replace(b'"a"', f'"{name}"'.encode()))
            )
    compact(root, run)
    write_results(root)


def assert_nothing_partial(root: Path) -> None:
    for name, data in CONTENT.items():
        if (root / name).exists():
            assert (root / name).read_bytes() == data
    assert all((root / key).exists() for key in read_ledger(str(root)))


def assert_finished(root: Path) -> None:
    assert_nothing_partial(root)
    assert sorted(read_ledger(str(root))) == sorted(CONTENT)
    left = sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())
    assert left == [".farm/ledger/shard-00000.parquet", "large.bin", "results.parquet", "small.bin"]


def test_an_error_at_any_single_step_is_survived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rule = "*=EIO@1000000"  # never reached: it counts the steps
    monkeypatch.setenv(failpoints.VARIABLE, rule)
    work(str(tmp_path / "undisturbed"), "first")
    steps = next(failpoints._rules(rule)[0].hits)
    assert steps > 30
    for step in range(1, steps):
        root = tmp_path / str(step)
        monkeypatch.setenv(failpoints.VARIABLE, f"*={'EIO' if step % 2 else 'ENOSPC'}@{step}")
        with contextlib.suppress(FarmError):  # or it went on, as it may where it only looked
            work(str(root), "first")
        monkeypatch.delenv(failpoints.VARIABLE)
        assert_nothing_partial(root)
        work(str(root), "second")
        assert_finished(root)


def test_a_kill_at_any_step_is_survived(tmp_path: Path) -> None:
    """Every ninth step, each in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = 0
    for step in range(3, 60, 9):
        root = tmp_path / str(step)
        first = subprocess.run(
            [sys.executable, "-c", CYCLE, str(root), "first"],
            env={**environment, failpoints.VARIABLE: f"*=kill@{step}"},
            check=False,
        )
        if first.returncode == 0:
            break
        assert first.returncode == -signal.SIGKILL
        killed += 1
        assert_nothing_partial(root)
        work(str(root), "second")
        assert_finished(root)
    assert killed >= 3


def test_hits_are_counted_and_names_matched(monkeypatch: pytest.MonkeyPatch) -> None:
    failpoints.hit("storage.anything")
    monkeypatch.setenv(failpoints.VARIABLE, "storage.*=ENOSPC@2; other=EIO")
    failpoints.hit("storage.a")
    with pytest.raises(OSError, match="No space") as caught:
        failpoints.hit("storage.b", "/path")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/path")
    failpoints.hit("storage.c")


@pytest.mark.parametrize("text", ["nonsense", "a=explode", "a=EIO@x", "=EIO"])
def test_a_rule_that_cannot_be_read_is_said(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, text)
    with pytest.raises(UsageError, match="PATTERN=ACTION"):
        failpoints.hit("storage.a")
