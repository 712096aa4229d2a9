"""What only object stores have: parts, versions, credentials, conditions, metadata."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm import failpoints, storage
from farm.errors import CredentialsError, DiskError, ErrorKind, FarmError, ItemError, UnreachableError, UsageError
from farm.storage.faults import store_fault
from farm.storage.objects import retry
from farm.storage.objects.upload import PART_BYTES
from tests.stores import S3_KINDS, Store, kind_of, opened, output, raised, said_of

LARGE = random.Random(2).randbytes(2 * PART_BYTES + 12_345)


@pytest.fixture(params=[*S3_KINDS, "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def s3_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture(autouse=True)
def _fresh_failpoints() -> Iterator[None]:
    failpoints.disarm()
    yield
    failpoints.disarm()


def listed(root: str) -> list[str]:
    return [one.url.removeprefix(f"{root}/") for one in storage.list_files(root)]


# --- parts -----------------------------------------------------------------------------------------------------------


def test_large_objects_go_up_in_parts(store: Store) -> None:
    url = storage.join(store.root, "large.bin")
    with output(store.root).open_write(url) as writer:
        writer.write(LARGE)
        done = writer.commit()
    if store.kind != "rclone":  # which keeps files
        assert str(storage.stat(url).etag).endswith("-3")
        assert store.server is not None
        assert store.server.open_uploads(store.root) == []
    assert storage.sha256_of(url) == done.sha256 == hashlib.sha256(LARGE).hexdigest()
    assert listed(store.root) == ["large.bin"], "and no record of an upload"


def test_a_stream_goes_up_while_it_is_written(store: Store) -> None:
    url = storage.join(store.root, "stream.bin")
    with output(store.root).open_stream(url) as sink:
        for start in range(0, len(LARGE), 1_000_003):
            assert sink.write(LARGE[start : start + 1_000_003]) == len(LARGE[start : start + 1_000_003])
        assert sink.tell() == len(LARGE)
        if store.kind != "rclone":
            assert store.server is not None
            assert store.server.open_uploads(store.root), "the first parts are there before the last is written"
        assert not storage.exists(url)
        done = sink.commit()
    assert done == storage.Published(url=url, sha256=hashlib.sha256(LARGE).hexdigest(), bytes=len(LARGE))
    assert storage.sha256_of(url) == done.sha256
    assert listed(store.root) == ["stream.bin"]


_STREAM = """
import sys
from farm import storage
from farm.storage.objects import stream, upload
from tests.memory import forget_peak, peak_bytes
stream.PART_BYTES = upload.PART_BYTES = 5 << 20
root = storage.OutputRoot(url=sys.argv[1], attempt="a")
root.publish(root.url + "/warm.bin", bytes(5 << 20))
before = forget_peak()
with root.open_stream(root.url + "/a.bin") as sink:
    for number in range(200):
        sink.write(bytes([number]) * (1 << 20))
    sink.commit()
