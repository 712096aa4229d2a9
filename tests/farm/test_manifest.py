"""Every form a manifest comes in gives the same rows; what is wrong is named by file, row and column."""

from __future__ import annotations

import json
import os
import subprocess
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.config import MANIFEST_FORMS
from farm.errors import ManifestError, UsageError
from farm.kinds import MediaKind
from farm.manifest import InputForm, columns, default_out, files, form_of, forms, pages, read_manifest, table
from farm.records import ManifestRow, Overrides

NAMES = (
    "a b.png",
    "100%25.png",
    "c#d.png",
    "e?f.png",
    "-leading.png",
    unicodedata.normalize("NFC", "é.png"),
    unicodedata.normalize("NFD", "è.png"),
    "x" * 251 + ".png",
    "comma, and (1,2).png",
    "star*[1].png",
)
ODD_NAMES = (*NAMES, "new\nline.png", 'quo"te.png', " led by a space.png", "car\rriage.png")


def rows(url: object, **options: object) -> list[ManifestRow]:
    found = list(read_manifest(str(url), **options))  # pyright: ignore[reportArgumentType]
    assert all(isinstance(row, ManifestRow) for row in found), found
    assert [row.index for row in found] == list(range(len(found)))
    return [row for row in found if isinstance(row, ManifestRow)]


def write(path: Path, table: dict[str, list[object]]) -> Path:
    """The same table in the form that the extension says."""
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path, row_group_size=2)
        return path
    lines = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path
    quoted = [['"' + str("" if v is None else v).replace('"', '""') + '"' for v in line.values()] for line in lines]
    path.write_bytes(("\n".join(",".join(fields) for fields in [list(table), *quoted]) + "\n").encode())
    return path


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_all_columns_come_through_in_every_form(tmp_path: Path, form: str) -> None:
    table: dict[str, list[object]] = {
        "source": ["a.png", "b/c.jpg", "d.tif"],
        "sha256": ["AB" * 32, None, None],
        "etag": [None, "0123-4", None],
        "bytes": [10, 20, 30],
        "width": [640, None, 3],
        "height": [480, None, 4],
        "output": [None, "x/y.webp", None],
        "model": [None, "animevideov3", None],
        "outscale": [None, 3.5, 2],
        "format": ["png", None, "same"],
        "x_licence": ["CC0", "CC-BY", None],
    }
    first, second, third = rows(write(tmp_path / f"m.{form}", table))
    assert first.source_url == str(tmp_path / "a.png")
    assert (first.sha256, first.bytes, first.width, first.height) == ("ab" * 32, 10, 640, 480)
    assert first.overrides == Overrides(format="png")
    assert second.relative_path == "b/c.jpg"
    assert (second.etag, second.sha256, second.width) == ("0123-4", None, None)
    assert second.overrides == Overrides(output="x/y.webp", model="animevideov3", outscale=3.5)
    assert third.overrides == Overrides(outscale=2.0, format="same")


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_names_survive_byte_for_byte(tmp_path: Path, form: str) -> None:
    table: dict[str, list[object]] = {"source": list(ODD_NAMES)}
    assert [row.relative_path for row in rows(write(tmp_path / f"m.{form}", table))] == list(ODD_NAMES)


