"""A scanned folder runs as the folder itself would."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from farm import catalog
from farm.errors import UsageError
from farm.manifest import Row, read_manifest
from farm.records import ManifestRow

NAMES = ("a b.png", "-c,%20#?.jpg", "sub/quo\"te's.png", "sub/new\nline.png", "é/ü.webp")


def sources(rows: list[Row]) -> list[str]:
    return [row.source_url for row in rows if isinstance(row, ManifestRow)]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    for at, name in enumerate(NAMES):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * at)
    (folder / "farm-out").mkdir()
    (folder / "farm-out" / "a b_4x.png").touch()
    return folder


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("place", ["pictures", ".", "lists/deep"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_written_manifest_reads_back_as_the_folder(
    tmp_path: Path, pictures: Path, form: str, place: str, absolute: bool
) -> None:
    url = str(tmp_path / place / f"m.{form}")
    written = catalog.write_manifest(catalog.scan(str(pictures)), url, absolute=absolute)
    assert (written.url, written.rows, written.refused) == (str((tmp_path / place / f"m.{form}").resolve()), 5, ())
    direct, listed = list(read_manifest(str(pictures))), list(read_manifest(url))
    assert sources(listed) == sources(direct)
    assert [row.bytes for row in listed if isinstance(row, ManifestRow)] == [
        row.bytes for row in direct if isinstance(row, ManifestRow)
    ]


def test_columns_are_source_bytes_and_kind_relative_to_the_folder(pictures: Path) -> None:
    catalog.write_manifest(catalog.scan(str(pictures)), str(pictures / "m.parquet"))
    table = pq.read_table(pictures / "m.parquet").to_pydict()
    assert list(table) == ["source", "bytes", "kind"]
    assert sorted(table["source"]) == sorted(NAMES)
    assert set(table["kind"]) == {"image"}


def test_a_root_makes_sources_relative_to_it(tmp_path: Path, pictures: Path) -> None:
    url = str(tmp_path / "lists" / "m.csv")
    catalog.write_manifest(catalog.scan(str(pictures)), url, root=str(pictures))
    listed = list(read_manifest(url, root=str(pictures)))
    assert sources(listed) == sources(list(read_manifest(str(pictures))))
    assert sorted(row.relative_path for row in listed if isinstance(row, ManifestRow)) == sorted(NAMES)


def test_a_manifest_moves_together_with_its_pictures(tmp_path: Path, pictures: Path) -> None:
    catalog.write_manifest(catalog.scan(str(pictures)), str(pictures / "m.parquet"))
    moved = pictures.rename(tmp_path / "moved")
    assert all(Path(source).is_file() for source in sources(list(read_manifest(str(moved / "m.parquet")))))


def test_what_is_refused_is_told_and_left_out(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "elsewhere.png").touch()
    (pictures / "link.png").symlink_to(tmp_path / "elsewhere.png")
    written = catalog.write_manifest(catalog.scan(str(pictures)), str(tmp_path / "m.csv"))
    assert written.rows == 5
    assert [row.source for row in written.refused] == [str(pictures / "link.png")]


def test_large_folders_are_written_in_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    monkeypatch.setattr(catalog, "_GROUP_ROWS", 2)
    catalog.write_manifest(catalog.scan(str(pictures)), str(tmp_path / "m.parquet"))
    assert pq.read_metadata(tmp_path / "m.parquet").num_row_groups == 3
    assert len(list(read_manifest(str(tmp_path / "m.parquet")))) == 5


def test_a_failed_scan_leaves_no_manifest(tmp_path: Path, pictures: Path) -> None:
    def broken() -> object:
        yield from catalog.scan(str(pictures))
        raise RuntimeError("the disk went away")

    for form in ("parquet", "csv", "jsonl"):
        with pytest.raises(RuntimeError):
            catalog.write_manifest(broken(), str(tmp_path / f"m.{form}"))  # pyright: ignore[reportArgumentType]
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]


def test_what_cannot_be_scanned_or_written_is_said_at_once(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UsageError, match="no folder, prefix or glob"):
        catalog.scan(str(pictures / "a b.png"))
    with pytest.raises(UsageError, match=r"cannot be written; use one of \.parquet, \.csv, \.jsonl"):
        catalog.write_manifest(catalog.scan(str(pictures)), str(tmp_path / "m.txt"))
