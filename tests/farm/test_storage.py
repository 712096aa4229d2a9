"""One contract over {file, real S3}: an object is absent or complete and right, whatever happens."""

from __future__ import annotations

import hashlib
import os
import pickle
import random
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm import failpoints, storage
from farm.errors import (
    CredentialsError,
    DiskError,
    ErrorKind,
    FarmError,
    ItemError,
    UnreachableError,
    UsageError,
)
from farm.storage import objects
from farm.storage.faults import store_fault
from tests.s3_server import S3Server, require_s3

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


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.s3)])
def root(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty root on a disk, and on a real S3 server."""
    if request.param == "file":
        return str(tmp_path / "root")
    return _enter(require_s3(), monkeypatch)


@pytest.fixture
def s3_root(monkeypatch: pytest.MonkeyPatch) -> str:
    return _enter(require_s3(), monkeypatch)


def _enter(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server.new_prefix()


@pytest.fixture(autouse=True)
def _fresh_failpoints() -> Iterator[None]:
    failpoints.reset()
    yield
    failpoints.reset()


def output(root: str) -> storage.OutputRoot:
    return storage.OutputRoot(url=root, attempt="attempt-1")


def raised(kind: type[FarmError], call: Callable[[], object]) -> FarmError:
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def kind_of(call: Callable[[], object]) -> ErrorKind:
    error = raised(ItemError, call)
    assert isinstance(error, ItemError)
    return error.kind


# --- the contract ----------------------------------------------------------------------------------------------------


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
def test_a_failed_step_publishes_nothing_and_says_so(
    root: str, point: str, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if storage.is_remote(root) and point == "storage.fsync.before":
        point = "storage.publish.before"  # a store has no fsync of ours
    url = storage.join(root, "a.bin")
    output(root).publish(url, b"old")
    monkeypatch.setenv(failpoints.VARIABLE, f"{point}={action}")

    def write() -> None:
        with output(root).open_write(url) as writer:
            writer.write(b"12345")
            writer.commit()

    error = raised(FarmError, write)
    assert url in str(error) or point == "storage.open_write"
    monkeypatch.delenv(failpoints.VARIABLE)
    assert storage.read_bytes(url) == b"old"
    assert len(list(storage.list_files(root))) == 1


def test_an_error_while_reading_is_one_rows_error(root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = storage.join(root, "a.bin")
    output(root).publish(url, b"old")
    monkeypatch.setenv(failpoints.VARIABLE, "storage.read=EIO@1")
    assert kind_of(lambda: storage.read_bytes(url)) is ErrorKind.STORAGE_ERROR
    assert storage.read_bytes(url) == b"old"


def test_a_killed_writer_leaves_the_old_or_the_new(root: str) -> None:
    url = storage.join(root, "a.bin")
    for point, expected in (("before", b"old"), ("after", b"new")):
        output(root).publish(url, b"old")
        code = f"from farm import storage; storage.OutputRoot(url={root!r}, attempt='dead').publish({url!r}, b'new')"
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


# --- local disks -----------------------------------------------------------------------------------------------------


def test_only_dead_attempts_are_cleared(tmp_path: Path) -> None:
    for attempt in ("dead-1", "dead-2", "alive"):
        folder = tmp_path / ".farm/tmp" / attempt
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x")
    assert storage.clear_staging(str(tmp_path), keep="alive") == 2
    assert [path.name for path in (tmp_path / ".farm/tmp").iterdir()] == ["alive"]
    assert storage.clear_staging(str(tmp_path / "empty"), keep="alive") == 0


def test_outputs_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        output(str(tmp_path)).publish(str(tmp_path / "a.bin"), b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o644


def test_without_a_root_the_temporary_file_lies_beside_its_target(tmp_path: Path) -> None:
    writer = storage.open_write(str(tmp_path / "deep/a.bin"), attempt="one")
    (temporary,) = (tmp_path / "deep").iterdir()
    assert temporary.name.startswith(".farm-one-")
    writer.write(b"x")
    writer.commit()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.bin"]


def test_another_file_system_below_the_root_is_published_to(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs /dev/shm as a second file system")
    (tmp_path / "mount").symlink_to(elsewhere)
    target = tmp_path / "mount" / f"farm-test-{os.getpid()}.bin"
    try:
        output(str(tmp_path)).publish(str(target), b"across")
        assert target.read_bytes() == b"across"
        assert [path.name for path in elsewhere.glob(".farm-*")] == []
    finally:
        target.unlink(missing_ok=True)


def test_a_full_disk_is_an_error_of_the_run_with_path_and_bytes(tmp_path: Path) -> None:
    writer = storage.open_write(str(tmp_path / "a.bin"), attempt="one")
    full = os.open("/dev/full", os.O_RDWR)  # refuses every write with ENOSPC
    os.dup2(full, writer.fileno())
    os.close(full)

    def write() -> None:
        writer.write(bytes(3_000_000))
        writer.commit()

    error = raised(DiskError, write)
    writer.discard()
    assert str(tmp_path / "a.bin") in str(error)
    assert "3000000 bytes" in str(error)
    assert "free space" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "pipe"))) is ErrorKind.UNSUPPORTED
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "folder"))) is ErrorKind.MISSING
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "folder/a/b"))) is ErrorKind.MISSING
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / ("n" * 300)))) is ErrorKind.UNSAFE_PATH


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything: run as another user")
def test_a_closed_file_is_forbidden(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a").chmod(0)
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "a"))) is ErrorKind.FORBIDDEN


def test_links_to_files_are_listed_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path)
    found = {storage.name(one.url): one.bytes for one in storage.list_files(str(tmp_path))}
    assert found == {"a.png": 3, "link.png": 3, "gone.png": 0}


def test_a_tree_deeper_than_pythons_stack_is_listed(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["d"] * 400)
    folder.mkdir(parents=True)
    (folder / "deep.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        found = [storage.name(one.url) for one in storage.list_files(str(tmp_path))]
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["deep.png"]


def test_open_read_of_a_local_file_is_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with storage.open_read(str(tmp_path / "a")) as file:
        assert file.fileno() > 0
    with storage.open_read((tmp_path / "a").as_uri()) as file:
        assert file.read() == b"abc"


def test_importing_storage_loads_no_store_client() -> None:
    code = "import sys, farm.storage; print([m for m in ('s3fs', 'fsspec', 'botocore', 'pyarrow') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- object stores ---------------------------------------------------------------------------------------------------


@pytest.mark.s3
def test_large_objects_go_up_in_parts(s3_root: str) -> None:
    data = random.Random(2).randbytes(2 * objects.PART_BYTES + 12_345)
    url = storage.join(s3_root, "large.bin")
    with output(s3_root).open_write(url) as writer:
        writer.write(data)
        done = writer.commit()
    assert storage.stat(url).etag is not None
    assert str(storage.stat(url).etag).endswith("-3")
    assert storage.sha256_of(url) == done.sha256 == hashlib.sha256(data).hexdigest()
    assert require_s3().open_uploads(s3_root) == []


@pytest.mark.s3
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failure_between_parts_leaves_no_object_and_no_upload(
    s3_root: str, nth: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = storage.join(s3_root, "large.bin")
    monkeypatch.setenv(failpoints.VARIABLE, f"storage.part=EIO@{nth}")
    raised(ItemError, lambda: output(s3_root).publish(url, bytes(2 * objects.PART_BYTES + 1)))
    assert not storage.exists(url)
    assert require_s3().open_uploads(s3_root) == []


@pytest.mark.s3
def test_an_object_replaced_while_it_is_read_is_noticed(s3_root: str) -> None:
    url = storage.join(s3_root, "a.bin")
    output(s3_root).publish(url, bytes(5 << 20))
    with storage.open_read(url) as file:
        file.read(10)
        output(s3_root).publish(url, bytes(5 << 20)[:-1] + b"x")
        file.seek(5 << 20 >> 1)
        assert kind_of(lambda: file.seek(-1, os.SEEK_END) and file.read()) is ErrorKind.CHANGED_DURING_READ


@pytest.mark.s3
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_refused_credentials_are_an_error_of_the_run_and_never_shown(
    s3_root: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "CANARY-7f3a")
    objects._client.cache_clear()
    for call in (
        lambda: storage.stat(storage.join(s3_root, "a")),
        lambda: storage.read_bytes(storage.join(s3_root, "a")),
        lambda: output(s3_root).publish(storage.join(s3_root, "a"), b"x"),
        lambda: list(storage.list_files(s3_root)),
    ):
        assert "CANARY" not in str(raised(CredentialsError, call))
    objects._client.cache_clear()


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_named(s3_root: str) -> None:
    url = "s3://farm-tests-no-such-bucket/a"
    assert kind_of(lambda: storage.read_bytes(url)) is ErrorKind.MISSING
    assert "no such bucket" in str(raised(UnreachableError, lambda: output(s3_root).publish(url, b"x")))


@pytest.mark.s3
def test_the_bucket_may_be_part_of_the_host_name(s3_root: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Tencent COS wants it; any name below localhost leads to the test server."""
    port = require_s3().endpoint.rsplit(":", 1)[1]
    monkeypatch.setitem(
        objects.SCHEMES,  # pyright: ignore[reportArgumentType]
        "cos",
        objects.SCHEMES["cos"].__class__(
            title="COS", endpoint=lambda: f"http://s3.localhost:{port}", addressing="virtual"
        ),
    )
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, *a, **k: resolve("127.0.0.1" if ".localhost" in host else host, *a, **k)
    )
    url = s3_root.replace("s3://", "cos://") + "/a b.bin"
    output(s3_root).publish(url, b"virtual")
    assert storage.read_bytes(url) == b"virtual"
    assert [one.url for one in storage.list_files(storage.parent(url))] == [url]
    assert storage.read_bytes(url.replace("cos://", "s3://")) == b"virtual"