@given(st.lists(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_any_unicode_name_survives_json_lines(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    sources = [f"{name}.png" for name in names]
    path = tmp_path_factory.mktemp("names") / "m.jsonl"
    path.write_text("".join(json.dumps({"source": source}) + "\n" for source in sources))
    assert [row.relative_path for row in rows(path)] == sources


def test_meta_info_lines_hold_spaces_and_sizes(tmp_path: Path) -> None:
    manifest = tmp_path / "meta_info.txt"
    lines = ["a.png", "b c.png (480,640,3)", "", "d (1).png", "e.png (10, 20, 1)", *NAMES]
    manifest.write_bytes(b"\xef\xbb\xbf" + "\r\n".join(lines).encode())
    found = rows(manifest)
    assert [row.relative_path for row in found] == ["a.png", "b c.png", "d (1).png", "e.png", *NAMES]
    assert (found[1].height, found[1].width) == (480, 640)
    assert (found[3].height, found[3].width) == (10, 20)


def test_a_pair_list_of_training_data_is_refused(tmp_path: Path) -> None:
    manifest = tmp_path / "pairs.txt"
    manifest.write_text("a.png\ngt/a b.png, lq/a b.png\n")
    with pytest.raises(
        ManifestError, match=r"pairs\.txt: row 1 \(line 2\), column lq: 'lq/a b\.png' .*pair of training data"
    ):
        rows(manifest)


def test_numbers_as_other_tools_write_them(tmp_path: Path) -> None:
    table: dict[str, list[object]] = {"source": ["a.png", "b.png"], "width": [640.0, float("nan")]}
    assert [row.width for row in rows(write(tmp_path / "m.parquet", table))] == [640, None]
    manifest = tmp_path / "m.csv"
    manifest.write_text("source , width\na.png, 640\n")
    assert rows(manifest)[0].width == 640


BAD_VALUES = {
    "sha256": "12",
    "bytes": -1,
    "width": 0,
    "height": "1e3",
    "output": "a.gif",
    "model": "../evil.pth",
    "outscale": 17,
    "format": "gif",
    "task": "upscael",
    "kind": "film",
    "denoise": 1.5,
    "face": True,
    "priority": 0.5,
    "tags": ",".join(map(str, range(1001))),
    "lq": "lq/a.png",
}


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize("column", BAD_VALUES)
def test_a_wrong_value_names_file_row_and_column(tmp_path: Path, form: str, column: str) -> None:
    table: dict[str, list[object]] = {"source": ["a.png", "b.png"], column: [None, BAD_VALUES[column]]}
    with pytest.raises(ManifestError, match=rf"m\.{form}: row 1.*column {column}: ") as caught:
        rows(write(tmp_path / f"m.{form}", table))
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("source", "values", "kind"),
    [
        ("a.png", {}, MediaKind.IMAGE),
        ("a.MP4", {}, MediaKind.VIDEO),
        ("f/frame%08d.png", {}, MediaKind.VIDEO),
        ("100%diff.png", {}, MediaKind.IMAGE),
        ("a.gif", {"kind": "video", "format": "mp4"}, MediaKind.VIDEO),
        ("a.mp4", {"output": "b.webm"}, MediaKind.VIDEO),
    ],
)
def test_a_row_is_a_film_by_its_name_or_its_column(
    tmp_path: Path, source: str, values: dict[str, str], kind: MediaKind
) -> None:
    table: dict[str, list[object]] = {"source": [source], **{name: [value] for name, value in values.items()}}
    assert rows(write(tmp_path / "m.csv", table))[0].kind is kind


@pytest.mark.parametrize("values", [{"output": "b.png"}, {"format": "png"}])
def test_a_film_does_not_become_a_picture(tmp_path: Path, values: dict[str, str]) -> None:
    table: dict[str, list[object]] = {"source": ["a.mp4"], **{name: [value] for name, value in values.items()}}
    with pytest.raises(ManifestError, match="the row is of kind video"):
        rows(write(tmp_path / "m.csv", table))


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
def test_a_mistyped_column_is_named_and_guessed(tmp_path: Path, form: str) -> None:
    table: dict[str, list[object]] = {"source": ["a.png"], "outscal": [2]}
    with pytest.raises(ManifestError, match="column 'outscal' is not known; did you mean 'outscale'"):
        rows(write(tmp_path / f"m.{form}", table))


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("m.csv", "path\na.png\n", "column 'path' is not known"),
        ("m.csv", "", "no column `source`"),
        ("m.csv", "source,source\na,b\n", "is there twice"),
        ("m.csv", "source,width\na.png\n", "row 0 \\(line 2\\): 1 fields where the first line names 2"),
        ("m.csv", 'source\n"a.png\n', "row 0 \\(line 2\\): is no CSV"),
        ("m.csv", "source,width\n,3\n", "row 0 .*column source: is empty"),
        ("m.jsonl", "[1]\n", "row 0 \\(line 1\\): is not a JSON object"),
        ("m.jsonl", '{"source": "a.png"}\n{"source": \n', "row 1 \\(line 2\\): is no JSON"),
        ("m.jsonl", "[" * 100_000 + "\n", "row 0 \\(line 1\\): is no JSON"),
        ("m.jsonl", '{"source": 3}\n', "column source: 3 is not text"),
        ("m.jsonl", '{"width": 3}\n', "row 0 .line 1. has no column `source`"),
        (
            "m.jsonl",
            '{"source": "a.png"}\n{"source": "a.png", "widht": 3}\n',
            "row 1 .line 2., column 'widht' is not known",
        ),
        ("m.jsonl", '{"source": "a.png", "outscale": NaN}\n{"source": "a.png", "outscale": Infinity}', "row 1"),
        ("m.txt", "caf\xe9.png", "row 0 \\(line 1\\): is not UTF-8"),
        ("m.txt", "a.png\n" + "x" * (2 << 20), "row 1 \\(line 2\\): is longer than"),
        ("m.parquet", "PAR1", "is no Parquet"),
    ],
)
def test_a_broken_manifest_says_where(tmp_path: Path, name: str, content: str, found: str) -> None:
    (tmp_path / name).write_bytes(content.encode("latin-1"))
    with pytest.raises(ManifestError, match=found):
        rows(tmp_path / name)


