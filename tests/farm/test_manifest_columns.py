"""What a row may ask for beside its source: tasks, strength, faces, priority, tags, pairs; the same in every form."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farm.errors import ManifestError
from farm.manifest import files, read_manifest
from farm.manifest.columns import DATA_TASKS
from farm.records import ManifestRow, RefusedRow

FORMS = ("parquet", "csv", "jsonl")
Table = dict[str, list[object]]


def write(path: Path, table: Table) -> str:
    """The same table in the form that the extension says."""
    lines = [dict(zip(table, values, strict=True)) for values in zip(*table.values(), strict=True)]
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    else:
        quoted = [['"' + _field(value) + '"' for value in line.values()] for line in lines]
        path.write_text("\n".join(",".join(fields) for fields in [list(table), *quoted]) + "\n")
    return str(path)


def _field(value: object) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "" if value is None else str(value).replace('"', '""')


def rows(url: str) -> list[ManifestRow]:
    found = list(read_manifest(url))
    assert all(isinstance(row, ManifestRow) for row in found), found
    return [row for row in found if isinstance(row, ManifestRow)]


@pytest.mark.parametrize("form", FORMS)
def test_a_row_carries_its_strength_priority_and_tags(tmp_path: Path, form: str) -> None:
    table: Table = {
        "source": ["a.png", "b.png", "c.png"],
        "task": ["upscale", None, "upscale"],
        "denoise": [0.5, None, 1],
        "face": [False, None, False],
        "priority": [7, None, -3],
        "tags": [["night", "two words"], None, []],
    }
    first, second, third = rows(write(tmp_path / f"m.{form}", table))
    assert [row.overrides.denoise for row in (first, second, third)] == [0.5, None, 1.0]
    assert [row.priority for row in (first, second, third)] == [7, 0, -3]
    assert [row.tags for row in (first, second, third)] == [("night", "two words"), (), ()]
    assert {row.task for row in (first, second, third)} == {"upscale"}


@pytest.mark.parametrize("form", FORMS)
def test_tags_are_text_with_commas_too(tmp_path: Path, form: str) -> None:
    table: Table = {"source": ["a.png", "b.png"], "tags": [" red, two words ,red,,", None]}
    assert [row.tags for row in rows(write(tmp_path / f"m.{form}", table))] == [("red", "two words"), ()]


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_a_tag_holds_no_comma_because_text_could_not_say_it(tmp_path: Path, form: str) -> None:
    table: Table = {"source": ["a.png"], "tags": [["a,b"]]}
    with pytest.raises(ManifestError, match=r"row 0.*column tags: .*a tag with a comma"):
        rows(write(tmp_path / f"m.{form}", table))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("task", DATA_TASKS)
def test_rows_of_one_manifest_may_ask_for_different_tasks(tmp_path: Path, form: str, task: str) -> None:
    url = write(tmp_path / f"m.{form}", {"source": ["a.png", "b.png"], "task": [None, task]})
    assert [row.task for row in rows(url)] == ["upscale", task]
    assert [entry.values.get("task") for entry in files.read_entries(url, str(tmp_path))] == [None, task]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["pack", "film"])
def test_a_manifest_names_no_kind_of_our_own(tmp_path: Path, form: str, kind: str) -> None:
    with pytest.raises(ManifestError, match=rf"column kind: '{kind}' is not one of image, video"):
        rows(write(tmp_path / f"m.{form}", {"source": ["a.png"], "kind": [kind]}))


@pytest.mark.parametrize("form", FORMS)
def test_a_task_that_nobody_knows_is_another_error(tmp_path: Path, form: str) -> None:
    with pytest.raises(ManifestError, match="column task: 'upscael' is not one of upscale, degrade"):
        rows(write(tmp_path / f"m.{form}", {"source": ["a.png"], "task": ["upscael"]}))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", [True, "true", 1, "1"])
def test_faces_are_refused_until_they_are_built(tmp_path: Path, form: str, value: object) -> None:
    with pytest.raises(ManifestError, match=r"row 1.*column face: .* is not built yet"):
        rows(write(tmp_path / f"m.{form}", {"source": ["a.png", "b.png"], "face": [None, value]}))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("value", ["maybe", 2, [True]])
def test_a_face_is_true_or_false(tmp_path: Path, form: str, value: object) -> None:
    with pytest.raises(ManifestError, match="column face"):
        rows(write(tmp_path / f"m.{form}", {"source": ["a.png"], "face": [value]}))


@pytest.mark.parametrize("form", FORMS)
def test_a_pair_is_data_and_nothing_to_upscale(tmp_path: Path, form: str) -> None:
    url = write(tmp_path / f"m.{form}", {"source": ["gt/a b.png", "gt/c.png"], "lq": [None, "lq/c, d.png"]})
    with pytest.raises(ManifestError, match=r"row 1.*column lq: 'lq/c, d\.png' .*pair of training data"):
        rows(url)
    entries = list(files.read_entries(url, str(tmp_path)))
    assert [entry.lq_url for entry in entries] == [None, f"{tmp_path}/lq/c, d.png"]


def test_pairs_of_meta_info_keep_spaces_commas_and_sizes(tmp_path: Path) -> None:
    lines = ["gt/a b.png, lq/a b.png", "gt/c, d.png, lq/c.png", "gt/e.png, lq/e.png (10,20,3)", "no, pair.png"]
    (tmp_path / "m.txt").write_text("\n".join(lines))
    entries = list(files.read_entries(str(tmp_path / "m.txt"), str(tmp_path)))
    found = [(entry.row.relative_path, entry.lq_url) for entry in entries if isinstance(entry.row, ManifestRow)]
    assert found == [
        ("gt/a b.png", f"{tmp_path}/lq/a b.png"),
        ("gt/c, d.png", f"{tmp_path}/lq/c.png"),
        ("gt/e.png", f"{tmp_path}/lq/e.png"),
        ("no, pair.png", None),
    ]
    assert entries[2].values == {"height": 10, "width": 20}


def test_a_pair_with_a_hostile_second_path_is_a_refused_row(tmp_path: Path) -> None:
    (tmp_path / "m.txt").write_text("gt/a.png, ../lq/a.png\n")
    (entry,) = files.read_entries(str(tmp_path / "m.txt"), str(tmp_path))
    assert isinstance(entry.row, RefusedRow)


@pytest.mark.parametrize("form", FORMS)
def test_each_wrong_row_is_reported_and_the_others_are_read(tmp_path: Path, form: str) -> None:
    url = write(tmp_path / f"m.{form}", {"source": ["a.png", "b.png", "c.png", ""], "width": ["1", "wrong", "3", "4"]})
    wrong: list[ManifestError] = []
    entries = list(files.read_entries(url, str(tmp_path), report=wrong.append))
    assert [entry.row.index for entry in entries] == [0, 2]
    assert ["column width" in str(wrong[0]), "row 3" in str(wrong[1])] == [True, True]
    assert all(f"m.{form}: row" in str(one) for one in wrong)


def test_what_a_row_says_is_kept_with_the_users_own_columns(tmp_path: Path) -> None:
    table: Table = {"source": ["a.png"], "bytes": ["12"], "tags": ["x,y"], "x_a": ["1"], "x_b": [""], "x_c": ["3"]}
    (entry,) = files.read_entries(write(tmp_path / "m.csv", table), str(tmp_path), own=["x_a", "x_b"])
    assert entry.values == {"bytes": 12, "tags": ("x", "y"), "x_a": "1"}


def test_a_parquet_footer_says_how_many_rows_there_are(tmp_path: Path) -> None:
    table: Table = {"source": [f"{at}.png" for at in range(1234)]}
    assert files.count_rows(write(tmp_path / "m.parquet", table)) == 1234
    assert files.count_rows(write(tmp_path / "m.csv", table)) is None
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(ManifestError, match="is no Parquet"):
        files.count_rows(str(tmp_path / "bad.parquet"))
