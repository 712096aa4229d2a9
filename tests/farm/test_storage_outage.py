"""A real server that is too busy, hangs, or is full: nothing is lost, and what cannot pass is said once."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from farm import storage
from farm.errors import DiskError
from farm.storage.objects import client
from tests.faulty_proxy import FaultyProxy
from tests.s3_server import control
from tests.stores import Store, behind_proxy, opened, output, raised

pytestmark = pytest.mark.s3
HANG_S = 8
"""twenty in the run of tests/e2e/test_object_store.py"""


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened("s3-path", tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture
def proxy(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """Counts; spoils nothing."""
    with behind_proxy(store, monkeypatch) as found:
        yield found


def test_a_server_that_takes_two_requests_at_once_loses_nothing(store: Store, proxy: FaultyProxy) -> None:
    content = {storage.join(store.root, f"{n:03}.bin"): random.Random(n).randbytes(100_000) for n in range(120)}
    control("limit", "2")
    try:
        with ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda one: output(store.root).publish(*one), content.items()))
            read = dict(zip(content, pool.map(storage.read_bytes, content), strict=True))
    finally:
        control("limit", "0")
    assert read == content
    assert proxy.statuses[503] > 0, "the server did refuse"
    assert proxy.count() < 3 * 2 * len(content), "and was not stormed"


def test_a_disk_that_hangs_costs_time_and_nothing_else(
    store: Store, proxy: FaultyProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_READ_S", 2)
    content = {storage.join(store.root, f"{n}.bin"): random.Random(n).randbytes(100_000) for n in range(8)}
    before = storage.join(store.root, "before.bin")
    output(store.root).publish(before, b"before")
    control("pause")
    release = threading.Timer(HANG_S, control, ["resume"])
    release.start()
    started_s = time.monotonic()
    try:
        with ThreadPoolExecutor(9) as pool:
            read = pool.submit(storage.read_bytes, before)
            list(pool.map(lambda one: output(store.root).publish(*one), content.items()))
            assert read.result() == b"before"
    finally:
        release.join()
        control("resume")
    assert proxy.count() > 2 * len(content), "tries did time out"
    assert HANG_S - 1 < time.monotonic() - started_s < HANG_S + 60
    assert {url: storage.read_bytes(url) for url in content} == content


def test_a_quota_is_one_clear_error_and_no_storm(store: Store, proxy: FaultyProxy) -> None:
    url = storage.join(store.root, "a.bin")
    output(store.root).publish(url, b"first")
    control("quota", "1")
    try:
        proxy.clear()
        errors = [
            str(raised(DiskError, lambda data=data: output(store.root).publish(url, data)))
            for data in (bytes(1000), bytes(40 << 20))
        ]
    finally:
        control("quota", "0")
    assert all("no room (QuotaExceeded)" in error and url in error for error in errors)
    assert proxy.statuses == {403: 2}, "each was answered once"
    assert proxy.count() == 2 + proxy.lost, "and asked again only where Ceph hung up on a refused body without a word"
    assert storage.read_bytes(url) == b"first"
    assert store.server is not None
    assert store.server.open_uploads(store.root) == []