@pytest.mark.parametrize("name", ["gone.csv", "gone", "gone/"])
def test_a_manifest_that_is_not_there_is_an_error_and_not_an_empty_run(tmp_path: Path, name: str) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        rows(tmp_path / name)


def test_rows_are_read_lazily_and_limited(tmp_path: Path) -> None:
    manifest = tmp_path / "m.csv"
    manifest.write_text("source,width\na.png,1\nb.png,2\nc.png,wrong\n")
    assert len(rows(manifest, limit=2)) == 2
    assert rows(manifest, limit=0) == []
    reading = read_manifest(str(manifest))
    assert [next(reading).index, next(reading).index] == [0, 1]
    with pytest.raises(ManifestError):
        next(reading)


def test_root_moves_relative_sources_and_leaves_absolute_ones(tmp_path: Path) -> None:
    manifest = tmp_path / "m.txt"
    manifest.write_text(f"./a/b.png\n{tmp_path}/elsewhere/c.png\n{tmp_path}/root/d.png\ns3://bucket/k//e.png\n")
    found = rows(manifest, root=str(tmp_path / "root"))
    assert [row.source_url for row in found] == [
        f"{tmp_path}/root/a/b.png",
        f"{tmp_path}/elsewhere/c.png",
        f"{tmp_path}/root/d.png",
        "s3://bucket/k//e.png",
    ]
    outside = f"_file{tmp_path}/elsewhere/c.png"
    assert [row.relative_path for row in found] == ["a/b.png", outside, "d.png", "_s3/bucket/k/e.png"]


def test_objects_below_a_remote_root_keep_their_tree(tmp_path: Path) -> None:
    manifest = tmp_path / "m.txt"
    manifest.write_text(
        "a b/c?.png\nS3://bucket/prefix/d#.png\ns3://bucket/prefixed/e.png\ncos://other-1250000000/f.png\n"
    )
    found = rows(manifest, root="s3://bucket/prefix/")
    assert [(row.source_url, row.relative_path) for row in found] == [
        ("s3://bucket/prefix/a b/c?.png", "a b/c?.png"),
        ("s3://bucket/prefix/d#.png", "d#.png"),
        ("s3://bucket/prefixed/e.png", "_s3/bucket/prefixed/e.png"),
        ("cos://other-1250000000/f.png", "_cos/other-1250000000/f.png"),
    ]


