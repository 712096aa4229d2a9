"""A scanned folder runs as the folder itself would; what is old, no medium or elsewhere is told and left out."""

from __future__ import annotations

import os
import time
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pyvips

from farm import catalog
from farm.catalog import order, parquet_table
from farm.catalog.item import Item
from farm.catalog.look import kind_by_content
from farm.catalog.order import SORTS
from farm.config import MANIFEST_SORTS, SCAN_SORTS
from farm.errors import ItemError, ManifestError, UsageError
from farm.kinds import MediaKind
from farm.manifest import Row, read_manifest
from farm.records import ManifestRow

NAMES = ("a b.png", "-c,%20#?.jpg", "sub/quo\"te's.png", "sub/new\nline.png", "é/ü.webp")


def sources(rows: list[Row]) -> list[str]:
    return [row.source_url for row in rows if isinstance(row, ManifestRow)]


def scan(source: object, target: object, **options: object) -> catalog.Written:
    config = catalog.ScanConfig(source=str(source), target=str(target), **options)  # pyright: ignore[reportArgumentType]
    return catalog.scan(config)


def read(url: object, root: object = None) -> list[ManifestRow]:
    rows = list(read_manifest(str(url), root=None if root is None else str(root)))
    assert all(isinstance(row, ManifestRow) for row in rows), rows
    return [row for row in rows if isinstance(row, ManifestRow)]


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
    url = tmp_path / place / f"m.{form}"
    written = scan(pictures, url, absolute=absolute)
    assert (written.url, written.rows, written.left_out) == (str(url.resolve()), 5, 0)
    assert (written.kinds[MediaKind.IMAGE], written.bytes) == (5, sum(range(5)))
    direct, listed = read(pictures), read(url)
    assert sources(list(listed)) == sources(list(direct))
    assert [row.bytes for row in listed] == [row.bytes for row in direct]


def test_columns_are_source_kind_and_bytes_relative_to_the_folder(pictures: Path) -> None:
    scan(pictures, pictures / "m.parquet")
    table = pq.read_table(pictures / "m.parquet").to_pydict()
    assert list(table) == ["source", "kind", "bytes"]
    assert sorted(table["source"]) == sorted(NAMES)
    assert set(table["kind"]) == {"image"}


def test_a_root_makes_sources_relative_to_it(tmp_path: Path, pictures: Path) -> None:
    url = tmp_path / "lists" / "m.csv"
    scan(pictures, url, root=str(pictures))
    listed = read(url, pictures)
    assert sources(list(listed)) == sources(list(read(pictures)))
    assert sorted(row.relative_path for row in listed) == sorted(NAMES)


def test_text_holds_the_paths_that_a_line_can_hold(tmp_path: Path, pictures: Path) -> None:
    written = scan(pictures, pictures / "m.txt")
    assert (written.rows, written.left_out) == (4, 1)
    assert "new" in written.reasons[0]
    assert [row.relative_path for row in read(pictures / "m.txt")] == ["-c,%20#?.jpg", "a b.png", NAMES[2], NAMES[4]]


def test_a_manifest_moves_together_with_its_pictures(tmp_path: Path, pictures: Path) -> None:
    scan(pictures, pictures / "m.parquet")
    moved = pictures.rename(tmp_path / "moved")
    assert all(Path(row.source_url).is_file() for row in read(moved / "m.parquet"))


def test_what_is_refused_is_told_and_left_out(tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "elsewhere.png").touch()
    (pictures / "link.png").symlink_to(tmp_path / "elsewhere.png")
    written = scan(pictures, tmp_path / "m.csv")
    assert (written.rows, written.left_out) == (5, 1)
    assert str(pictures / "link.png") in written.reasons[0]


