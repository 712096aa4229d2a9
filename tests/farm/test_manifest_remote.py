"""Manifests, prefixes and globs on a real object store are what they are on a disk."""

from __future__ import annotations

import pytest

from farm import catalog, storage
from farm.errors import ManifestError
from farm.manifest import InputForm, default_out, form_of, read_manifest
from farm.records import ManifestRow
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


def test_a_manifest_that_is_not_there_is_said_so(prefix: str) -> None:
    with pytest.raises(ManifestError, match="no such object"):
        relative(f"{prefix}/gone.csv")