def test_file_urls_are_unquoted_and_plain_paths_are_not(tmp_path: Path) -> None:
    manifest = tmp_path / "m.txt"
    manifest.write_text(f"file://{tmp_path}/a%20b.png\na%20b.png\n")
    assert [row.relative_path for row in rows(manifest)] == ["a b.png", "a%20b.png"]


def plant(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture")


def test_a_folder_is_its_pictures_sorted_and_nothing_else(tmp_path: Path) -> None:
    plant(tmp_path, "b.png", "a/z.JPG", "a/y.tiff", "notes.txt", ".hidden.png", ".cache/x.png", "c.gif", "png")
    plant(tmp_path, "d.apng")
    plant(tmp_path, "farm-out/b_4x.png", "older/.farm/ledger", "older/b_4x.png")
    found = rows(tmp_path)
    assert [row.relative_path for row in found] == ["a/y.tiff", "a/z.JPG", "b.png", "c.gif", "d.apng"]
    assert {row.bytes for row in found} == {7}
    assert [row.relative_path for row in rows(tmp_path, out=str(tmp_path / "a"))][-1] == "farm-out/b_4x.png"


@pytest.mark.parametrize("name", ["a.apng", "b.gif", "c.rmvb", "d.265", "e.f4v", "f.m2t"])
def test_a_picture_or_film_is_a_manifest_of_itself(name: str, tmp_path: Path) -> None:
    plant(tmp_path, name)
    assert [row.relative_path for row in rows(tmp_path / name)] == [name]


def test_names_in_a_folder_survive(tmp_path: Path) -> None:
    plant(tmp_path, *ODD_NAMES)
    assert sorted(row.source_url for row in rows(tmp_path)) == sorted(str(tmp_path / name) for name in ODD_NAMES)


def test_a_folder_that_is_its_own_output_root_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "a.png")
    with pytest.raises(ManifestError, match="is the output root too"):
        rows(tmp_path, out=str(tmp_path))


def test_a_finished_output_root_can_be_the_input_of_another_run(tmp_path: Path) -> None:
    plant(tmp_path, "a_4x.png", ".farm/ledger", "results.parquet")
    assert [row.relative_path for row in rows(tmp_path, out=str(tmp_path.parent / "x16"))] == ["a_4x.png"]


def test_a_very_deep_tree_is_walked(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(1050):  # deeper than Python's own stack, within the longest path
            os.mkdir("d", dir_fd=here)
            deeper = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(os.open("p.png", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    try:
        assert [row.relative_path for row in rows(tmp_path)] == ["d/" * 1050 + "p.png"]
    finally:  # too deep for pytest's own cleaning
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("?.png", ["a.png", "b.png"]),
        ("[ac].*", ["a.png"]),
        ("sub/*", ["sub/c.png"]),
        ("*/*.png", ["sub/c.png"]),
        ("**/*.png", ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]),
        ("**/d*", ["sub/deep/d.png"]),
        ("**", ["a.png", "b.png", "sub/c.png", "sub/deep/d.png"]),
        ("s*/**/*.png", ["sub/c.png", "sub/deep/d.png"]),
        ("*.webp", []),
    ],
)
def test_a_glob_names_pictures_below_its_fixed_part(tmp_path: Path, pattern: str, found: list[str]) -> None:
    plant(tmp_path, "a.png", "b.png", "sub/c.png", "sub/deep/d.png", "notes.txt", "farm-out/a_4x.png")
    base = tmp_path / "sub" if pattern.startswith("sub/") else tmp_path
    urls = [row.source_url for row in rows(f"{tmp_path}/{pattern}")]
    assert urls == [str(tmp_path / name) for name in found]
    assert default_out(f"{tmp_path}/{pattern}") == str(base / "farm-out")


