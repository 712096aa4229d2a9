"""A manifest is data (S5, S6): hostile paths become failed rows, hostile files end at once with exit 65."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.errors import ErrorKind, ManifestError
from farm.manifest import Row, read_manifest
from farm.manifest.footer import MAX_SCHEMA_DEPTH, read_footer
from farm.manifest.pages import check_pages
from farm.manifest.rows import RowMaker
from farm.manifest.sources import SourceRules, below
from farm.records import ManifestRow, RefusedRow
from tests.farm.hostile_rows import HOSTILE
from tests.outside import public_folder, without_rights


def table(path: Path, sources: list[str]) -> Path:
    path.write_text("".join(json.dumps({"source": source}) + "\n" for source in sources))
    return path


@pytest.mark.parametrize("root", ["", "s3://bucket/prefix"])
def test_hostile_rows_fail_one_by_one_and_the_counts_add_up(tmp_path: Path, root: str) -> None:
    sources = [source for hostile in HOSTILE for source in (hostile, "good.png")]
    found = list(read_manifest(str(table(tmp_path / "m.jsonl", sources)), root=root or None))
    assert [row.index for row in found] == list(range(2 * len(HOSTILE)))
    for row, hostile in zip(found[::2], HOSTILE, strict=True):
        assert isinstance(row, RefusedRow), hostile
        assert row.error.kind is ErrorKind.UNSAFE_PATH
        assert row.source.isprintable()
        row.source.encode()
    assert all(isinstance(row, ManifestRow) for row in found[1::2])


@given(st.text(st.sampled_from("./\\:%a0\0 s3file-_~\n"), max_size=24))
def test_no_source_leaves_the_root_unless_it_names_where_it_lies(
    tmp_path_factory: pytest.TempPathFactory, source: str
) -> None:
    root = str(tmp_path_factory.getbasetemp())
    row = RowMaker("m", SourceRules(root)).make(0, None, {"source": source or "."})
    if isinstance(row, ManifestRow):
        named = source.startswith(("/", "s3://", "cos://", "file:///", "file://localhost/"))
        assert named or below(row.source_url, root)
        assert ".." not in row.relative_path.split("/")
        assert not row.relative_path.startswith("/")


def refused(found: list[Row]) -> list[str]:
    for row in found:
        assert not isinstance(row, RefusedRow) or row.error.kind is ErrorKind.UNSAFE_PATH
    return [row.source for row in found if isinstance(row, RefusedRow)]


def test_links_are_not_followed_out_of_the_root(tmp_path: Path) -> None:
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside, root / "inside"):
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(b"x")
    (root / "dir").symlink_to(outside)
    (root / "out.png").symlink_to(outside / "a.png")
    (root / "in.png").symlink_to("inside/a.png")
    (root / "loop").symlink_to(root)
    (root / "gone.png").symlink_to(root / "nothing")
    (root / "notes").symlink_to(outside / "notes.txt")
    hostile = ["dir/a.png", "out.png", f"{root}/dir/a.png", "inside/../out.png", "loop/out.png"]
    good = ["in.png", "inside/a.png", "gone.png", "loop/inside/a.png", f"{outside}/a.png"]
    found = list(read_manifest(str(table(root / "m.jsonl", hostile + good))))
    assert len(refused(found[: len(hostile)])) == len(hostile)
    assert not refused(found[len(hostile) :])
    listed = list(read_manifest(str(root)))
    assert refused(listed) == [f"{root}/dir", f"{root}/out.png"]
    taken = [row.relative_path for row in listed if isinstance(row, ManifestRow)]
    assert taken == ["gone.png", "in.png", "inside/a.png"]


def test_a_root_that_is_a_link_itself_is_where_it_leads(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "a.png").write_bytes(b"x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (row,) = read_manifest(str(tmp_path / "link"))
    assert isinstance(row, ManifestRow)
    assert row.source_url == str(tmp_path / "real" / "a.png")


def test_a_folder_that_may_not_be_listed_is_a_failed_row() -> None:
    with public_folder() as folder:
        (folder / "closed").mkdir(mode=0)
        with without_rights():
            (row,) = read_manifest(str(folder))
    assert isinstance(row, RefusedRow)
    assert row.error.kind is ErrorKind.FORBIDDEN


def test_a_name_that_is_not_utf8_is_a_failed_row(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"x")
    with open(os.fsencode(tmp_path) + b"/caf\xe9.png", "wb"):
        pass
    found = list(read_manifest(str(tmp_path)))
    assert len(found) == 2
    assert refused(found) == [f"{tmp_path}/caf\\udce9.png"]


# -- hostile Parquet -------------------------------------------------------------------------------------------------


def parquet(path: Path, sources: list[str], **options: object) -> Path:
    pq.write_table(pa.table({"source": sources}), path, **options)  # pyright: ignore[reportArgumentType]
    return path


def varint(value: int, width: int = 0) -> bytes:
    """LEB128, padded with empty groups to `width` bytes."""
    groups: list[int] = []
    while value or not groups or len(groups) < width:
        groups.append(value & 127)
        value >>= 7
    return bytes([group | 128 for group in groups[:-1]] + groups[-1:])


def file_of(footer: bytes) -> bytes:
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


def nested_schema(depth: int) -> bytes:
    return file_of(schema_field(depth) + b"\x16\x00\x19\x0c\0")


def schema_field(depth: int) -> bytes:
    """The first fields of a footer, written by hand: the column `tags` is `depth` groups in one another."""

    def element(name: str, *, leaf: bool, children: int = 0) -> bytes:
        kind = b"\x15" + varint(12) + b"\x25\x02" if leaf else b"\x35\x02"  # BYTE_ARRAY, OPTIONAL
        text = varint(len(name)) + name.encode()
        return kind + b"\x18" + text + (b"\x15" + varint(2 * children) if children else b"") + b"\0"

    top = b"\x48\x06schema\x15\x04\0" + element("source", leaf=True)
    elements = top + element("tags", leaf=False, children=1) * depth + element("x", leaf=True)
    schema = b"\x19\xfc" + varint(depth + 3) + elements
    return b"\x15\x02" + schema


def lying_bomb(path: Path, nbytes: int) -> Path:
    """One page of `nbytes` of one letter, and a footer that says it unpacks to 1000 bytes."""
    parquet(path, ["a" * nbytes], compression="zstd", use_dictionary=False, write_statistics=False, store_schema=False)
    chunk = pq.read_metadata(path).row_group(0).column(0)
    true = varint(2 * chunk.total_uncompressed_size)
    data = path.read_bytes()
    start = len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]
    assert true in data[start:]
    path.write_bytes(data[:start] + data[start:].replace(true, varint(2000, len(true))))
    return path


def peak_of_reading(path: Path) -> tuple[str, float, int]:
    """(error, processor seconds, peak MB) of reading a manifest in a process of its own."""
    code = (
        "import sys, time\nfrom tests.memory import peak_bytes\n"
        "from farm.errors import ManifestError\nfrom farm.manifest import read_manifest\n"
        "began = time.process_time()\nfound = ''\n"
        "try:\n    sum(1 for _ in read_manifest(sys.argv[1]))\n"
        "except ManifestError as error:\n    found = str(error)\n"
        "print(found.replace('\\n', ' '), time.process_time() - began,"
        " peak_bytes() >> 20, sep='\\n')\n"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    found, seconds, peak = answer.stdout.splitlines()
    return found, float(seconds), int(peak)


def many_equal_rows(path: Path) -> Path:
    """300 million rows in a few hundred bytes: a run of one dictionary entry."""
    return parquet_from(path, pa.DictionaryArray.from_arrays(pa.array([0] * 1000, pa.int32()), ["a.png"]), 3000)


def parquet_from(path: Path, batch: pa.Array, times: int) -> Path:
    with pq.ParquetWriter(path, pa.schema([("source", batch.type)]), compression="zstd") as writer:
        writer.write_table(pa.table({"source": pa.chunked_array([batch] * times)}), row_group_size=1 << 30)
    return path


def long_entry_many_times(path: Path) -> Path:
    """A dictionary of one text of 8 MB that 50 000 rows name: 400 GB if each row were given its own."""
    indices = pa.array([0] * 50_000, pa.int32())
    return parquet_from(path, pa.DictionaryArray.from_arrays(indices, ["a" * (8 << 20)]), 1)


def prefix_many_times(path: Path) -> Path:
    """One text of 4 MB, and 200 that repeat all of it: the page holds it once, whoever unpacks it all has 800 MB."""
    encoding = {"source": "DELTA_BYTE_ARRAY"}
    with pq.ParquetWriter(
        path,
        pa.schema([("source", pa.string())]),
        use_dictionary=False,
        column_encoding=encoding,
        data_page_size=1 << 30,
    ) as to:
        text = pa.array(["a" * (4 << 20)])
        to.write_table(pa.table({"source": pa.chunked_array([text] * 200)}), row_group_size=1 << 20)
    return path


def many_columns(path: Path) -> object:
    nothing = pa.array([None], pa.int8())
    return pq.write_table(pa.table({"source": ["a.png"], **{f"x_{at}": nothing for at in range(15_000)}}), path)


def lying_footer(path: Path) -> object:
    """It says that its footer begins before the file does."""
    data = parquet(path, ["a.png"]).read_bytes()
    return path.write_bytes(data[:-8] + struct.pack("<I", 0xFFFFFFF0) + b"PAR1")


def footer_of_zeros(path: Path) -> object:
    """A footer of 3 GB that takes no room on the disk."""
    path.write_bytes(b"PAR1")
    os.truncate(path, 3 << 30)
    with path.open("ab") as file:
        return file.write(struct.pack("<I", (3 << 30) - 4) + b"PAR1")


_HOSTILE_PARQUET: dict[str, Callable[[Path], object]] = {
    "deep": lambda path: path.write_bytes(nested_schema(20_000)),
    "deeper": lambda path: path.write_bytes(nested_schema(2_000_000)),
    "bomb": lambda path: lying_bomb(path, 128 << 20),
    "rows": many_equal_rows,
    "dictionary": long_entry_many_times,
    "prefix": prefix_many_times,
    "columns": many_columns,
    "lying": lying_footer,
    "zeros": footer_of_zeros,
}


@pytest.mark.parametrize(
    ("hostile", "found"),
    [
        ("deep", "too deeply nested"),
        ("deeper", "a footer of"),
        ("bomb", "a page unpacks to"),
        ("rows", "cannot be different paths"),
        ("dictionary", "a value of more than"),
        ("prefix", "a value of more than"),
        ("columns", "a footer of"),
        ("lying", "does not end in a footer"),
        ("zeros", "a footer of 3221225468 bytes"),
    ],
)
def test_hostile_parquet_ends_fast_and_small(tmp_path: Path, hostile: str, found: str) -> None:
    path = tmp_path / "m.parquet"
    _HOSTILE_PARQUET[hostile](path)
    message, seconds, peak_mb = peak_of_reading(path)
    assert found in message
    assert seconds < 2
    assert peak_mb < 500


def refusal_of_footer(footer: bytes) -> str:
    try:
        read_footer(BytesIO(file_of(footer)))
    except ValueError as error:
        return str(error)
    return ""


def test_a_schema_is_refused_from_the_limit_on_wherever_it_hides() -> None:
    flat, deep = schema_field(0), schema_field(MAX_SCHEMA_DEPTH)
    assert refusal_of_footer(schema_field(MAX_SCHEMA_DEPTH - 1) + b"\0") == ""
    assert "too deeply nested" in refusal_of_footer(deep + b"\0")
    second = b"\x09\x04" + deep[3:]  # field 2 again, its id written out
    assert "too deeply nested" in refusal_of_footer(flat + second + b"\0")
    wrapped = b"\x09" + varint(2 * ((1 << 16) + 2)) + deep[3:]  # field 2 to who keeps 16 bits
    assert "a field 65538" in refusal_of_footer(flat + wrapped + b"\0")
    assert "a schema of kind 3" in refusal_of_footer(deep.replace(b"\x19\xfc", b"\x19\xf3", 1) + b"\0")


@pytest.mark.parametrize("children", [-1, 1 << 31, 1 << 40])
def test_a_group_of_an_impossible_count_is_refused(children: int) -> None:
    written = varint((2 * children) ^ -(children < 0))
    assert "a schema with a group of" in refusal_of_footer(b"\x29\x1c\x55" + written + b"\0\0")


@given(st.binary(max_size=200))
def test_a_footer_of_any_bytes_is_read_or_refused(footer: bytes) -> None:
    refusal_of_footer(footer)


def test_a_wide_and_nested_footer_of_another_writer_is_let_through(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    columns: dict[str, object] = {f"x_{at}": [[{"a": {"b": at}, "c": "x"}]] for at in range(300)}
    pq.write_table(pa.table({"source": ["a.png"], **columns}), path, write_page_index=True, row_group_size=1)
    assert [row.relative_path for row in read_manifest(str(path)) if isinstance(row, ManifestRow)] == ["a.png"]


def test_parquet_cut_anywhere_is_refused(tmp_path: Path) -> None:
    path = parquet(tmp_path / "m.parquet", [f"{at}.png" for at in range(100)])
    whole = path.read_bytes()
    for length in {0, 1, 4, 8, 12, *range(16, len(whole), 97), len(whole) - 1}:
        path.write_bytes(whole[:length])
        with pytest.raises(ManifestError):
            list(read_manifest(str(path)))


def test_flipped_bytes_in_parquet_are_refused_or_read_but_never_crash(tmp_path: Path) -> None:
    path = parquet(tmp_path / "m.parquet", [f"{at}.png" for at in range(100)], compression="none")
    whole = path.read_bytes()
    refused_files = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        try:
            list(read_manifest(str(path)))
        except ManifestError:
            refused_files += 1
    assert refused_files > 0


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("compression", ["none", "snappy", "zstd"])
def test_pages_of_every_kind_are_weighed_and_read(tmp_path: Path, version: str, compression: str) -> None:
    sources = [f"folder {at % 7}/{'x' * 200}{at}.png" for at in range(20_000)]
    path = parquet(
        tmp_path / "m.parquet",
        sources,
        data_page_version=version,
        compression=compression,
        data_page_size=10_000,
        write_page_checksum=True,
        row_group_size=9_000,
    )
    found = [row.relative_path for row in read_manifest(str(path)) if isinstance(row, ManifestRow)]
    assert found == sources


@given(st.binary(max_size=200))
def test_a_page_header_of_any_bytes_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "page"
    path.write_bytes(data)
    with path.open("rb") as stream:
        try:
            check_pages(stream, 0, len(data))
        except (ValueError, IndexError):
            return


@pytest.mark.parametrize(
    ("name", "value"),
    [("model", ["x"]), ("source", {"a": "x"}), ("tags", [["x"]]), ("tags", [1]), ("tags", {"a": "x"})],
)
def test_nested_columns_are_refused_by_name(tmp_path: Path, name: str, value: object) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"source": ["a.png"], name: [value]} if name != "source" else {name: [value]}), path)
    with pytest.raises(ManifestError, match=rf"column {name} is nested"):
        list(read_manifest(str(path)))


def test_binary_of_a_fixed_length_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "m.parquet"
    pq.write_table(pa.table({"source": pa.array([b"a.png"], pa.binary(5))}), path)
    with pytest.raises(ManifestError, match="column source is binary"):
        list(read_manifest(str(path)))


def tagged(path: Path, lengths: list[int], text: str) -> Path:
    """Rows with so many tags each, all the same: a few bytes in the file, whatever the number."""
    ends = pa.array([0, *np.cumsum(lengths)], pa.int32())
    words = pa.DictionaryArray.from_arrays(pa.array(np.zeros(sum(lengths), np.int32)), [text])
    tags = pa.ListArray.from_arrays(ends, words)
    pq.write_table(pa.table({"source": [f"{at}.png" for at in range(len(lengths))], "tags": tags}), path)
    return path


@pytest.mark.parametrize(
    ("lengths", "text", "found"),
    [
        ([20_000_000], "a", "more than 10000000 values"),
        ([9_000_000], "a", "more than 1000 tags in one row"),
        ([900] * 5000, "a" * (2 << 20), "a value of more than"),
        ([900] * 5000, "a" * (1 << 20), "row 0, column tags: .* holds a tag of more than 256 characters"),
    ],
)
def test_tags_without_end_end_fast_and_small(tmp_path: Path, lengths: list[int], text: str, found: str) -> None:
    message, seconds, peak_mb = peak_of_reading(tagged(tmp_path / "m.parquet", lengths, text))
    assert re.search(found, message), message
    assert seconds < 2
    assert peak_mb < 500


@pytest.mark.parametrize(
    "source",
    [
        "s3://AKIA1:SECRET2@bucket/a.png",
        "s3://AKIA1:SECRET2@bucket/",
        "x s3://AKIA1:SECRET2@b/..",
        "http://u:SECRET2@h/a",
        "https://b.s3.amazonaws.com/a.png?X-Amz-Credential=SECRET2%2F1&X-Amz-Signature=SECRET2",
        "https://b.cos.ap-x.myqcloud.com/a.png?q-sign-algorithm=sha1&q-signature=SECRET2&x-cos-security-token=SECRET2",
        "https://a.blob.core.windows.net/a.png?sv=1&sig=SECRET2",
        "https://b.s3.amazonaws.com/a.png?AWSAccessKeyId=SECRET2&Signature=SECRET2&Expires=1",
    ],
)
def test_credentials_in_a_source_are_refused_and_not_repeated(tmp_path: Path, source: str) -> None:
    (tmp_path / "m.jsonl").write_text(json.dumps({"source": source}))
    (row,) = read_manifest(str(tmp_path / "m.jsonl"))
    assert isinstance(row, RefusedRow)
    assert "SECRET2" not in f"{row.source} {row.error} {row.error.url}"


def test_a_bucket_that_its_store_cannot_have_is_one_refused_row(tmp_path: Path) -> None:
    sources = ["cos://photos/a.png", "cos://photos-125/a.png", "a.png"]
    for form in ("jsonl", "parquet"):
        path = tmp_path / f"m.{form}"
        if form == "parquet":
            parquet(path, sources)
        else:
            path.write_text("".join(json.dumps({"source": source}) + "\n" for source in sources))
        assert refused(list(read_manifest(str(path)))) == ["cos://photos/a.png"]


def test_what_is_not_unicode_is_named_with_its_column(tmp_path: Path) -> None:
    for column in ("output", "etag"):
        (tmp_path / "m.jsonl").write_text(f'{{"source": "a.png", "{column}": "\\ud800.png"}}')
        with pytest.raises(ManifestError, match=f"row 0 .line 1., column {column}.*not UTF-8"):
            list(read_manifest(str(tmp_path / "m.jsonl")))
    (tmp_path / "m.jsonl").write_text('{"source": "a.png", "source": "b.png"}')
    with pytest.raises(ManifestError, match="stands twice"):
        list(read_manifest(str(tmp_path / "m.jsonl")))
