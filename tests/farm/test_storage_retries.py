"""A store behind a way that fails on purpose: what is tried again, how often, and that nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.utils import parse_timestamp

from farm import __version__, storage
from farm.errors import CredentialsError, DiskError, ErrorKind, ItemError, UnreachableError
from farm.storage.objects import client, retry, stream, upload
from tests.faulty_proxy import FaultyProxy
from tests.stores import Store, behind_proxy, kind_of, opened, output, raised
from tests.waiting import wait_for

DATA = random.Random(5).randbytes(300_000)
pytestmark = pytest.mark.s3


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def proxy(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """In front of the store from now on; its faults come after it has answered once."""
    monkeypatch.setattr(retry, "_PAUSE_S", 0.005)
    with behind_proxy(store, monkeypatch) as found:
        assert not storage.exists(storage.join(store.root, "none"))
        found.clear()
        yield found


def publish(store: Store, data: bytes = DATA) -> str:
    url = storage.join(store.root, "a.bin")
    output(store.root).publish(url, data)
    return url


TRANSIENT = {
    "429": {"status": 429, "code": "TooManyRequests"},
    "503": {"status": 503, "code": "SlowDown"},
    "500": {"status": 500, "code": "InternalError"},
    "502": {"status": 502, "code": "BadGateway"},
    "504": {"status": 504, "code": "GatewayTimeout"},
    "timeout": {"status": 400, "code": "RequestTimeout"},
    "reset": {"reset": "request"},
    "lost answer": {"reset": "answer"},
}


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_what_passes_is_tried_again_while_writing(store: Store, proxy: FaultyProxy, fault: dict[str, object]) -> None:
    proxy.inject(what="put", times=3, **fault)
    url = publish(store)
    assert proxy.count("put") == 4
    assert proxy.count() == 4, "and nothing else was asked"
    assert storage.read_bytes(url) == DATA


@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_what_passes_is_tried_again_while_reading(store: Store, proxy: FaultyProxy, fault: dict[str, object]) -> None:
    url = publish(store)
    for what in ("get", "list", "head"):
        proxy.inject(what=what, times=2, **fault)
    assert storage.read_bytes(url) == DATA
    assert [one.url for one in storage.list_files(store.root)] == [url]
    if fault.get("status") == 400:  # which an answer to HEAD cannot tell from a broken request
        return
    assert storage.stat(url).bytes == len(DATA)
    assert [proxy.count(what) for what in ("get", "list", "head")] == [3, 3, 3]


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", CredentialsError),
        (403, "SignatureDoesNotMatch", CredentialsError),
        (403, "QuotaExceeded", DiskError),
        (404, "NoSuchBucket", UnreachableError),
        (400, "BadDigest", ItemError),
        (400, "EntityTooLarge", ItemError),
        (405, "MethodNotAllowed", ItemError),
        (501, "NotImplemented", ItemError),
    ],
)
def test_what_stays_is_asked_once(
    store: Store, proxy: FaultyProxy, status: int, code: str, kind: type[Exception]
) -> None:
    proxy.inject(status=status, code=code, times=100)
    error = raised(kind, lambda: publish(store))  # pyright: ignore[reportArgumentType]
    assert code in str(error) or kind is UnreachableError
    assert proxy.count() == 1


def test_the_store_may_say_how_long_to_wait(store: Store, proxy: FaultyProxy) -> None:
    proxy.inject(what="put", status=503, headers=(("Retry-After", "1"),))
    started_s = time.monotonic()
    publish(store)
    assert 1 <= time.monotonic() - started_s < 5


def test_an_end_is_put_to_trying(store: Store, proxy: FaultyProxy) -> None:
    proxy.inject(status=503, times=1000)
    error = raised(ItemError, lambda: publish(store))
    assert "SlowDown" in str(error)
    assert proxy.count() == retry.TRIES
    proxy.clear()
    proxy.inject(reset="request", times=1000)
    raised(UnreachableError, lambda: publish(store))
    assert retry.TRIES <= proxy.count() <= 2 * retry.TRIES, "aiohttp sends what a broken connection cut off once more"


def test_a_store_that_has_never_answered_is_given_up_sooner(store: Store, proxy: FaultyProxy) -> None:
    client.forget_stores()
    proxy.inject(reset="request", times=1000)
    raised(UnreachableError, lambda: publish(store))
    assert retry.FIRST_TRIES <= proxy.count() <= 2 * retry.FIRST_TRIES


def test_after_a_hundred_failures_one_more_is_still_tried_again(store: Store, proxy: FaultyProxy) -> None:
    url = publish(store)
    proxy.inject(what="head", status=500, times=15 * retry.TRIES)
    for _ in range(15):
        kind_of(lambda: storage.stat(url))
    proxy.clear()
    proxy.inject(what="head", status=500, times=3)
    assert storage.stat(url).bytes == len(DATA)


# --- in the middle of a body -----------------------------------------------------------------------------------------


def test_a_body_that_breaks_off_is_taken_up_where_it_ended(store: Store, proxy: FaultyProxy) -> None:
    data = random.Random(6).randbytes(6 << 20)
    url = publish(store, data)
    proxy.inject(what="get", reset="body", times=2)
    assert storage.read_bytes(url) == data
    ranges = [one.headers.get("Range") for one in proxy.seen if one.what == "get"]
    assert ranges[0] is None
    assert all(one is not None and not one.startswith("bytes=0-") for one in ranges[1:])
    assert len(ranges) == 3
    proxy.clear()
    proxy.inject(what="get", reset="body", times=2)
    with storage.open_read(url) as file:
        assert file.read() == data


def test_a_body_that_is_replaced_while_it_breaks_off_is_never_mixed(store: Store, proxy: FaultyProxy) -> None:
    url = publish(store, bytes(6 << 20))
    proxy.inject(what="get", reset="body")
    proxy.inject(what="get", delay_s=1.0)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(storage.read_bytes, url)
        wait_for(lambda: proxy.count("get") >= 2, "the second try", pause_s=0.01)
        publish(store, b"\x01" * (6 << 20))
        assert kind_of(read.result) is ErrorKind.CHANGED_DURING_READ


# --- uploads in parts ------------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> int:
    """Five MiB, the least that a store takes."""
    monkeypatch.setattr(upload, "PART_BYTES", 5 << 20)
    monkeypatch.setattr(stream, "PART_BYTES", 5 << 20)
    return 5 << 20


@pytest.mark.parametrize("what", ["create", "part", "complete"])
@pytest.mark.parametrize("fault", TRANSIENT.values(), ids=TRANSIENT)
def test_every_step_of_an_upload_is_tried_again(
    store: Store, proxy: FaultyProxy, small_parts: int, what: str, fault: dict[str, object]
) -> None:
    data = random.Random(7).randbytes(2 * small_parts + 1)
    proxy.inject(what=what, times=2, **fault)
    url = publish(store, data)
    assert storage.sha256_of(url) == hashlib.sha256(data).hexdigest()
    storage.clear_staging(store.root, keep="")
    assert store.server is not None
    assert store.server.open_uploads(store.root) == [], "also those that a lost answer has begun"
    assert [one.url for one in storage.list_files(store.root)] == [url]


def test_parts_go_up_side_by_side_and_a_slow_store_slows_the_writer(
    store: Store, proxy: FaultyProxy, small_parts: int
) -> None:
    parts = 10
    proxy.inject(what="part", delay_s=0.5, times=parts)
    with output(store.root).open_stream(storage.join(store.root, "a.bin")) as sink:
        piece = bytes(small_parts)
        started_s = time.monotonic()
        for _ in range(parts):
            sink.write(piece)
        waited_s = time.monotonic() - started_s
        sink.commit()
    assert proxy.most_busy == 4
    assert proxy.count("part") == parts
    assert waited_s > 0.5, "a part must have ended before the next was taken"


def test_an_upload_that_the_store_does_not_read_ends(
    store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CONNECT_S", 0.5)
    monkeypatch.setattr(client, "_READ_S", 0.5)
    monkeypatch.setattr(client, "_SLOWEST_BYTES_S", 64 << 20)
    proxy.inject(what="put", stall=True)
    data = bytes(24 << 20)
    url = publish(store, data)
    assert proxy.count("put") == 2
    assert storage.stat(url).bytes == len(data)


# --- what the store holds afterwards ---------------------------------------------------------------------------------


def test_another_etag_than_that_of_what_was_sent_is_an_error(store: Store, proxy: FaultyProxy) -> None:
    assert storage.capabilities(store.root).md5_etags
    for what in ("put", "head"):
        proxy.inject(what=what, rewrite=lambda name, value: f'"{"0" * 32}"' if name == "etag" else value)
    assert "holds something else" in str(raised(ItemError, lambda: publish(store)))
    assert not storage.exists(storage.join(store.root, "a.bin")), "what is wrong is not left"


def test_another_etag_than_that_of_the_parts_is_an_error(store: Store, proxy: FaultyProxy, small_parts: int) -> None:
    proxy.inject(what="head", rewrite=lambda name, value: f'"{"0" * 32}-3"' if name == "etag" else value)
    assert "holds something else" in str(raised(ItemError, lambda: publish(store, bytes(2 * small_parts + 1))))
    assert not storage.exists(storage.join(store.root, "a.bin"))


def test_where_etags_say_nothing_the_length_is_asked(store: Store, proxy: FaultyProxy) -> None:
    def opaque(name: str, value: str) -> str:
        return '"opaque"' if name == "etag" else value

    proxy.inject(what="put", times=100, rewrite=opaque)
    proxy.inject(what="head", times=2, rewrite=opaque)  # of the object, and of the probe
    publish(store)
    assert storage.read_bytes(storage.join(store.root, "a.bin")) == DATA
    proxy.inject(what="head", rewrite=lambda name, value: "299999" if name == "content-length" else opaque(name, value))
    assert "299999 bytes" in str(raised(ItemError, lambda: publish(store)))


def test_publishing_asks_nothing_beside_the_write(store: Store, proxy: FaultyProxy, small_parts: int) -> None:
    publish(store)
    assert [one.what for one in proxy.seen] == ["put"]
    proxy.clear()
    publish(store, bytes(2 * small_parts + 1))
    asked = [one.what for one in proxy.seen]
    assert asked[:3] == ["put", "create", "put"], "announced before it begins, and by its id when that is known"
    assert asked[3:] == ["part", "part", "part", "complete", "head", "delete"], "head: Ceph answers without an etag"


def test_warming_up_sends_nothing_and_the_first_request_goes_alone(store: Store, proxy: FaultyProxy) -> None:
    client.forget_stores()
    storage.warm_up(store.root)
    assert proxy.count() == 0
    publish(store)
    assert [one.what for one in proxy.seen] == ["put"]
    assert proxy.seen[0].headers["User-Agent"].startswith(f"farm/{__version__}")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-25T18:44:51.123Z",
        "2026-11-25T18:44:51Z",
        "2026-11-25T18:44:51+08:00",
        "Wed, 25 Nov 2026 18:44:51 GMT",
        "Wed, 25 Nov 2026 18:44:51 +0800",
        "1764096291",
        1764096291,
    ],
)
def test_times_are_read_as_botocore_reads_them(text: str | int) -> None:
    assert client.parse_time(text) == parse_timestamp(text)
    assert client.parse_time(text).tzinfo is not None


def test_a_time_without_a_zone_is_universal() -> None:
    assert client.parse_time("2026-11-25T18:44:51") == client.parse_time("2026-11-25T18:44:51Z")


def test_what_is_no_time_is_said_so() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        client.parse_time("yesterday")


# --- how much is under way -------------------------------------------------------------------------------------------


def test_a_busy_store_gets_fewer_requests_at_once(store: Store, proxy: FaultyProxy) -> None:
    url = publish(store)
    proxy.inject(what="head", status=503, times=24)
    proxy.inject(what="head", delay_s=0.01, times=10_000)
    with ThreadPoolExecutor(32) as pool:
        assert all(one.bytes == len(DATA) for one in pool.map(storage.stat, [url] * 200))
    assert proxy.count("head") == 200 + 24
    assert client.target(url).store.gate.limit < 32


def test_the_gate_halves_once_a_round_and_grows_again() -> None:
    async def scene() -> list[int]:
        gate = retry.Gate(most=16)
        seen = [gate.limit]
        async with gate.entered() as one, gate.entered() as other:
            gate._busy = 16
            gate.refused(one)
            gate.refused(other)
            seen.append(gate.limit)
            gate._busy = 2
        for _ in range(9):
            gate.passed()
        seen.append(gate.limit)
        for _ in range(1000):
            gate.passed()
        seen.append(gate.limit)
        for _ in range(10):
            async with gate.entered() as round_:
                gate.refused(round_)
        return [*seen, gate.limit]

    assert asyncio.run(scene()) == [16, 8, 9, 16, 1]
