"""One contract over {disk, real S3 by path and by host name, weaker server}: absent, or complete and right."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import failpoints, storage
from farm.errors import ErrorKind, FarmError
from tests.stores import KINDS, Store, kind_of, opened, output, raised

NAMES = (
    "plain.png",
    "with space.png",
    "per%20cent%.png",
    "hash#.png",
    "what?.png",
    "-dash.png",
    "ä-ümlaut.png",
    "new\nline.png",
)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """An empty root on a disk, and on every kind of server."""
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def root(store: Store) -> str:
    return store.root


@pytest.fixture(autouse=True)
def _fresh_failpoints() -> Iterator[None]:
    failpoints.disarm()
    yield
    failpoints.disarm()


@pytest.mark.parametrize("data", [b"", b"x", os.urandom(100_000)], ids=["empty", "one", "some"])
def test_what_is_published_is_read_back(root: str, data: bytes) -> None:
    url = storage.join(root, "a/b/c.bin")
    assert not storage.exists(url)
    done = output(root).publish(url, data)
    assert done == storage.Published(url=url, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    assert storage.read_bytes(url) == data
    assert storage.stat(url).bytes == len(data)
    assert storage.sha256_of(url) == done.sha256


def test_any_bytes_like_object_can_be_published(root: str) -> None:
    url = storage.join(root, "a.bin")
    for data in (bytearray(b"abc"), memoryview(b"abc"), memoryview(bytearray(b"xxabcxx"))[2:5]):
        output(root).publish(url, data)
        assert storage.read_bytes(url) == b"abc"


def test_names_are_taken_as_they_are(root: str) -> None:
    for name in NAMES:
        output(root).publish(storage.join(root, "in", name), name.encode())
    found = [one.url for one in storage.list_files(storage.join(root, "in"))]
    assert found == sorted(storage.join(root, "in", name) for name in NAMES)
    assert [storage.read_bytes(url).decode() for url in found] == [storage.name(url) for url in found]


def test_publishing_replaces_in_one_step(root: str) -> None:
    url = storage.join(root, "a.bin")
    output(root).publish(url, b"old")
    before = storage.stat(url).version
    with output(root).open_write(url) as writer:
        writer.write(b"new!")
        assert storage.read_bytes(url) == b"old"
        writer.commit()
    assert storage.read_bytes(url) == b"new!"
    assert storage.stat(url).version != before


def test_a_writer_can_seek_and_read_what_it_wrote(root: str) -> None:
    url = storage.join(root, "a.bin")
    with output(root).open_write(url) as writer:
        assert (writer.readable(), writer.writable(), writer.seekable()) == (True, True, True)
        writer.write(b"....tail")
        writer.seek(0)
        writer.write(b"head")
        writer.seek(2)
        assert writer.read(4) == b"adta"
        assert writer.tell() == 6
        done = writer.commit()
    assert storage.read_bytes(url) == b"headtail"
    assert done.sha256 == hashlib.sha256(b"headtail").hexdigest()
    assert done.bytes == 8


@pytest.mark.parametrize("data", [b"", b"x" * 100_000], ids=["empty", "some"])
def test_a_stream_becomes_an_object_when_it_is_committed(root: str, data: bytes) -> None:
    url = storage.join(root, "a.bin")
    with output(root).open_stream(url) as sink:
        for start in range(0, len(data), 999):
            sink.write(data[start : start + 999])
        assert not storage.exists(url)
        done = sink.commit()
    assert done == storage.Published(url=url, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    assert storage.read_bytes(url) == data
    with output(root).open_stream(url) as sink:
        sink.write(b"never committed")
    assert storage.read_bytes(url) == data


def test_leaving_a_writer_without_commit_leaves_nothing(root: str) -> None:
    url = storage.join(root, "a.bin")

    def fail() -> None:
        with output(root).open_write(url) as writer:
            writer.write(b"partial")
            raise KeyError("in the middle")

    with pytest.raises(KeyError):
        fail()
    output(root).open_write(url).close()
    output(root).open_write(url).discard()
    assert [one.url for one in storage.list_files(storage.parent(root)) if one.url.startswith(root)] == []


def test_what_is_missing_is_a_missing_row(root: str) -> None:
    url = storage.join(root, "none.png")
    output(root).publish(storage.join(root, "other.png"), b"x")
    for call in (storage.stat, storage.read_bytes, storage.open_read):
        assert kind_of(lambda call=call: call(url)) is ErrorKind.MISSING
    storage.delete(url)
    storage.delete_tree(storage.join(root, "nowhere"))


def test_more_bytes_than_allowed_are_refused(root: str) -> None:
    url = storage.join(root, "a.bin")
    output(root).publish(url, bytes(1000))
    assert len(storage.read_bytes(url, 1000)) == 1000
    assert kind_of(lambda: storage.read_bytes(url, 999)) is ErrorKind.TOO_LARGE


def test_a_read_file_seeks(root: str) -> None:
    url = storage.join(root, "a.bin")
    data = random.Random(1).randbytes(5 << 20)  # more than one read buffer
    output(root).publish(url, data)
    with storage.open_read(url) as file:
        assert file.seekable()
        assert file.read(10) == data[:10]
        assert file.seek(-7, os.SEEK_END) == len(data) - 7
        assert file.read() == data[-7:]
        assert file.read(1) == b""
        file.seek(4 << 20)
        assert file.read(1 << 20) == data[4 << 20 :]
        file.seek(0)
        assert file.read() == data


def test_trees_are_listed_and_deleted(root: str) -> None:
    for name in ("b/2.bin", "b/1.bin", "a/x/deep.bin", "c.bin", "bc.bin"):
        output(root).publish(storage.join(root, "tree", name), name.encode())
    tree = storage.join(root, "tree")
    assert [one.url.removeprefix(f"{tree}/") for one in storage.list_files(tree)] == [
        "a/x/deep.bin",
        "b/1.bin",
        "b/2.bin",
        "bc.bin",
        "c.bin",
    ]
    assert [one.bytes for one in storage.list_files(storage.join(tree, "b"))] == [7, 7]
    storage.delete_tree(storage.join(tree, "b"))  # and not bc.bin
    storage.delete(storage.join(tree, "c.bin"))
    assert [storage.name(one.url) for one in storage.list_files(tree)] == ["deep.bin", "bc.bin"]


@pytest.mark.parametrize("action", ["EIO", "ENOSPC"])
@pytest.mark.parametrize("point", ["storage.open_write", "storage.fsync.before", "storage.publish.before"])
def test_a_failed_step_publishes_nothing_and_says_so(root: str, point: str, action: str) -> None:
    if storage.is_remote(root) and point == "storage.fsync.before":
        point = "storage.publish.before"  # a store has no fsync of ours
    url = storage.join(root, "a.bin")
    output(root).publish(url, b"old")
    failpoints.arm(f"{point}={action}")

    def write() -> None:
        with output(root).open_write(url) as writer:
            writer.write(b"12345")
            writer.commit()

    error = raised(FarmError, write)
    assert url in str(error) or point == "storage.open_write"
    failpoints.disarm()
    assert storage.read_bytes(url) == b"old"
    assert len(list(storage.list_files(root))) == 1


def test_an_error_while_reading_is_one_rows_error(root: str) -> None:
    url = storage.join(root, "a.bin")
    output(root).publish(url, b"old")
    failpoints.arm("storage.read=EIO@1")
    assert kind_of(lambda: storage.read_bytes(url)) is ErrorKind.STORAGE_ERROR
    assert storage.read_bytes(url) == b"old"


def test_a_killed_writer_leaves_the_old_or_the_new(root: str) -> None:
    url = storage.join(root, "a.bin")
    for point, expected in (("before", b"old"), ("after", b"new")):
        output(root).publish(url, b"old")
        publish = f"storage.OutputRoot(url={root!r}, attempt='dead').publish({url!r}, b'new')"
        code = f"from farm import storage; {publish}"
        environment = {**os.environ, failpoints.VARIABLE: f"storage.publish.{point}=kill"}
        died = subprocess.run([sys.executable, "-c", code], env=environment, check=False)
        assert died.returncode == -signal.SIGKILL
        assert storage.read_bytes(url) == expected
    storage.clear_staging(root, keep="attempt-1")
    assert [storage.name(one.url) for one in storage.list_files(root)] == ["a.bin"]


def test_threads_share_a_store(root: str) -> None:
    def work(number: int) -> None:
        output(root).publish(storage.join(root, f"{number}.bin"), bytes([number]) * 1000)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [storage.read_bytes(storage.join(root, f"{n}.bin"))[0] for n in range(8)] == list(range(8))