print((peak_bytes() - before) >> 20)
"""


@pytest.mark.s3
def test_a_stream_keeps_a_few_parts_in_memory_and_nothing_on_disk(
    s3_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """200 MiB in parts of 5 MiB: about six of them, and what they are made of on their way."""
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "not there"))
    grown_mib = int(subprocess.check_output([sys.executable, "-c", _STREAM, s3_store.root], text=True))
    assert grown_mib < 80
    assert storage.stat(f"{s3_store.root}/a.bin").bytes == 200 << 20


@pytest.mark.s3
def test_a_stream_that_is_left_leaves_nothing(s3_store: Store) -> None:
    url = storage.join(s3_store.root, "stream.bin")
    with output(s3_store.root).open_stream(url) as sink:
        sink.write(LARGE)
    assert listed(s3_store.root) == []
    assert s3_store.server is not None
    assert s3_store.server.open_uploads(s3_store.root) == []


@pytest.mark.s3
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failure_between_parts_leaves_no_object_and_no_upload(s3_store: Store, nth: int) -> None:
    failpoints.arm(f"storage.part=EIO@{nth}")
    raised(ItemError, lambda: output(s3_store.root).publish(storage.join(s3_store.root, "large.bin"), LARGE))
    assert listed(s3_store.root) == []
    assert s3_store.server is not None
    assert s3_store.server.open_uploads(s3_store.root) == []


@pytest.mark.s3
def test_an_object_replaced_while_it_is_read_is_noticed(s3_store: Store) -> None:
    url = storage.join(s3_store.root, "a.bin")
    output(s3_store.root).publish(url, bytes(5 << 20))
    with storage.open_read(url) as file:
        file.read(10)
        output(s3_store.root).publish(url, bytes(5 << 20)[:-1] + b"x")
        file.seek(5 << 20 >> 1)
        assert kind_of(lambda: file.seek(-1, os.SEEK_END) and file.read()) is ErrorKind.CHANGED_DURING_READ


# --- who published it ------------------------------------------------------------------------------------------------


def test_an_output_says_who_published_it(store: Store) -> None:
    small, large = storage.join(store.root, "small.bin"), storage.join(store.root, "large.bin")
    done = output(store.root).publish(small, b"abc", key="0a1b/band/7")
    with output(store.root).open_stream(large, key="0a1b") as sink:
        sink.write(LARGE)
        sink.commit()
    assert (storage.stat(small).bytes, storage.stat(large).bytes) == (3, len(LARGE))
    if storage.capabilities(store.root).metadata:
        assert said_of(store, small) == {"farm-key": "0a1b/band/7", "farm-sha256": done.sha256}
        assert said_of(store, large) == {"farm-key": "0a1b"}, "its digest was not known when it began"
    assert store.kind == "rclone" or storage.capabilities(store.root).metadata


def test_a_key_that_no_header_can_carry_is_refused(tmp_path: Path) -> None:
    raised(UsageError, lambda: storage.publish("s3://bucket/a", b"", attempt="a", key="line\nbreak"))


# --- what a store can do ---------------------------------------------------------------------------------------------


def test_what_a_store_can_do_is_found_by_trying(store: Store) -> None:
    found = storage.capabilities(store.root)
    assert listed(store.root) == [], "nothing of the trying is left"
    assert found.conditional_create is (store.kind != "rclone"), "rclone takes the condition and ignores it"
    assert found.virtual_host is (store.kind in ("s3-virtual", "cos"))
    assert found.md5_etags


# --- what a store says -----------------------------------------------------------------------------------------------


@pytest.mark.s3
def test_a_bucket_that_is_not_there_is_named(s3_store: Store) -> None:
    url = "s3://farm-tests-no-such-bucket/a"
    assert kind_of(lambda: storage.read_bytes(url)) is ErrorKind.MISSING
    assert "no such bucket" in str(raised(UnreachableError, lambda: output(s3_store.root).publish(url, b"x")))
    assert "no such bucket" in str(raised(UnreachableError, lambda: storage.clear_staging(storage.parent(url), "")))


def test_a_store_that_does_not_answer_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_PAUSE_S", 0.01)
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ANY")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ANY")
    error = raised(UnreachableError, lambda: storage.stat("s3://bucket/a"))
    assert "127.0.0.1:9 does not answer" in str(error)


@pytest.mark.parametrize(
    ("url", "named"), [("s3://b/a", "AWS_ACCESS_KEY_ID"), ("cos://b-1/a", "TENCENTCLOUD_SECRET_ID")]
)
def test_missing_credentials_are_said(url: str, named: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "TENCENTCLOUD_SECRET_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("FARM_COS_ENDPOINT_URL", "http://127.0.0.1:1")
    assert named in str(raised(CredentialsError, lambda: storage.stat(url)))


def test_a_profile_that_is_not_there_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("FARM_S3_PROFILE", "archive")
    assert "profile" in str(raised(CredentialsError, lambda: storage.stat("s3://bucket/a")))


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
