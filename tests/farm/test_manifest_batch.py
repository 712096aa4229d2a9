"""Parquet is read column by column where nothing is odd; what comes out is what reading row by row gives."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm.errors import ManifestError
from farm.kinds import MediaKind
from farm.manifest import batch, parquet, read_manifest
from farm.manifest.rows import Row, RowMaker
from farm.manifest.sources import Plain, SourceRules
from farm.records import ManifestRow, RefusedRow

SOURCES = st.one_of(
    st.sampled_from(["a.png", "b/c d.jpg", "x/frame%04d.png", "f.MP4", "s3://bucket/k/e.png", "cos://b-1/f.png"]),
    st.sampled_from(["/abs/a.png", "./a.png", "a//b.png", "../a.png", "a/..", "s3://u@b/a.png", "é.png", "a:b.png"]),
    st.sampled_from(["http://h/a.png", ".hidden.png", "a/.b/c.png", "s3://bucket", "file:///a%20b.png", "a\n.png"]),
    st.text(st.sampled_from("abs3:/._% \0é-"), min_size=1, max_size=12),
)
COLUMNS = {
    "sha256": st.sampled_from([None, "ab" * 32, "AB" * 32, " " + "cd" * 32]),
    "etag": st.sampled_from([None, "", "e1", "e2-3"]),
    "bytes": st.sampled_from([None, 0, 1, 2**40]),
    "width": st.sampled_from([None, 1, 640]),
    "height": st.sampled_from([None, 2, 480]),
    "kind": st.sampled_from([None, "image", "video"]),
    "output": st.sampled_from([None, None, "o/p.webp"]),
    "model": st.sampled_from([None, "animevideov3"]),
    "outscale": st.sampled_from([None, 2.0, 3.5]),
    "denoise": st.sampled_from([None, 0.0, 0.5]),
    "format": st.sampled_from([None, "same", "webp"]),
    "priority": st.sampled_from([None, -1, 3]),
    "tags": st.sampled_from([None, [], ["a"], ["a", " b "]]),
    "task": st.sampled_from([None, "upscale"]),
    "face": st.sampled_from([None, False]),
    "x_mine": st.just("x"),
}


def slowly(path: Path, root: str) -> Iterator[Row]:
    """The reference: every row by itself."""
    maker = RowMaker(str(path), SourceRules(root))
    with path.open("rb") as stream:
        for start, arrays in parquet.iter_batches(stream, str(path), maker.check_names):
            for index, values in enumerate(parquet.iter_values(arrays), start):
                yield maker.make(index, None, values)


def seen(rows: Iterator[Row]) -> list[object]:
    """Rows, or the message they end with."""
    found: list[object] = []
    try:
        for row in rows:
            found.append((row.index, row.source, str(row.error)) if isinstance(row, RefusedRow) else row)
    except ManifestError as error:
        return [str(error)]
    return found


@st.composite
def tables(draw: st.DrawFn) -> dict[str, list[object]]:
    length = draw(st.integers(1, 12))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, max_size=6))
    table: dict[str, list[object]] = {"source": draw(st.lists(SOURCES, min_size=length, max_size=length))}
    for name in names:
        table[name] = draw(st.lists(COLUMNS[name], min_size=length, max_size=length))
    return table


@settings(deadline=None, max_examples=300)
@given(table=tables(), root=st.sampled_from([None, "/abs", "s3://bucket/k"]), dictionary=st.booleans())
def test_columns_give_what_rows_give(
    tmp_path_factory: pytest.TempPathFactory, table: dict[str, list[object]], root: str | None, dictionary: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "quick.parquet"
    types = {"tags": pa.list_(pa.string()), "sha256": pa.string(), "etag": pa.string(), "kind": pa.string()}
    arrays = {name: pa.array(values, types.get(name)) for name, values in table.items()}
    pq.write_table(pa.table(arrays), path, use_dictionary=dictionary, row_group_size=5)
    place = root or str(path.parent)
    assert seen(read_manifest(str(path), root=place)) == seen(slowly(path, place))


def test_many_different_texts_are_read_as_few_are(tmp_path: Path) -> None:
    names = [f"folder {at % 3}/{at:05d}.jpg" for at in range(2000)]
    table = {"source": names, "etag": [f"e{at}" for at in range(2000)], "tags": [[f"t{at}"] for at in range(2000)]}
    pq.write_table(pa.table(table), tmp_path / "m.parquet")
    found = seen(read_manifest(str(tmp_path / "m.parquet")))
    assert found == seen(slowly(tmp_path / "m.parquet", str(tmp_path)))
    assert [row.relative_path for row in found if isinstance(row, ManifestRow)] == names


def test_plain_sources_are_known_by_their_text_alone() -> None:
    plain = {"a.png": Plain.RELATIVE, "/a/b c.png": Plain.ABSOLUTE, "s3://bucket/a.png": Plain.OBJECT}
    odd = ["", ".a", "a/", "/", "//a", "a//b", "a/../b", "a/.b", "a:b", "é", "a\n", "s3://bucket", "s3://b/", "x://b/a"]
    texts = pa.array([*plain, *odd]).dictionary_encode()
    assert list(batch.plain_sources(texts)) == [*plain.values(), *[Plain.NO] * len(odd)]


def test_a_row_that_was_made_quickly_is_a_row_like_any_other(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["a.png"], "bytes": [3]}), tmp_path / "m.parquet")
    (row,) = read_manifest(str(tmp_path / "m.parquet"))
    made = ManifestRow(index=0, source_url=f"{tmp_path}/a.png", relative_path="a.png", kind=MediaKind.IMAGE, bytes=3)
    assert type(row) is ManifestRow
    assert (row, hash(row), repr(row), pickle.loads(pickle.dumps(row))) == (made, hash(made), repr(made), made)
    with pytest.raises(FrozenInstanceError):
        row.index = 1  # pyright: ignore[reportAttributeAccessIssue]


def test_text_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    broken = pa.array([b"a.png", b"caf\xe9.png"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"source": broken}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match="is no Parquet that can be read"):
        list(read_manifest(str(tmp_path / "m.parquet")))


def test_a_link_out_of_the_root_is_found_among_plain_names(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "out.png").touch()
    (tmp_path / "root" / "link.png").symlink_to(tmp_path / "out.png")
    pq.write_table(pa.table({"source": ["a.png", "link.png"]}), tmp_path / "root" / "m.parquet")
    good, bad = read_manifest(str(tmp_path / "root" / "m.parquet"))
    assert isinstance(good, ManifestRow)
    assert isinstance(bad, RefusedRow)