def test_a_store_that_does_not_answer_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_TRIES", 1)  # or it waits some seconds between them
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "CANARY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "CANARY")
    error = raised(UnreachableError, lambda: storage.stat("s3://bucket/a"))
    assert "127.0.0.1:9 does not answer" in str(error)
    assert "CANARY" not in str(error)


def test_missing_credentials_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    assert "AWS_ACCESS_KEY_ID" in str(raised(CredentialsError, lambda: storage.stat("s3://bucket/a")))


def test_credentials_in_a_url_are_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    error = raised(UsageError, lambda: storage.stat("s3://KEY:CANARY@bucket/a"))
    assert "CANARY" not in str(error)
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", "http://user:CANARY@127.0.0.1:9")
    error = raised(UsageError, lambda: storage.stat("s3://bucket/a"))
    assert "CANARY" not in str(error)


class _ClientError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(
    ("code", "reading", "writing"),
    [
        ("AccessDenied", ErrorKind.FORBIDDEN, CredentialsError),
        ("403", ErrorKind.FORBIDDEN, CredentialsError),
        ("QuotaExceeded", ErrorKind.STORAGE_ERROR, DiskError),
        ("SlowDown", ErrorKind.STORAGE_ERROR, ItemError),
        ("NoSuchBucket", ErrorKind.MISSING, UnreachableError),
        ("PreconditionFailed", ErrorKind.CHANGED_DURING_READ, ItemError),
    ],
)
def test_what_a_store_says_has_one_meaning(code: str, reading: ErrorKind, writing: type[FarmError]) -> None:
    error = store_fault("s3://b/k", _ClientError(code), endpoint="e")
    assert isinstance(error, ItemError)
    assert error.kind is reading
    assert type(store_fault("s3://b/k", _ClientError(code), endpoint="e", nbytes=5)) is writing


