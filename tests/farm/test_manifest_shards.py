"""A manifest in shards says what it says row by row, whichever way it is read."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm import manifest
from farm.errors import ManifestError
from farm.manifest import Row, read_manifest
from farm.manifest.rows import RowMaker

from .test_manifest_hostile import HOSTILE

NAMES = ["a.png", "b/c.JPG", "b/d.mp4", "b/%04d.png", "b/100%.png", ".png", "x", "x.", "b/..png", "é/ü.webp", "mp4"]
NAMES += ["/abs/a.png", "/a.png", "s3://bucket/k/a.png", "cos://b-1/a b.png", "file:///abs/a%20b.png", "./a.png"]
NAMES += ["b//c.png", "b/./c.png", "a.b/c", "a.mp4/b", "S3://bucket/A.png", "new\nline.png", "b/a\\c.png"]
SOURCES = st.lists(st.sampled_from([*NAMES, *(name for name in HOSTILE if name.isascii())]), min_size=1, max_size=30)
PLAIN = st.lists(st.sampled_from(NAMES), min_size=1, max_size=30)


def write(path: Path, columns: dict[str, Any], group: int = 1000) -> Path:
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def rows_of(path: Path, shard_rows: int = 7, limit: int | None = None, root: str | None = None) -> list[Row]:
    found: list[Row] = []
    for shard in manifest.shards(str(path), root=root, limit=limit, shard_rows=shard_rows).walk(lambda _: True):
        assert shard.first == len(found) == shard.number * shard_rows
        for block in shard.blocks():
            assert block.first == len(found)
            found += [block.refused.get(at) or block.row(at) for at in range(len(block))]
        assert len(found) == shard.first + len(shard)
    return found


def said(rows: list[Row]) -> list[str]:
    """Errors are equal when they say the same."""
    return [repr(row) for row in rows]


@settings(deadline=None)
@given(sources=SOURCES, group=st.integers(1, 11), shard_rows=st.integers(1, 11), limit=st.none() | st.integers(0, 20))
@pytest.mark.parametrize("root", [None, "s3://bucket/in"])
def test_rows_are_the_same_whichever_way_they_are_read(
    tmp_path_factory: pytest.TempPathFactory,
    root: str | None,
    sources: list[str],
    group: int,
    shard_rows: int,
    limit: int | None,
) -> None:
    path = write(tmp_path_factory.mktemp("m") / "m.parquet", {"source": sources}, group)
    expected = list(read_manifest(str(path), root=root, limit=limit))
    assert said(rows_of(path, shard_rows, limit, root)) == said(expected)


COLUMNS: dict[str, list[Any]] = {
    "sha256": ["a" * 64, None, "", "A" * 64, " " + "b" * 64],
    "etag": ["tag", None, ""],
    "bytes": [0, 17, None, 10**17],
    "width": [1, 640, None],
    "height": [480, None],
    "kind": ["image", "video", None, ""],
    "model": [None, "x4plus"],
    "outscale": [None, 2.0],
    "x_mine": ["anything", None],
}


@settings(deadline=None)
@given(data=st.data(), sources=PLAIN)
def test_columns_say_the_same_whichever_way_they_are_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, sources: list[str]
) -> None:
    names = data.draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True))
    columns: dict[str, Any] = {"source": sources}
    for name in names:
        values = data.draw(st.lists(st.sampled_from(COLUMNS[name]), min_size=len(sources), max_size=len(sources)))
        kind = "double" if name == "outscale" else "int64" if name in ("bytes", "width", "height") else "string"
        columns[name] = pa.array(values, kind)
    path = write(tmp_path_factory.mktemp("m") / "m.parquet", columns, 4)
    try:
        expected = list(read_manifest(str(path)))
    except ManifestError as error:
        with pytest.raises(ManifestError, match=re.escape(str(error))):
            rows_of(path)
        return
    assert said(rows_of(path)) == said(expected)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("width", pa.array([640, 0, 5], "int32")),
        ("width", pa.array([640.0, 480.5, 1.0])),
        ("bytes", pa.array([1, -1, 2])),
        ("sha256", pa.array(["a" * 64, "b" * 63, None])),
        ("sha256", pa.array(["a" * 64, "b" * 64 + "\n0", None])),
        ("kind", pa.array(["image", "sound", None])),
        ("source", pa.array(["a.png", None, "b.png"])),
        ("source", pa.array(["a.png", "b" * (2 << 20), "b.png"])),
    ],
)
def test_a_wrong_value_is_the_same_error(tmp_path: Path, column: str, values: pa.Array) -> None:
    path = write(tmp_path / "m.parquet", {"source": ["a.png", "b.png", "c.png"], column: values})
    with pytest.raises(ManifestError) as row_by_row:
        list(read_manifest(str(path)))
    with pytest.raises(ManifestError) as by_shard:
        rows_of(path)
    assert str(by_shard.value) == str(row_by_row.value)


def test_plain_rows_are_made_a_column_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = {"source": ["a.png", "b/c.mp4"], "sha256": ["a" * 64] * 2, "bytes": [5, None], "width": [4, 5]}
    path = write(tmp_path / "m.parquet", {**columns, "height": [4, 5], "kind": ["image", None]})
    expected = list(read_manifest(str(path)))
    monkeypatch.setattr(RowMaker, "make", None)
    assert rows_of(path) == expected


def digests(path: Path, shard_rows: int = 4, root: str | None = None) -> list[str]:
    shards = manifest.shards(str(path), root=root, shard_rows=shard_rows).walk(lambda _: True)
    return [shard.digest() for shard in shards]


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_a_digest_tells_rows_apart_and_nothing_else(tmp_path: Path, form: str) -> None:
    def make(name: str, sources: list[str], sizes: list[int | None], group: int) -> Path:
        path = tmp_path / f"{name}.{form}"
        if form == "parquet":
            return write(path, {"source": sources, "bytes": pa.array(sizes, "int64")}, group)
        lines = [f"{source},{'' if size is None else size}" for source, size in zip(sources, sizes, strict=True)]
        path.write_text("\n".join(["source,bytes", *lines]) + "\n")
        return path

    sources, sizes = [f"d/{at}.png" for at in range(10)], [None, *range(9)]
    one = digests(make("one", sources, sizes, 3))
    assert one == digests(make("two", sources, sizes, 10))
    assert len({*one}) == 3
    changed = digests(make("three", sources, [*sizes[:5], 99, *sizes[6:]], 3))
    assert [a == b for a, b in zip(one, changed, strict=True)] == [True, False, True]
    null = digests(make("four", sources, [0, *sizes[1:]], 3))
    assert [a == b for a, b in zip(one, null, strict=True)] == [False, True, True]
    assert digests(make("five", sources[:9], sizes[:9], 3))[:2] == one[:2]
    assert digests(make("six", sources[::-1], sizes, 3)) != one
    assert digests(tmp_path / f"one.{form}", root=str(tmp_path / "d")) != one


def test_a_folder_that_leads_elsewhere_makes_other_rows(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
    (tmp_path / "d").symlink_to("x")
    path = write(tmp_path / "m.parquet", {"source": ["d/a.png"]})
    before = digests(path)
    (tmp_path / "d").unlink()
    (tmp_path / "d").symlink_to("y")
    assert digests(path) != before


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_only_shards_that_are_wanted_are_given(tmp_path: Path, form: str) -> None:
    sources = [f"{at}.png" for at in range(23)]
    path = tmp_path / f"m.{form}"
    if form == "parquet":
        write(path, {"source": sources}, 3)
    else:
        path.write_text("\n".join(["source", *sources]))
    shards = manifest.shards(str(path), shard_rows=5)
    assert [(shard.number, len(shard)) for shard in shards.walk({1, 4}.__contains__)] == [(1, 5), (4, 3)]
    assert [shard.number for shard in shards.walk(lambda _: True)] == [0, 1, 2, 3, 4]


def test_row_groups_that_are_not_wanted_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "m.parquet", {"source": [f"{at}.png" for at in range(20)]}, 5)
    data = bytearray(path.read_bytes())
    chunk = pq.read_metadata(path).row_group(1).column(0)
    start = min(chunk.data_page_offset, chunk.dictionary_page_offset)
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)
    shards = manifest.shards(str(path), shard_rows=5)
    assert [len(shard) for shard in shards.walk(lambda number: number != 1)] == [5, 5, 5]
    with pytest.raises(ManifestError, match="is no Parquet that can be read"):
        list(shards.walk(lambda number: number == 1))


def test_a_large_row_group_of_many_paths_takes_little_memory(tmp_path: Path) -> None:
    """Most writers make groups of a million rows; as dictionaries, 300 000 paths took 250 MB."""
    write(tmp_path / "m.parquet", {"source": [f"folder/{at:09d}/picture.png" for at in range(300_000)]}, 1 << 20)
    code = (
        "import sys\nfrom farm.manifest import read_manifest\nfrom tests.memory import peak_bytes\n"
        "import pyarrow.parquet, pyarrow.compute\nbefore = peak_bytes()\n"
        "assert sum(1 for _ in read_manifest(sys.argv[1])) == 300_000\nprint(peak_bytes() - before >> 20)\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "m.parquet")], capture_output=True, text=True, check=True
    )
    assert int(answer.stdout) < 100