def test_one_picture_is_a_manifest_of_one_row(tmp_path: Path) -> None:
    plant(tmp_path, "star*[1].png", "real/target.jpg")
    (row,) = rows(tmp_path / "star*[1].png")
    assert (row.source_url, row.relative_path) == (str(tmp_path / "star*[1].png"), "star*[1].png")
    (tmp_path / "link.png").symlink_to(tmp_path / "real" / "target.jpg")
    assert rows(tmp_path / "link.png")[0].relative_path == "link.png"
    with pytest.raises(UsageError, match="--root"):
        rows(tmp_path / "link.png", root=str(tmp_path))


def test_the_default_output_root_is_always_the_same_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, "in/a.png", "m.csv")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alias").symlink_to(tmp_path / "in")
    assert default_out("m.csv") == default_out(f"{tmp_path}/in/../m.csv") == str(tmp_path / "farm-out")
    assert default_out("in/a.png") == default_out("in") == default_out("./in/") == default_out("alias")
    assert default_out("in") == str(tmp_path / "in" / "farm-out")
    assert default_out("s3://bucket/list.parquet") == "s3://bucket/farm-out"
    assert default_out("s3://bucket/pictures/") == "s3://bucket/pictures/farm-out"


def test_what_is_neither_is_said_so(tmp_path: Path) -> None:
    plant(tmp_path, "film.docx")
    with pytest.raises(ManifestError, match="neither a manifest nor a picture or film"):
        form_of(str(tmp_path / "film.docx"))
    with pytest.raises(ManifestError, match="scheme 'http' is not read"):
        form_of("http://host/a.png")
    assert form_of("s3://bucket/prefix") is InputForm.FOLDER
    assert form_of("s3://bucket/prefix.parquet") is InputForm.PARQUET


EXAMPLES = Path(__file__).parents[2] / "manifests"


def test_the_examples_that_are_shipped_are_valid() -> None:
    text, table = rows(EXAMPLES / "example.txt"), rows(EXAMPLES / "example.csv")
    assert [row.relative_path for row in text] == ["photos/coffee.png", "photos/my cat.jpg", "scans/page-001.tif"]
    assert (text[0].width, text[0].height) == (600, 400)
    assert table[0].overrides == Overrides(outscale=2.0, format="webp")
    assert (table[1].relative_path, table[1].overrides.output) == ("photos/cup, blue.jpg", "covers/cup.png")
    assert table[2].source_url == "s3://my-bucket/archive/old photo #1.jpg"
    assert table == rows(EXAMPLES / "example.jsonl") == rows(EXAMPLES / "example.parquet")


def test_there_is_an_example_of_every_form_and_all_can_be_read() -> None:
    found = sorted(path for path in EXAMPLES.iterdir() if path.name != "SCHEMA.md")
    assert {path.suffix for path in found} == {f".{form}" for form in MANIFEST_FORMS}
    for path in found:
        entries = list(files.read_entries(str(path), str(EXAMPLES)))
        assert entries, path
        assert all(isinstance(entry.row, ManifestRow) for entry in entries), path
    pairs = list(files.read_entries(str(EXAMPLES / "example-pairs.txt"), str(EXAMPLES)))
    assert [entry.lq_url for entry in pairs] == [f"{EXAMPLES}/lq/coffee.png", f"{EXAMPLES}/lq/my cat.jpg"]


def test_the_schema_names_every_column_and_limit() -> None:
    schema = (Path(__file__).parents[2] / "manifests" / "SCHEMA.md").read_text()
    assert all(f"`{name}`" in schema for name in (*columns.COLUMNS, *columns.DATA_TASKS))
    assert (forms.MAX_LINE_BYTES, pages.MAX_PAGE_BYTES, pages.MAX_CHUNK_BYTES) == (1 << 20, 64 << 20, 256 << 20)
    assert (columns.MAX_TAGS, table.MAX_GROUP_TAGS) == (1000, 10_000_000)
    limits = ("1 MiB", "64 MiB", "256 MiB", f"{table.MAX_ROWS_PER_BYTE} rows a byte", "1000 tags", "10 million")
    assert all(limit in schema for limit in limits)
