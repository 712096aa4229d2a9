"""A pack's join: what is published, where, in which order and with which bytes, on every store and in every form."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pyarrow import parquet

from farm import failpoints, storage
from farm.errors import DiskError, ErrorKind, ItemError, UsageError
from farm.sample import FORMS, SourceReport
from farm.shards import check_form, read_part, strip_data, tree_path, write_pack
from farm.shards.table import GROUP_BYTES
from tests.farm.packs import ROLES, expected, files_below, member, pair, reports, row, spec, write
from tests.stores import KINDS, Store, opened, output

_DATA = {
    "tree": [],
    "tar": ["shards/part-0.tar"],
    "lmdb": [f"lmdb/{role}_part-0.lmdb/{name}" for role in ROLES for name in ("data.mdb", "meta_info.txt")],
    "parquet": [],
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with opened(request.param, tmp_path, monkeypatch) as found:
        yield found


@pytest.fixture(autouse=True)
def _fresh_failpoints() -> Iterator[None]:
    failpoints.reset()
    yield
    failpoints.reset()


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_is_published_and_says_what_it_is(form: str, store: Store) -> None:
    written = write(form, store.root)
    part = written.part
    assert [one.path for one in part.files] == [*_DATA[form], "samples/part-0.parquet", "sources/part-0.parquet"]
    assert (part.done, part.skipped, part.failed, part.sources, part.samples) == (3, 1, 1, 5, 6)
    assert part.member_bytes == sum(len(one.data) for sample in expected(1) for one in sample.members)
    for file in part.files:
        data = storage.read_bytes(storage.join(store.root, file.path))
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file.bytes, file.sha256)
    last = part.files[-1]
    assert written.published == storage.Published(
        url=storage.join(store.root, last.path), sha256=last.sha256, bytes=last.bytes
    )
    assert read_part(store.root, "part-0") == part
    listed = {one.url.removeprefix(f"{store.root}/") for one in storage.list_files(store.root)}
    tree = {tree_path(one.role, sample.key, "png") for sample in expected(1) for one in sample.members}
    assert listed == {one.path for one in part.files} | (tree if form == "tree" else set())


@pytest.mark.parametrize("form", FORMS)
def test_equal_samples_make_equal_bytes(form: str, tmp_path: Path) -> None:
    write(form, str(tmp_path / "a"))
    write(form, str(tmp_path / "b"))
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


@pytest.mark.parametrize("form", FORMS)
def test_bytes_are_the_same_in_another_process(form: str, tmp_path: Path) -> None:
    write(form, str(tmp_path / "a"))
    code = f"from tests.farm.packs import write; write({form!r}, {str(tmp_path / 'b')!r})"
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONHASHSEED": "7"})
    assert files_below(tmp_path / "a") == files_below(tmp_path / "b")


@pytest.mark.parametrize("form", FORMS)
def test_sources_come_last(form: str, tmp_path: Path) -> None:
    """Killed at any point, a pack has no table of sources, and so is not done."""
    failpoints.arm("storage.publish.before", match="sources/", error=OSError(28, "no space"))
    with pytest.raises(DiskError):
        write(form, str(tmp_path / "out"))
    found = files_below(tmp_path / "out")
    assert set(_DATA[form]) < set(found)
    assert "samples/part-0.parquet" in found
    assert not any(path.startswith(("sources/", ".farm")) for path in found)


@pytest.mark.parametrize("form", FORMS)
def test_what_fails_leaves_nothing_behind(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(scratch))

    def cut() -> Iterator[SourceReport]:
        yield from map(strip_data, reports()) if form == "tree" else reports()
        raise ItemError(ErrorKind.STORAGE_ERROR, "piece", "gone", "again")

    with pytest.raises(ItemError):
        write_pack(spec(form), cut(), output(str(tmp_path / "out")))
    assert files_below(tmp_path / "out") == {}
    assert [*scratch.iterdir()] == []
    assert capfd.readouterr().err == ""


def test_reports_are_taken_one_at_a_time(tmp_path: Path) -> None:
    """The table of a form that holds the files is written as row groups are full."""
    import tracemalloc

    data = os.urandom(2 << 20)

    def many() -> Iterator[SourceReport]:
        for number in range(40):
            one = replace(member("gt", 1, 8), data=data[number:] + data[:number])
            sample = replace(pair(f"k{number}", 1, ()), members=(one,))
            yield SourceReport(row=row(number, f"k{number}"), status="done", samples=(sample,))

    for form in ("tar", "parquet", "lmdb"):
        tracemalloc.start()
        write_pack(spec(form, roles=("gt",)), many(), output(str(tmp_path)))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 3 * GROUP_BYTES, form
    groups = parquet.ParquetFile(tmp_path / "samples" / "part-0.parquet").metadata
    assert groups.num_row_groups == 1, "of the last form, which keeps its files elsewhere"


def test_row_groups_are_bounded_by_the_bytes_of_their_files(tmp_path: Path) -> None:
    one = replace(member("gt", 1, 8), data=os.urandom(GROUP_BYTES // 2))
    samples = tuple(replace(pair(f"k{number}", 1, ()), members=(one,)) for number in range(5))
    report = SourceReport(row=row(0, "k"), status="done", samples=samples)
    write_pack(spec("parquet", roles=("gt",)), [report], output(str(tmp_path)))
    groups = parquet.ParquetFile(tmp_path / "samples" / "part-0.parquet").metadata
    assert [groups.row_group(at).num_rows for at in range(groups.num_row_groups)] == [2, 2, 1]


# --- the tables ------------------------------------------------------------------------------------------------------


def test_sources_have_a_row_each_with_how_they_ended(tmp_path: Path) -> None:
    write("tar", str(tmp_path))
    table = parquet.read_table(tmp_path / "sources" / "part-0.parquet").to_pylist()
    assert [one["status"] for one in table] == ["done", "done", "done", "failed", "skipped"]
    assert [one["samples"] for one in table] == [2, 2, 2, 0, 0]
    assert table[1] == {
        "source": "/pictures/dir_1/pic_1.jpg",
        "relative_path": "dir_1/pic_1.jpg",
        "key": "dir_1/pic_1",
        "version": "etag:1",
        "status": "done",
        "reason": "",
        "message": "",
        "rules": ["gray_expanded"],
        "samples": 2,
        "width": 96,
        "sharpness": 1 / 3,
    }
    assert (table[3]["reason"], table[3]["message"]) == ("truncated", "ends early \\udcff")
    assert table[4]["width"] is None


@pytest.mark.parametrize("form", FORMS)
def test_samples_have_a_row_each_with_where_their_files_lie(form: str, tmp_path: Path) -> None:
    write(form, str(tmp_path))
    found = parquet.read_table(tmp_path / "samples" / "part-0.parquet")
    paths = {
        "tree": lambda role, key: f"{role}/{key}.png",
        "tar": lambda role, key: f"{key}.{role}.png",
        "lmdb": lambda role, key: key,
        "parquet": lambda role, key: None,
    }
    assert ("gt" in found.column_names) == (form == "parquet")
    for values, sample in zip(found.to_pylist(), expected(1), strict=True):
        assert values["key"] == sample.key
        assert (values["source_key"], values["part"]) == (sample.key.rpartition("_")[0], "part-0")
        assert {name: values[name] for name in sample.record} == sample.record
        for one in sample.members:
            assert values[f"{one.role}_path"] == paths[form](one.role, sample.key)
            assert values[f"{one.role}_sha256"] == hashlib.sha256(one.data).hexdigest()
            numbers = [values[f"{one.role}_{name}"] for name in ("bytes", "width", "height", "channels")]
            assert numbers == [len(one.data), one.width, one.height, 3]
            assert form != "parquet" or values[one.role] == one.data


def test_a_role_that_a_sample_lacks_is_null(tmp_path: Path) -> None:
    lacking = SourceReport(row=row(0, "a"), status="done", samples=(pair("a", 1, ("gt",)),))
    write_pack(spec("tar"), [lacking], output(str(tmp_path)))
    (values,) = parquet.read_table(tmp_path / "samples" / "part-0.parquet").to_pylist()
    assert values["gt_sha256"]
    assert (values["lq_path"], values["lq_sha256"], values["lq_width"], values["lq_offset"]) == (None,) * 4


@pytest.mark.parametrize("form", FORMS)
def test_a_pack_without_samples_has_its_tables_only(form: str, tmp_path: Path) -> None:
    *_, failed, skipped = reports()
    part = write_pack(spec(form), [failed, skipped], output(str(tmp_path))).part
    assert [one.path for one in part.files] == ["samples/part-0.parquet", "sources/part-0.parquet"]
    assert set(files_below(tmp_path)) == {one.path for one in part.files}
    assert parquet.read_table(tmp_path / "samples" / "part-0.parquet").num_rows == 0


# --- WebDataset ------------------------------------------------------------------------------------------------------


def test_a_shard_is_named_as_webdataset_reads_it(tmp_path: Path) -> None:
    """Consecutive files with the same name up to the first dot of the last component are a sample of theirs."""
    write("tar", str(tmp_path))
    with tarfile.open(tmp_path / "shards" / "part-0.tar") as shard:
        infos = shard.getmembers()
        bodies = {info.name: reading.read() for info in infos if (reading := shard.extractfile(info))}
    for info in infos:
        assert (info.mtime, info.uid, info.gid, info.uname, info.gname, info.mode) == (0, 0, 0, "", "", 0o644)
        assert info.isreg()
    groups: dict[str, list[str]] = {}
    for info in infos:
        folder, _, name = info.name.rpartition("/")
        key, _, extension = name.partition(".")
        groups.setdefault(f"{folder}/{key}", []).append(extension)
        assert [*groups][-1] == f"{folder}/{key}", "files of a sample stand together"
    assert [*groups] == [sample.key for sample in expected(1)]
    assert all(one == ["gt.png", "gt_usm.png", "lq.png", "json"] for one in groups.values())
    for sample in expected(1):
        assert json.loads(bodies[f"{sample.key}.json"]) == sample.record
        assert all(bodies[f"{sample.key}.{one.role}.png"] == one.data for one in sample.members)


def test_the_table_says_where_in_the_shard_each_file_begins(tmp_path: Path) -> None:
    long = SourceReport(row=row(0, "a"), status="done", samples=(pair("d" * 150 + "/" + "k" * 150, 1), pair("b", 2)))
    write_pack(spec("tar"), [long], output(str(tmp_path)))
    with tarfile.open(tmp_path / "shards" / "part-0.tar") as shard:
        offsets = {info.name: info.offset_data for info in shard.getmembers()}
    for values in parquet.read_table(tmp_path / "samples" / "part-0.parquet").to_pylist():
        for role in ROLES:
            assert values[f"{role}_offset"] == offsets[values[f"{role}_path"]]


def test_a_shard_is_what_tarfile_writes_of_the_same_files(tmp_path: Path) -> None:
    write("tar", str(tmp_path))
    made = (tmp_path / "shards" / "part-0.tar").read_bytes()
    again = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(made)) as shard, tarfile.open(fileobj=again, mode="w") as copy:
        for info in shard.getmembers():
            copy.addfile(info, shard.extractfile(info))
    assert again.getvalue() == made


def test_a_number_that_json_lacks_is_null_in_the_shard_and_itself_in_the_table(tmp_path: Path) -> None:
    sample = replace(pair("a", 1), record={"sigma": float("inf")})
    write_pack(spec("tar"), [SourceReport(row=row(0, "a"), status="done", samples=(sample,))], output(str(tmp_path)))
    with tarfile.open(tmp_path / "shards" / "part-0.tar") as shard:
        reading = shard.extractfile("a.json")
        assert reading is not None
        assert json.load(reading) == {"sigma": None}
    (values,) = parquet.read_table(tmp_path / "samples" / "part-0.parquet").to_pylist()
    assert values["sigma"] == float("inf")


# --- LMDB ------------------------------------------------------------------------------------------------------------


def test_a_database_lists_its_files_as_basicsr_does(tmp_path: Path) -> None:
    write("lmdb", str(tmp_path))
    folder = tmp_path / "lmdb" / "lq_part-0.lmdb"
    assert sorted(one.name for one in folder.iterdir()) == ["data.mdb", "meta_info.txt"]
    lines = (folder / "meta_info.txt").read_text().splitlines()
    assert lines == [f"{sample.key}.png (12,12,3) 1" for sample in expected(1)]


def test_a_name_that_lmdb_cannot_hold_is_refused_with_what_to_do(tmp_path: Path) -> None:
    report = SourceReport(row=row(0, "a"), status="done", samples=(pair("k" * 512, 1),))
    with pytest.raises(ItemError, match="512 bytes, and LMDB ends at 511; shorten"):
        write_pack(spec("lmdb"), [report], output(str(tmp_path)))


def test_without_lmdb_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lmdb", None)
    for call in (lambda: check_form("lmdb"), lambda: write("lmdb", str(tmp_path))):
        with pytest.raises(UsageError, match=r"pip install 'sr-farm\[lmdb\]'"):
            call()
    check_form("tar")
    with pytest.raises(UsageError, match="'zip' is not one of tree, tar, lmdb, parquet"):
        check_form("zip")


def test_scratch_that_is_not_there_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_SCRATCH_DIR", str(tmp_path / "none"))
    with pytest.raises(DiskError, match="none: No such file or directory"):
        write("lmdb", str(tmp_path / "out"))


# --- contradictions --------------------------------------------------------------------------------------------------


def test_reports_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    done = SourceReport(row=row(0, "a"), status="done", samples=(pair("a", 1),))
    wrong = {
        "two samples of this name": [done, done],
        "ended as 'failed' with 1 samples": [replace(done, status="failed")],
        "ended as 'odd'": [replace(done, status="odd", samples=())],
        "has gt, other where": [replace(done, samples=(pair("a", 1, ("gt", "other")),))],
        "has gt, gt where": [replace(done, samples=(pair("a", 1, ("gt", "gt")),))],
        "not among the columns": [replace(done, record={"unknown": 1})],
        "its bytes lie elsewhere": [strip_data(done)],
    }
    for message, made in wrong.items():
        with pytest.raises(ValueError, match=message):
            write_pack(spec("tar"), made, output(str(tmp_path)))
    with pytest.raises(ValueError, match="two columns are called status"):
        write_pack(replace(spec("tar"), source_columns={"status": str}), [], output(str(tmp_path)))
    assert files_below(tmp_path) == {}


def test_a_table_that_is_none_of_ours_is_said(tmp_path: Path) -> None:
    import pyarrow

    path = tmp_path / "sources" / "part-0.parquet"
    path.parent.mkdir()
    for data in (b"", b"PAR1 and no more PAR1"):
        path.write_bytes(data)
        with pytest.raises(ItemError, match="corrupt: .*no table of a part"):
            read_part(str(tmp_path), "part-0")
    parquet.write_table(pyarrow.table({"a": [1]}), path)
    with pytest.raises(ItemError, match="corrupt: .*no table of a part"):
        read_part(str(tmp_path), "part-0")
