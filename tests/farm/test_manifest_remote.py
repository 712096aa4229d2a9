"""Manifests, prefixes and globs on a real object store are what they are on a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from farm import catalog, failpoints, storage
from farm.errors import DiskError, ManifestError
from farm.manifest import InputForm, default_out, form_of, prefixes, read_manifest
from farm.records import FileStat, ManifestRow
from tests.s3_server import require_s3

pytestmark = pytest.mark.s3
PICTURES = ("a b.png", "-c,%20#?.jpg", "sub/quo\"te's.png", "sub/new\nline.png", "é/ü.webp")
OTHERS = (".hidden/x.png", "notes.txt", "farm-out/a b_4x.png", "older/.farm/ledger", "older/a_4x.png")


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    server = require_s3()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    root = server.new_prefix()
    for name in PICTURES + OTHERS:
        storage.publish(f"{root}/{name}", b"x" * len(name), attempt="test")
    return root


def relative(url: str, **options: str) -> list[str]:
    found = list(read_manifest(url, **options))  # pyright: ignore[reportArgumentType]
    assert all(isinstance(row, ManifestRow) for row in found)
    return [row.relative_path for row in found if isinstance(row, ManifestRow)]


def test_a_prefix_is_its_pictures(prefix: str) -> None:
    assert form_of(prefix) is InputForm.FOLDER
    assert default_out(prefix) == f"{prefix}/farm-out"
    assert sorted(relative(prefix)) == sorted(relative(f"{prefix}/")) == sorted(PICTURES)
    for row in read_manifest(prefix):
        assert isinstance(row, ManifestRow)
        assert storage.stat(row.source_url).bytes == row.bytes == len(row.relative_path)


def test_a_glob_names_objects_below_its_fixed_part(prefix: str) -> None:
    assert sorted(relative(f"{prefix}/**/*.png")) == sorted(name for name in PICTURES if name.endswith(".png"))
    assert relative(f"{prefix}/sub/quo*") == ["quo\"te's.png"]
    assert relative(f"{prefix}/-c,%20#?.jpg") == ["-c,%20#?.jpg"]  # there is an object of that very name
    assert default_out(f"{prefix}/sub/*.png") == f"{prefix}/sub/farm-out"


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_manifest_beside_its_objects_runs_as_the_prefix(prefix: str, form: str) -> None:
    written = catalog.write_manifest(catalog.scan(prefix), f"{prefix}/m.{form}")
    assert written.rows == len(PICTURES)
    assert relative(written.url) == relative(prefix)
    assert default_out(written.url) == f"{prefix}/farm-out"


KEYS = (
    *(f"{year}/{month:02d}/{at}.png" for year in (2023, 2024) for month in range(1, 13) for at in range(7)),
    *("a-b.png", "a/x.png", "a0.png", "a//twice.png", "a/é.png", "a/z/deep/er/still/deeper/yet/q.png", "top.png"),
    *(f"flat/{at:03d}.png" for at in range(60)),
)


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of many folders, and pages so short that it takes several listings."""
    server = require_s3()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    root = server.new_prefix()
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.publish(f"{root}/{key}", b"x", attempt="test"), KEYS))
    monkeypatch.setattr(prefixes, "_PAGE", 5)
    return root


def everywhere(folder: str, level: prefixes.Level) -> bool:
    return True


def test_many_listings_give_what_one_gives_in_its_order(deep: str) -> None:
    one = list(storage.list_files(deep))
    assert len(one) == len(KEYS)
    assert list(prefixes.iter_objects(deep, everywhere)) == one
    assert [found.url for found in one] == sorted((f"{deep}/{key}" for key in KEYS), key=str.encode)


def test_folders_that_are_not_asked_for_are_not_listed(deep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[str] = []
    real = storage.list_prefix

    def list_prefix(prefix: str, *, level: bool = False) -> Iterator[FileStat | str]:
        listed.append(prefix)
        return real(prefix, level=level)

    monkeypatch.setattr(storage, "list_prefix", list_prefix)
    found = prefixes.iter_objects(deep, lambda folder, _: "2023/" not in folder and "/a/" not in folder)
    assert all("/2023/" not in one.url for one in found)
    assert not any("/2023/" in one or "/a/" in one for one in listed)
    assert sum("/2024/" in one for one in listed) > 6


def test_whoever_stops_reading_leaves_no_listing_behind(deep: str) -> None:
    reading = prefixes.iter_objects(deep, everywhere)
    assert next(reading).url == f"{deep}/2023/01/0.png"
    reading.close()
    for thread in threading.enumerate():
        if thread.name.startswith("list"):
            thread.join(10)
            assert not thread.is_alive()


@pytest.mark.parametrize("request_number", [1, 2, 6, 20])
def test_a_listing_that_fails_fails_the_reading(
    deep: str, request_number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    failpoints.reset()
    monkeypatch.setenv(failpoints.VARIABLE, f"storage.list=EIO@{request_number}")
    with pytest.raises(DiskError):
        list(read_manifest(deep))


def test_a_prefix_says_versions_and_times(prefix: str) -> None:
    stats = {found.url: found for found in storage.list_files(prefix)}
    for row in read_manifest(prefix):
        assert isinstance(row, ManifestRow)
        there = storage.stat(row.source_url)
        assert (row.etag, row.bytes) == (there.etag, there.bytes)
        listed = stats[row.source_url].mtime_ns
        assert listed is not None
        assert abs(listed - time.time_ns()) < 600e9


def test_a_manifest_that_is_not_there_is_said_so(prefix: str) -> None:
    with pytest.raises(ManifestError, match="no such object"):
        relative(f"{prefix}/gone.csv")