def test_large_folders_are_written_in_row_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    monkeypatch.setattr(parquet_table, "GROUP_ROWS", 2)
    scan(pictures, tmp_path / "m.parquet")
    assert pq.read_metadata(tmp_path / "m.parquet").num_row_groups == 3
    assert len(read(tmp_path / "m.parquet")) == 5


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "txt"])
def test_a_failed_scan_leaves_no_manifest(tmp_path: Path, form: str) -> None:
    (tmp_path / "m.csv").write_text("source,width\na.png,1\nb.png,wrong\n")
    (tmp_path / "a.png").touch()
    with pytest.raises(ManifestError):
        scan(tmp_path / "m.csv", tmp_path / f"n.{form}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.png", "m.csv"]


def test_what_cannot_be_scanned_or_written_is_said_at_once(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UsageError, match="no folder, prefix, glob or manifest"):
        scan(pictures / "a b.png", tmp_path / "m.csv")
    with pytest.raises(UsageError, match=r"cannot be written; use one of \.parquet, \.csv, \.jsonl, \.txt"):
        scan(pictures, tmp_path / "m.xlsx")
    with pytest.raises(UsageError, match="--absolute: contradicts --root"):
        scan(pictures, tmp_path / "m.csv", root="x", absolute=True)


# -- looking into files --------------------------------------------------------------------------------------------


