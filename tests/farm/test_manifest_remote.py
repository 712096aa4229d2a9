"""Manifests, prefixes and globs on a real object store are what they are on a disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pyvips

from farm import catalog, failpoints, storage
from farm.errors import DiskError, ManifestError
from farm.manifest import InputForm, default_out, files, form_of, prefixes, read_manifest
from farm.records import FileStat, ManifestRow
from tests.s3_server import require_s3
from tests.stores import reach

pytestmark = pytest.mark.s3
PICTURES = ("a b.png", "-c,%20#?.jpg", "sub/quo\"te's.png", "sub/new\nline.png", "é/ü.webp")
OTHERS = (".hidden/x.png", "notes.txt", "farm-out/a b_4x.png", "older/.farm/ledger", "older/a_4x.png")


@pytest.fixture
def prefix(monkeypatch: pytest.MonkeyPatch) -> str:
    root = reach(require_s3(), monkeypatch).new_prefix()
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
    written = catalog.scan(catalog.ScanConfig(source=prefix, target=f"{prefix}/m.{form}"))
    assert written.rows == len(PICTURES)
    assert relative(written.url) == relative(prefix)
    assert [row.etag for row in read_manifest(written.url) if isinstance(row, ManifestRow)] == [
        row.etag for row in read_manifest(prefix) if isinstance(row, ManifestRow)
    ]
    assert default_out(written.url) == f"{prefix}/farm-out"


def test_a_scan_of_a_prefix_takes_what_is_new_by_etag(prefix: str, tmp_path: Path) -> None:
    rows = [row for row in read_manifest(prefix) if isinstance(row, ManifestRow)]
    done = {"source": [row.source_url for row in rows], "source_version": [f"etag:{row.etag}" for row in rows]}
    done |= {"status": ["done"] * len(rows), "finished_unix": [0.0] * len(rows)}
    pq.write_table(pa.table(done), tmp_path / "results.parquet")
    storage.publish(f"{prefix}/a b.png", b"changed", attempt="test")
    storage.publish(f"{prefix}/new.png", b"new", attempt="test")
    config = catalog.ScanConfig(source=prefix, target=f"{prefix}/m.jsonl", newer_than=str(tmp_path))
    written = catalog.scan(config)
    assert (written.rows, written.unchanged) == (2, len(PICTURES) - 1)
    assert relative(written.url) == ["a b.png", "new.png"]
    assert catalog.scan(catalog.ScanConfig(source=prefix, target=f"{prefix}/n.csv", since="1h")).rows == 6


def test_objects_are_looked_into_by_ranges(prefix: str) -> None:
    for name in ("named.mp4", "no-name", "right.png"):
        image = pyvips.Image.black(33, 22, bands=3).copy(interpretation="srgb").write_to_buffer(".png")
        storage.publish(f"{prefix}/pictures/{name}", image, attempt="test")
    storage.publish(f"{prefix}/pictures/page.png", b"<html>", attempt="test")
    config = catalog.ScanConfig(source=f"{prefix}/pictures", target=f"{prefix}/m.parquet", sniff=True, probe=True)
    written = catalog.scan(config)
    assert (written.rows, written.left_out, written.unsized) == (3, 1, 0)
    rows = [row for row in read_manifest(written.url) if isinstance(row, ManifestRow)]
    assert {(row.kind.value, row.width, row.height) for row in rows} == {("image", 33, 22)}


def test_a_manifest_on_a_store_is_checked_converted_and_split(prefix: str) -> None:
    catalog.scan(catalog.ScanConfig(source=prefix, target=f"{prefix}/m.parquet"))
    storage.publish(f"{prefix}/a b.png", b"of another size", attempt="test")
    storage.delete(f"{prefix}/-c,%20#?.jpg")
    result = catalog.check(catalog.CheckConfig(source=f"{prefix}/m.parquet", stat=True))
    assert (result.rows, result.missing.count, result.changed.count) == (5, 1, 1)
    catalog.convert(catalog.ConvertConfig(source=f"{prefix}/m.parquet", target=f"{prefix}/n.csv", sort="path"))
    assert sorted(relative(f"{prefix}/n.csv")) == sorted(PICTURES)
    parts = catalog.split(catalog.SplitConfig(source=f"{prefix}/n.csv", target=f"{prefix}/parts", rows=2)).parts
    assert [files.count_rows(one) for one in parts] == [2, 2, 1]


KEYS = (
    *(f"{year}/{month:02d}/{at}.png" for year in (2023, 2024) for month in range(1, 13) for at in range(7)),
    *("a-b.png", "a/x.png", "a0.png", "a//twice.png", "a/é.png", "a/z/deep/er/still/deeper/yet/q.png", "top.png"),
    *(f"flat/{at:03d}.png" for at in range(60)),
)


@pytest.fixture
def deep(monkeypatch: pytest.MonkeyPatch) -> str:
    """A prefix of many folders, and pages so short that it takes several listings."""
    root = reach(require_s3(), monkeypatch).new_prefix()
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
def test_a_listing_that_fails_fails_the_reading(deep: str, request_number: int) -> None:
    failpoints.arm(f"storage.list=EIO@{request_number}")
    try:
        with pytest.raises(DiskError):
            list(read_manifest(deep))
    finally:
        failpoints.disarm()


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


@pytest.mark.parametrize("page", [1, 3, 1000])
def test_outputs_of_another_run_are_left_out_however_their_names_sort(
    prefix: str, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr(prefixes, "_PAGE", page)
    for name in ("older/-a_4x.png", "older/(1)_4x.png", "older/#sub/y.png", "older/b_4x.png", "plain/(1).png"):
        storage.publish(f"{prefix}/{name}", b"x", attempt="test")
    assert sorted(relative(prefix)) == sorted([*PICTURES, "plain/(1).png"])


def test_a_prefix_whose_name_looks_like_a_pattern_is_a_prefix(prefix: str) -> None:
    storage.publish(f"{prefix}/shoot [2024]/a.png", b"x", attempt="test")
    assert relative(f"{prefix}/shoot [2024]/") == ["a.png"]
    assert relative(f"{prefix}/shoot [2024]") == ["a.png"]
