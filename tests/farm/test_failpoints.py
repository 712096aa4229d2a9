"""Every step of publishing and recording may fail: nothing partial is ever seen, and the same again finishes."""

from __future__ import annotations

import contextlib
import errno
import inspect
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from farm import console, failpoints, outfit, storage
from farm.errors import DiskError, ErrorKind, FarmError, ItemError, UsageError
from farm.ledger import Ledger, compact, read_ledger, write_results
from farm.ledger.codec import decode, encode
from farm.records import ItemStatus, LedgerEntry
from farm.storage import faults

ROOT = Path(__file__).resolve().parents[2]
ENTRY = LedgerEntry(key="k", shard=0, row=0, source="/in/a.png", output="a", status=ItemStatus.DONE, finished_unix=1.0)
CONTENT = {"small.bin": b"s" * 1000, "large.bin": b"l" * 3_000_000}
CYCLE = "import sys; from tests.farm.test_failpoints import work; work(sys.argv[1], sys.argv[2])"


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    failpoints.disarm()
    yield
    failpoints.disarm()


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


def raised(kind: type[ItemError], call: Callable[[], object]) -> ItemError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


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


def test_an_error_at_any_single_step_is_survived(tmp_path: Path) -> None:
    failpoints.arm("*=EIO@1000000")  # never reached: it counts the steps
    work(str(tmp_path / "undisturbed"), "first")
    (steps,) = failpoints.counted()
    assert steps > 30
    for step in range(1, steps + 1):
        root = tmp_path / str(step)
        failpoints.arm(f"*={'EIO' if step % 2 else 'ENOSPC'}@{step}")
        with contextlib.suppress(FarmError):  # or it went on, as it may where it only looked
            work(str(root), "first")
        failpoints.disarm()
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


def test_hits_are_counted_and_names_matched() -> None:
    failpoints.hit("storage.stat")
    failpoints.arm("storage.*=ENOSPC@2; decode~*.png=EIO")
    failpoints.hit("storage.stat")
    with pytest.raises(OSError, match="No space") as caught:
        failpoints.hit("storage.list", "/path")
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/path")
    failpoints.hit("storage.read")
    failpoints.hit("decode", "/in/a.jpg")
    with pytest.raises(OSError, match=r"/in/a\.png"):
        failpoints.hit("decode", "/in/a.png")
    assert failpoints.counted() == (3, 1)


def test_a_rule_acts_once_whatever_the_process(tmp_path: Path) -> None:
    """A second process, which counts anew, finds the file of the first."""
    rule = f"infer=kill@2,once={tmp_path / 'acted'}"
    code = "from farm import failpoints\nfor _ in range(4): failpoints.hit('infer')"
    environment = {**os.environ, failpoints.VARIABLE: rule}
    ends = [subprocess.run([sys.executable, "-c", code], env=environment, check=False).returncode for _ in range(2)]
    assert ends == [-signal.SIGKILL, 0]


def test_a_busy_store_is_what_a_store_says_and_a_disk_has_an_error_instead() -> None:
    failpoints.arm("storage.read=503")
    assert raised(ItemError, lambda: storage.read_bytes(__file__)).kind is ErrorKind.STORAGE_ERROR
    with pytest.raises(failpoints.BusyStoreError) as caught:
        failpoints.hit("storage.read", "s3://bucket/key")
    said = faults.store_fault("s3://bucket/key", caught.value, endpoint="store")
    assert str(said).startswith("storage_error: s3://bucket/key: the store failed (SlowDown); ")


def test_a_process_that_started_without_rules_calls_a_function_that_does_nothing() -> None:
    late = "import os; os.environ[f.VARIABLE] = '*=kill'"
    code = f"from farm import failpoints as f; {late}; f.hit('infer'); print(f.hit)"
    environment = {name: value for name, value in os.environ.items() if name != failpoints.VARIABLE}
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert "function _nothing" in ran.stdout
    assert not inspect.getsource(failpoints._nothing).split('"""')[2].strip()


@pytest.mark.parametrize("text", ["nonsense", "infer=explode", "infer=EIO@x", "=EIO", "infer=kill,once="])
def test_a_rule_that_cannot_be_read_is_said(text: str) -> None:
    with pytest.raises(UsageError, match=r"is not PATTERN"):
        failpoints.arm(text)


def test_a_rule_that_no_point_matches_is_said() -> None:
    with pytest.raises(UsageError, match=r"'storage\.nothing' matches no point; use some of claim\.before, "):
        failpoints.arm("storage.nothing=EIO")


def test_every_point_that_is_hit_is_in_the_table_and_every_point_of_the_table_is_hit() -> None:
    hits = re.compile(r'failpoints\.hit\(\s*"([^"]+)"')
    found = {name for path in (ROOT / "farm").rglob("*.py") for name in hits.findall(path.read_text("utf-8"))}
    assert found == set(failpoints.POINTS)


def test_what_the_machine_refuses_where_nobody_expects_it_is_one_sentence(tmp_path: Path) -> None:
    """And what is a mistake of ours keeps its traceback."""

    @console.explained
    def fail(number: int) -> None:
        raise OSError(number, os.strerror(number), "/scratch/file")

    @click.command()
    @click.argument("number", type=int)
    def command(number: int) -> None:
        fail(number)

    refused = CliRunner().invoke(command, [str(errno.EIO)])
    assert refused.exit_code == DiskError.exit_code
    assert refused.stderr == (
        "farm: /scratch/file: Input/output error; look after its disk and its limits, then run the same command again\n"
    )
    assert isinstance(CliRunner().invoke(command, [str(errno.EBADF)]).exception, OSError)


def test_rules_that_make_no_sense_are_a_usage_error_of_the_command(tmp_path: Path) -> None:
    environment = {**os.environ, failpoints.VARIABLE: "no.such.point=EIO"}
    command = [sys.executable, "-m", "farm", "submit", str(tmp_path), "--dry-run"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == UsageError.exit_code, ran.stderr
    assert ran.stderr.startswith(f"farm: {failpoints.VARIABLE}: 'no.such.point' matches no point; use some of ")


@pytest.mark.parametrize("text", ["soon", "0", "-1", "nan", "inf"])
def test_a_limit_of_a_step_that_is_none_is_a_usage_error(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_STEP_LIMIT_S", text)
    with pytest.raises(UsageError, match=f"FARM_STEP_LIMIT_S: '{text}' is no number of seconds above 0"):
        outfit._longest_step_s()
    monkeypatch.setenv("FARM_STEP_LIMIT_S", "1.5")
    assert outfit._longest_step_s() == 1.5
