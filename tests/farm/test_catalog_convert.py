"""A manifest in another form says the same; what a form cannot hold is an error, or left out by name."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farm import catalog
from farm.catalog import parquet_table
from farm.catalog.item import Base
from farm.errors import ManifestError, UsageError
from farm.manifest import files, read_manifest
from farm.manifest.rows import Entry
from farm.records import ManifestRow

FORMS = ("parquet", "csv", "jsonl")
ROW: dict[str, object] = {
    **{"source": "gt/a, b.png", "lq": "lq/a b.png", "task": "degrade", "kind": "image", "sha256": "ab" * 32},
    **{"etag": "e-1", "bytes": 10, "width": 640, "height": 480, "output": "o/p.png", "model": "general-x4v3"},
    **{
        "outscale": 3.5,
        "denoise": 0.25,
        "face": True,
        "format": "same",
        "priority": -7,
        "tags": ["night", "two words"],
    },
    **{"x_text": 'quo"te, comma\nnewline\rreturn', "x_whole": 2**53 + 1, "x_number": 0.1, "x_flag": False},
}


def convert(source: object, target: object, **options: object) -> catalog.Written:
    config = catalog.ConvertConfig(source=str(source), target=str(target), **options)  # pyright: ignore[reportArgumentType]
    return catalog.convert(config)


def split(source: object, target: object, **options: object) -> catalog.Written:
    config = catalog.SplitConfig(source=str(source), target=str(target), **options)  # pyright: ignore[reportArgumentType]
    return catalog.split(config)


def jsonl(path: Path, *rows: dict[str, object]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def entries(url: Path, root: Path | None = None) -> list[Entry]:
    own = files.own_names(files.read_columns(str(url)))
    return list(files.read_entries(str(url), str(root or url.parent), own=own))


@pytest.mark.parametrize("middle", FORMS)
@pytest.mark.parametrize("last", FORMS)
def test_nothing_is_lost_from_form_to_form(tmp_path: Path, middle: str, last: str) -> None:
    first = jsonl(tmp_path / "first.jsonl", ROW, {"source": "c.png"}, {"source": "é\n.png", "x_text": "y"})
    convert(first, tmp_path / f"middle.{middle}")
    written = convert(tmp_path / f"middle.{middle}", tmp_path / f"last.{last}")
    assert (written.rows, written.dropped) == (3, set())
    before, after = entries(first), entries(tmp_path / f"last.{last}")
    assert [one.row for one in after] == [one.row for one in before]
    assert [one.lq_url for one in after] == [one.lq_url for one in before]
    if "csv" in (middle, last):  # CSV has text only for what it does not know
        text = {"x_whole": str(2**53 + 1), "x_number": "0.1", "x_flag": "false"}
        assert after[0].values == {**before[0].values, **text}
    else:
        assert [one.values for one in after] == [one.values for one in before]


def test_the_users_own_columns_keep_their_types_in_parquet(tmp_path: Path) -> None:
    table = pa.table(
        {
            "source": ["a.png", "b.png"],
            "x_time": pa.array([1, None], pa.timestamp("us")),
            "x_small": pa.array([1, 2], pa.int16()),
            "x_words": pa.array(["a", "a"]).dictionary_encode(),
            "x_bytes": pa.array([b"\0\xff", None], pa.binary()),
        }
    )
    pq.write_table(table, tmp_path / "m.parquet")
    convert(tmp_path / "m.parquet", tmp_path / "n.parquet")
    found = pq.read_table(tmp_path / "n.parquet")
    assert found.to_pylist() == table.to_pylist()
    kinds = {field.name: str(field.type) for field in found.schema}
    assert kinds["x_time"] == "timestamp[us]"
    assert (kinds["x_small"], kinds["x_words"], kinds["x_bytes"]) == ("int16", "string", "binary")


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_what_text_cannot_say_is_an_error_or_left_out(tmp_path: Path, form: str) -> None:
    table = pa.table({"source": ["a.png"], "x_time": pa.array([1], pa.timestamp("us")), "x_text": ["kept"]})
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"row 0, column x_time: .*--drop"):
        convert(tmp_path / "m.parquet", tmp_path / f"n.{form}")
    assert not (tmp_path / f"n.{form}").exists()
    written = convert(tmp_path / "m.parquet", tmp_path / f"n.{form}", drop=True)
    assert (written.rows, written.dropped) == (1, {"x_time"})
    assert entries(tmp_path / f"n.{form}")[0].values == {"x_text": "kept"}


def test_nested_columns_are_named_before_anything_is_written(tmp_path: Path) -> None:
    pq.write_table(pa.table({"source": ["a.png"], "x_nested": [{"a": 1}], "x_text": ["kept"]}), tmp_path / "m.parquet")
    with pytest.raises(ManifestError, match=r"column x_nested: is struct.*--drop"):
        convert(tmp_path / "m.parquet", tmp_path / "n.parquet")
    written = convert(tmp_path / "m.parquet", tmp_path / "n.parquet", drop=True)
    assert written.dropped == {"x_nested"}
    assert pq.read_table(tmp_path / "n.parquet").to_pylist() == [{"source": "a.png", "x_text": "kept"}]


@pytest.mark.parametrize(
    ("values", "form", "column"),
    [
        ([1, "a"], "parquet", "x_a"),
        ([[1], [2]], "parquet", "x_a"),
        ([2**70, 1], "parquet", "x_a"),
        ([2**60, 0.5], "parquet", "x_a"),
        ([{"a": 1}, None], "csv", "x_a"),
        (["x" * 200_000, None], "csv", "x_a"),
        (["a\0b", None], "csv", "x_a"),
        (["a\ud800", None], "parquet", "x_a"),
        (["a\ud800", None], "csv", "x_a"),
        (["a\ud800", None], "jsonl", "x_a"),
    ],
)
def test_values_that_a_form_has_no_place_for_are_named(
    tmp_path: Path, values: list[object], form: str, column: str
) -> None:
    source = jsonl(tmp_path / "m.jsonl", *({"source": f"{at}.png", column: value} for at, value in enumerate(values)))
    with pytest.raises(ManifestError, match=rf"n\.{form}: row 0, column {column}: "):
        convert(source, tmp_path / f"n.{form}")
    written = convert(source, tmp_path / f"n.{form}", drop=True)
    assert (written.rows, written.dropped) == (2, {column})


def test_json_keeps_json(tmp_path: Path) -> None:
    row: dict[str, object] = {"source": "a.png", "x_a": {"b": [1, None, "c"]}, "x_n": 2**70}
    convert(jsonl(tmp_path / "m.jsonl", row, {"source": "b.png", "x_a": 3}), tmp_path / "n.jsonl")
    assert [json.loads(line) for line in (tmp_path / "n.jsonl").read_text().splitlines()] == [
        row,
        {"source": "b.png", "x_a": 3},
    ]


# -- meta_info -----------------------------------------------------------------------------------------------------


def test_meta_info_becomes_a_table_and_back(tmp_path: Path) -> None:
    lines = ["a b.png", "c.png (480,640)", "gt/d, e.png, lq/d.png", "gt/f.png, lq/f.png (1,2)"]
    (tmp_path / "m.txt").write_text("\n".join(lines) + "\n")
    convert(tmp_path / "m.txt", tmp_path / "m.parquet")
    assert list(pq.read_table(tmp_path / "m.parquet").to_pydict()) == ["source", "lq", "width", "height"]
    convert(tmp_path / "m.parquet", tmp_path / "n.txt")
    assert (tmp_path / "n.txt").read_text().splitlines() == lines
    (tmp_path / "plain.txt").write_text("a.png\n")
    convert(tmp_path / "plain.txt", tmp_path / "plain.csv")
    assert (tmp_path / "plain.csv").read_text() == "source\na.png\n"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"source": "a.png", "outscale": 2}, "outscale"),
        ({"source": "a.png", "width": 3}, "width"),
        ({"source": "a.png", "kind": "video"}, "kind"),
        ({"source": "a.png", "priority": 1}, "priority"),
        ({"source": "a.png", "x_a": "b"}, "x_a"),
    ],
)
def test_meta_info_refuses_what_a_line_has_no_place_for(tmp_path: Path, row: dict[str, object], column: str) -> None:
    source = jsonl(tmp_path / "m.jsonl", {"source": "z.png"}, row)
    with pytest.raises(ManifestError, match=rf"row 1, column {column}: has no place in meta_info"):
        convert(source, tmp_path / "n.txt")
    assert convert(source, tmp_path / "n.txt", drop=True).dropped == {column}
    assert (tmp_path / "n.txt").read_text() == "z.png\na.png\n"


def test_what_goes_without_saying_is_no_loss(tmp_path: Path) -> None:
    row: dict[str, object] = {"source": "a.mp4", "kind": "video", "task": "upscale", "face": False, "priority": 0}
    convert(jsonl(tmp_path / "m.jsonl", row | {"format": "same", "tags": []}), tmp_path / "n.txt")
    assert (tmp_path / "n.txt").read_text() == "a.mp4\n"


@pytest.mark.parametrize("name", ["a\nb.png", "a.png\r", "a (1,2)", "a.png, b.png", "\ufeffa.png"])
def test_a_name_that_a_line_would_say_otherwise_is_refused(tmp_path: Path, name: str) -> None:
    source = jsonl(tmp_path / "m.jsonl", {"source": name}, {"source": "z.png"})
    with pytest.raises(ManifestError, match=r"row 0, column source: .*would not be read back"):
        convert(source, tmp_path / "n.txt")
    written = convert(source, tmp_path / "n.txt", drop=True)
    assert (written.rows, written.left_out) == (1, 1)
    assert (tmp_path / "n.txt").read_text() == "z.png\n"


NAMES = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=8)


@settings(deadline=None)
@given(st.lists(NAMES.map(lambda name: f"d/{name}.png"), min_size=1, max_size=6), st.sampled_from([*FORMS, "txt"]))
def test_any_name_survives_every_form_or_is_refused(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], form: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    source = jsonl(folder / "m.jsonl", *({"source": name} for name in names))
    written = convert(source, folder / f"n.{form}", drop=True)
    found = [row.relative_path for row in read_manifest(str(folder / f"n.{form}")) if isinstance(row, ManifestRow)]
    assert written.rows == len(found)
    assert found == names if form != "txt" else set(found) <= set(names)
    if form == "txt" and not written.left_out:
        assert found == names


# -- where sources lie ---------------------------------------------------------------------------------------------


def test_sources_still_lie_where_they_lay(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    source = jsonl(tmp_path / "data" / "m.jsonl", {"source": "in/a.png"}, {"source": f"{tmp_path}/b.png"})
    urls = [f"{tmp_path}/data/in/a.png", f"{tmp_path}/b.png"]
    for target in ("n.csv", "data/n.csv", "else/where/n.csv"):
        convert(source, tmp_path / target)
        assert [row.source_url for row in read_manifest(str(tmp_path / target)) if isinstance(row, ManifestRow)] == urls
    assert (tmp_path / "data" / "n.csv").read_text() == f"source\nin/a.png\n{tmp_path}/b.png\n"
    assert (tmp_path / "n.csv").read_text() == "source\ndata/in/a.png\nb.png\n"
    convert(source, tmp_path / "n.csv", absolute=True)
    assert (tmp_path / "n.csv").read_text() == "source\n" + "\n".join(urls) + "\n"


def test_a_root_stays_the_root_of_both(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("gt/a.png, lq/a.png\n")
    convert(tmp_path / "m.txt", tmp_path / "else" / "n.csv", root="s3://bucket/data")
    assert (tmp_path / "else" / "n.csv").read_text() == "source,lq\ngt/a.png,lq/a.png\n"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("s3://bk/root/a/b.png", "a/b.png"),
        ("s3://bk/root//a.png", "s3://bk/root//a.png"),
        ("s3://bk/root/a//b.png", "a//b.png"),
        ("s3://bk/root/a/./b.png", "s3://bk/root/a/./b.png"),
        ("s3://bk/other/a.png", "s3://bk/other/a.png"),
        ("s3://bk/rooted/a.png", "s3://bk/rooted/a.png"),
        ("/local/a.png", "/local/a.png"),
    ],
)
def test_relative_text_means_the_same_object(tmp_path: Path, url: str, text: str) -> None:
    assert Base("s3://bk/root").text(url) == text
    (row,) = read_manifest(str(jsonl(tmp_path / "m.jsonl", {"source": text})), root="s3://bk/root")
    assert isinstance(row, ManifestRow)
    assert row.source_url == url


def test_a_row_with_an_unsafe_path_is_an_error_or_left_out(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "m.jsonl", {"source": "a.png"}, {"source": "../b.png"})
    with pytest.raises(ManifestError, match=r"row 1, column source: unsafe_path.*--drop"):
        convert(source, tmp_path / "n.csv")
    assert convert(source, tmp_path / "n.csv", drop=True).left_out == 1


def test_a_manifest_may_be_written_over_itself(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "m.jsonl", *({"source": f"{at}.png", "priority": at % 3} for at in range(7)))
    convert(source, source, sort="priority")
    assert [one.row.index for one in entries(source)] == list(range(7))
    assert [one.values["priority"] for one in entries(source)] == [2, 2, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("sort", ["path", "size", "priority"])
def test_a_manifest_is_written_in_order(tmp_path: Path, sort: str) -> None:
    rows: list[dict[str, object]] = [
        {"source": f"{name}.png", "bytes": size, "priority": priority}
        for name, size, priority in (("c", 1, 5), ("a", 3, -1), ("b", 2, 5), ("d", 9, 0))
    ]
    convert(jsonl(tmp_path / "m.jsonl", *rows), tmp_path / "n.csv", sort=sort)
    found = "".join(Path(str(one.row.relative_path)).stem for one in entries(tmp_path / "n.csv"))  # pyright: ignore
    assert found == {"path": "abcd", "size": "dabc", "priority": "cbda"}[sort]


def test_an_order_that_a_manifest_does_not_know_is_a_usage_error(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "m.jsonl", {"source": "a.png"})
    with pytest.raises(UsageError, match="--sort"):
        convert(source, tmp_path / "n.csv", sort="mtime")
    with pytest.raises(UsageError, match="is a folder and no manifest"):
        convert(tmp_path, tmp_path / "n.csv")


# -- split ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def hundred(tmp_path: Path) -> Path:
    rows: list[dict[str, object]] = [{"source": f"in/{at:03d}.png", "x_at": at} for at in range(100)]
    return jsonl(tmp_path / "m.jsonl", *rows)


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl"])
@pytest.mark.parametrize(
    ("how", "sizes"),
    [
        ({"rows": 30}, [30, 30, 30, 10]),
        ({"rows": 100}, [100]),
        ({"parts": 3}, [34, 33, 33]),
        ({"parts": 1}, [100]),
        ({"parts": 100}, [1] * 100),
        ({"parts": 101}, [1] * 100),
    ],
)
def test_parts_together_are_the_manifest(
    tmp_path: Path, hundred: Path, form: str, how: dict[str, int], sizes: list[int]
) -> None:
    written = split(hundred, tmp_path / "parts", form=form, **how)
    names = [f"part-{at:05d}.{form}" for at in range(len(sizes))]
    assert written.parts == [str(tmp_path / "parts" / name) for name in names]
    assert sorted(path.name for path in (tmp_path / "parts").iterdir()) == names
    found = [entries(Path(url)) for url in written.parts]
    assert [len(part) for part in found] == sizes
    assert [one.row.source_url for part in found for one in part] == [  # pyright: ignore
        f"{tmp_path}/in/{at:03d}.png" for at in range(100)
    ]
    assert written.rows == 100


def test_parts_of_parquet_are_counted_from_its_footer(tmp_path: Path, hundred: Path) -> None:
    convert(hundred, tmp_path / "m.parquet")
    assert [pq.read_metadata(one).num_rows for one in split(tmp_path / "m.parquet", tmp_path / "p", parts=3).parts] == [
        34,
        33,
        33,
    ]


def test_a_second_split_does_not_mix_with_the_first(tmp_path: Path, hundred: Path) -> None:
    split(hundred, tmp_path / "parts", rows=10)
    with pytest.raises(UsageError, match=r"part-00000\.parquet: is there already"):
        split(hundred, tmp_path / "parts", rows=50, form="csv")
    assert len(list((tmp_path / "parts").iterdir())) == 10


def test_a_split_that_fails_leaves_no_part(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"source": f"{at}.png", "outscale": 2 if at < 8 else 99} for at in range(10)]
    with pytest.raises(ManifestError, match="column outscale"):
        split(jsonl(tmp_path / "m.jsonl", *rows), tmp_path / "parts", rows=2)
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.parametrize("how", [{}, {"rows": 1, "parts": 1}, {"rows": 0}, {"parts": -1}, {"rows": 1, "form": "xls"}])
def test_a_split_wants_one_measure(tmp_path: Path, hundred: Path, how: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"--rows|--form"):
        split(hundred, tmp_path / "parts", **how)


def test_many_rows_are_written_in_groups(tmp_path: Path, hundred: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_table, "GROUP_ROWS", 40)
    convert(hundred, tmp_path / "m.parquet")
    assert pq.read_metadata(tmp_path / "m.parquet").num_row_groups == 3