# --- URLs ------------------------------------------------------------------------------------------------------------


def test_urls_are_joined_and_split() -> None:
    assert storage.join("/out", "a", "b.png") == "/out/a/b.png"
    assert storage.join("s3://b/", "/a/", "", "b.png") == "s3://b/a/b.png"
    assert storage.join("/", "a") == "/a"
    table = {
        "/a/b.png": ("/a", "b.png"),
        "/a": ("/", "a"),
        "/": ("/", ""),
        "s3://bucket/a/b": ("s3://bucket/a", "b"),
        "s3://bucket/a": ("s3://bucket", "a"),
        "s3://bucket": ("s3://bucket", ""),
        "file:///a/b": ("file:///a", "b"),
    }
    assert {url: (storage.parent(url), storage.name(url)) for url in table} == table


def test_local_paths_are_paths() -> None:
    assert storage.local_path("/a/b c%20#?.png") == Path("/a/b c%20#?.png")
    assert storage.local_path("file:///a/b%20c.png") == Path("/a/b c.png")
    assert storage.local_path("S3://bucket/a") is None
    assert kind_of(lambda: storage.local_path("http://host/a")) is ErrorKind.UNSUPPORTED


def test_an_output_root_can_be_sent_to_a_worker() -> None:
    one = output("/out")
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.staging == "/out/.farm/tmp/attempt-1"
    assert output("s3://b/out").staging is None