def picture(path: Path, width: int, height: int, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pyvips.Image.black(width, height, bands=3).copy(interpretation="srgb").write_to_file(str(path), **options)
    return path


def film(path: Path, width: int = 64, height: int = 48, codec: str = "mpeg4", form: str | None = None) -> Path:
    with av.open(str(path), "w", format=form) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(np.zeros((height, width, 3), np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Files whose names say little about them."""
    folder = tmp_path / "mixed"
    folder.mkdir()
    picture(folder / "a.png", 30, 20).rename(folder / "picture")
    picture(folder / "b.jpg", 31, 21).rename(folder / "named.mp4")
    film(folder / "f.mp4").rename(folder / "film")
    film(folder / "g.mkv").rename(folder / "named.png")
    picture(folder / "right.webp", 32, 22)
    (folder / "page.jpg").write_text("<!doctype html><title>503</title>")
    (folder / "empty.tif").touch()
    (folder / "notes.txt").write_text("nothing")
    (folder / "table.csv").write_text("a,b\n1,2\n")
    return folder


def test_the_first_bytes_decide_where_they_are_asked(tmp_path: Path, mixed: Path) -> None:
    written = scan(mixed, mixed / "m.csv", sniff=True)
    found = {row.relative_path: row.kind.value for row in read(mixed / "m.csv")}
    assert found == {
        **{"picture": "image", "named.mp4": "image", "right.webp": "image"},
        **{"film": "video", "named.png": "video"},
    }
    assert written.left_out == 2
    assert sorted(reason.partition(":")[0] for reason in written.reasons) == ["empty_input", "not_an_image"]
    by_name = scan(mixed, tmp_path / "n.csv")
    assert by_name.rows == 5


@pytest.mark.parametrize(
    ("form", "codec", "suffix"),
    [
        ("mp4", "mpeg4", "mp4"),
        ("matroska", "mpeg4", "mkv"),
        ("avi", "mpeg4", "avi"),
        ("mpegts", "mpeg2video", "ts"),
        ("mpeg", "mpeg2video", "mpg"),
        ("flv", "flv1", "flv"),
        ("asf", "mpeg4", "wmv"),
        ("nut", "mpeg4", "nut"),
        ("mxf", "mpeg2video", "mxf"),
        ("yuv4mpegpipe", "wrapped_avframe", "y4m"),
        ("mpeg2video", "mpeg2video", "m2v"),
    ],
)
def test_films_of_every_container_are_known_by_their_first_bytes(
    tmp_path: Path, form: str, codec: str, suffix: str
) -> None:
    path = film(tmp_path / f"f.{suffix}", 160, 128, codec, form)
    assert kind_by_content(path.read_bytes()[:4096], "no-name") is MediaKind.VIDEO


@pytest.mark.parametrize("form", ["png", "jpg", "webp", "tif", "gif", "avif"])
def test_pictures_of_every_format_are_known_by_their_first_bytes(tmp_path: Path, form: str) -> None:
    assert kind_by_content(picture(tmp_path / f"p.{form}", 40, 30).read_bytes()[:4096], "no-name") is MediaKind.IMAGE


def test_what_is_neither_is_nothing_unless_its_name_claims_to_be() -> None:
    assert kind_by_content(b"words", "notes") is None
    assert kind_by_content(b"\0\0\0\x20ftypM4A ", "song.m4a") is None
    with pytest.raises(ItemError, match="not_an_image"):
        kind_by_content(b"words", "notes.png")
    with pytest.raises(ItemError, match="unsupported"):
        kind_by_content(b"BM" + b"\0" * 40, "no-name")


@pytest.mark.parametrize("form", ["parquet", "csv", "jsonl", "txt"])
def test_a_probe_reads_sizes_upright(tmp_path: Path, form: str) -> None:
    for at, suffix in enumerate(("png", "jpg", "webp", "tif", "gif", "avif")):
        picture(tmp_path / "in" / f"{suffix}.{suffix}", 40 + at, 30)
    turned = pyvips.Image.new_from_file(str(tmp_path / "in" / "jpg.jpg")).copy()
    turned.set_type(pyvips.GValue.gint_type, "orientation", 6)
    turned.write_to_file(str(tmp_path / "in" / "turned.jpg"))
    film(tmp_path / "in" / "film.mp4", 64, 48)
    (tmp_path / "in" / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    written = scan(tmp_path / "in", tmp_path / "in" / f"m.{form}", probe=True)
    assert (written.rows, written.unsized) == (9, 1)
    sizes = {row.relative_path: (row.width, row.height) for row in read(tmp_path / "in" / f"m.{form}")}
    assert sizes == {
        **{
            f"{suffix}.{suffix}": (40 + at, 30)
            for at, suffix in enumerate(("png", "jpg", "webp", "tif", "gif", "avif"))
        },
        **{"turned.jpg": (30, 41), "film.mp4": (64, 48), "cut.png": (None, None)},
    }


# -- what is new ---------------------------------------------------------------------------------------------------


def aged(path: Path, seconds: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - seconds, time.time() - seconds))
    return path


def names(url: Path) -> list[str]:
    return [Path(row.source_url).name for row in read(url)]


@pytest.mark.parametrize(
    ("since", "new"),
    [
        ("30m", ["now.png"]),
        ("2h", ["hour.png", "now.png"]),
        ("9d", ["days.png", "hour.png", "now.png"]),
        ("52w", ["days.png", "hour.png", "now.png"]),
        ("2020-01-31", ["days.png", "hour.png", "now.png"]),
        ("2020-01-31T18:00:00Z", ["days.png", "hour.png", "now.png"]),
        ("2999-01-01", []),
    ],
)
def test_since_takes_what_changed_then_or_later(tmp_path: Path, since: str, new: list[str]) -> None:
    for name, seconds in (("now", 0), ("hour", 3600), ("days", 8 * 86400)):
        aged(tmp_path / "in" / f"{name}.png", seconds)
    written = scan(tmp_path / "in", tmp_path / "m.csv", since=since)
    assert names(tmp_path / "m.csv") == new
    assert written.unchanged == 3 - len(new)


@pytest.mark.parametrize("since", ["yesterday", "7", "7y", "2026-13-01", ""])
def test_a_time_that_nobody_understands_is_a_usage_error(tmp_path: Path, since: str) -> None:
    with pytest.raises(UsageError, match="--since"):
        scan(tmp_path, tmp_path / "m.csv", since=since)
    assert not (tmp_path / "m.csv").exists()


def results(path: Path, rows: list[dict[str, object]], *, versions: bool) -> Path:
    columns: dict[str, pa.DataType] = {"source": pa.string(), "status": pa.string(), "finished_unix": pa.float64()}
    if versions:
        columns["source_version"] = pa.string()
    table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in columns.items()})
    pq.write_table(table, path)
    return path


@pytest.mark.parametrize("place", ["results.parquet", "."])
def test_only_what_is_not_done_as_it_is_now_is_taken(tmp_path: Path, place: str) -> None:
    old = {name: aged(tmp_path / "in" / f"{name}.png", 3600) for name in ("same", "changed", "failed", "hashed")}
    aged(tmp_path / "in" / "new.png", 3600)
    version = {name: f"stat:{path.stat().st_size}:{path.stat().st_mtime_ns}" for name, path in old.items()}
    version |= {"changed": "stat:1:1", "hashed": "sha256:" + "0" * 64}
    rows: list[dict[str, object]] = [
        {"source": str(path), "status": "failed" if name == "failed" else "done", "finished_unix": time.time()}
        | {"source_version": version[name]}
        for name, path in old.items()
    ]
    results(tmp_path / "results.parquet", rows, versions=True)
    written = scan(tmp_path / "in", tmp_path / "m.csv", newer_than=str(tmp_path / place))
    assert names(tmp_path / "m.csv") == ["changed.png", "failed.png", "new.png"]
    assert written.unchanged == 2  # what was known by its sha256 counts by the time it was finished


def test_a_source_of_which_one_row_failed_is_new_although_another_is_done(tmp_path: Path) -> None:
    path = aged(tmp_path / "in" / "a.png", 3600)
    said = {"source": str(path), "finished_unix": time.time()}
    said["source_version"] = f"stat:{path.stat().st_size}:{path.stat().st_mtime_ns}"
    rows: list[dict[str, object]] = [{**said, "status": "done"}, {**said, "status": "failed"}]
    results(tmp_path / "results.parquet", rows, versions=True)
    scan(tmp_path / "in", tmp_path / "m.csv", newer_than=str(tmp_path))
    assert names(tmp_path / "m.csv") == ["a.png"]


@pytest.mark.parametrize("text", ["999999d", "999999999w", "0001-01-01", "soon"])
def test_a_time_that_means_nothing_is_a_usage_error(tmp_path: Path, text: str) -> None:
    aged(tmp_path / "in" / "a.png", 3600)
    with pytest.raises(UsageError, match="--since"):
        scan(tmp_path / "in", tmp_path / "m.csv", since=text)


def test_without_versions_the_time_decides(tmp_path: Path) -> None:
    before, after = aged(tmp_path / "in" / "before.png", 3600), aged(tmp_path / "in" / "after.png", 60)
    rows: list[dict[str, object]] = [
        {"source": str(before), "status": "done", "finished_unix": time.time() - 7200},
        {"source": str(before), "status": "done", "finished_unix": time.time() - 1800},
        {"source": str(after), "status": "done", "finished_unix": time.time() - 1800},
    ]
    scan(tmp_path / "in", tmp_path / "m.csv", newer_than=str(results(tmp_path / "r.parquet", rows, versions=False)))
    assert names(tmp_path / "m.csv") == ["after.png"]


def test_results_without_a_row_leave_everything_to_do(tmp_path: Path) -> None:
    aged(tmp_path / "in" / "a.png", 0)
    for versions in (False, True):
        empty = results(tmp_path / "r.parquet", [], versions=versions)
        assert scan(tmp_path / "in", tmp_path / "m.csv", newer_than=str(empty)).rows == 1


def test_what_is_no_result_manifest_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    pq.write_table(pa.table({"source": ["a"], "status": ["done"]}), tmp_path / "other.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 no")
    for name, found in (("other.parquet", "no column finished_unix"), ("bad.parquet", "is no result manifest")):
        with pytest.raises(ManifestError, match=found):
            scan(tmp_path, tmp_path / "m.csv", newer_than=str(tmp_path / name))
    with pytest.raises(ManifestError, match=r"results\.parquet"):
        scan(tmp_path, tmp_path / "m.csv", newer_than=str(tmp_path / "gone"))


# -- order ---------------------------------------------------------------------------------------------------------


def test_every_order_that_can_be_asked_for_is_there() -> None:
    assert set(SORTS) == set(SCAN_SORTS) == {*MANIFEST_SORTS, "mtime"}


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        (None, ["a/z.png", "b.png", "c.png"]),
        ("path", ["a/z.png", "b.png", "c.png"]),
        ("size", ["c.png", "a/z.png", "b.png"]),
        ("mtime", ["b.png", "c.png", "a/z.png"]),
        ("priority", ["a/z.png", "b.png", "c.png"]),
    ],
)
def test_a_scan_is_written_in_the_order_that_is_asked_for(tmp_path: Path, sort: str | None, found: list[str]) -> None:
    for name, seconds, size in (("a/z.png", 300, 5), ("b.png", 100, 1), ("c.png", 200, 9)):
        path = aged(tmp_path / name, seconds)
        path.write_bytes(b"x" * size)
        os.utime(path, (time.time() - seconds, time.time() - seconds))
    scan(tmp_path, tmp_path / "m.csv", sort=sort)
    assert [row.relative_path for row in read(tmp_path / "m.csv")] == found


def item(index: int, size: int, priority: int = 0) -> Item:
    name = f"{index:05d}.png"
    row = ManifestRow(index=index, source_url=f"/{name}", relative_path=name, bytes=size, priority=priority)
    return Item(row=row, values={"bytes": size})


def test_more_rows_than_a_run_are_sorted_through_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(order, "_RUN_ROWS", 100)
    monkeypatch.setattr(order, "_BATCH_ROWS", 7)
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path))
    items = [item(at, (at * 7919) % 50, (at * 104729) % 3) for at in range(1234)]
    for name, key in SORTS.items():
        assert list(order.in_order(iter(items), key)) == sorted(items, key=key), name
    assert list(tmp_path.iterdir()) == []


# -- manifests that are looked at again ----------------------------------------------------------------------------


def test_a_manifest_is_scanned_as_its_sources_are_now(tmp_path: Path) -> None:
    picture(tmp_path / "in" / "a.png", 30, 20)
    picture(tmp_path / "in" / "b.png", 40, 20)
    lines = ["source,bytes,priority,x_mine", "in/a.png,1,2,first", "in/gone.png,,,", "in/b.png,,9,", "../c.png,,,"]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    written = scan(tmp_path / "m.csv", tmp_path / "n.parquet", probe=True, sort="priority")
    assert (written.rows, written.left_out) == (2, 2)
    assert sorted(reason.partition(":")[0] for reason in written.reasons) == ["missing", "unsafe_path"]
    table = pq.read_table(tmp_path / "n.parquet").to_pylist()
    assert [row["source"] for row in table] == ["in/b.png", "in/a.png"]
    assert [(row["priority"], row["x_mine"], row["width"]) for row in table] == [(9, None, 40), (2, "first", 30)]
    assert table[1]["bytes"] == (tmp_path / "in" / "a.png").stat().st_size


def test_a_manifest_elsewhere_says_that_its_outputs_would_lie_elsewhere(tmp_path: Path) -> None:
    aged(tmp_path / "in" / "deep" / "a.png", 60)
    aged(tmp_path / "in" / "b.png", 60)
    folder = [row.relative_path for row in read(tmp_path / "in")]
    outside = scan(tmp_path / "in", tmp_path / "m.csv")
    assert outside.advice
    assert f"--root {tmp_path / 'in'}" in outside.advice
    assert [row.relative_path for row in read(tmp_path / "m.csv")] != folder
    rooted = scan(tmp_path / "in", tmp_path / "m.csv", root=str(tmp_path / "in"))
    inside = scan(tmp_path / "in", tmp_path / "in" / "m.csv")
    assert rooted.advice is None
    assert inside.advice is None
    assert [row.relative_path for row in read(tmp_path / "m.csv", root=tmp_path / "in")] == folder
    assert [row.relative_path for row in read(tmp_path / "in" / "m.csv")] == folder
