"""What only disks have: permissions, links, pipes, other file systems; and the arithmetic on URLs."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

from farm import storage
from farm.errors import DiskError, ErrorKind, ItemError
from tests.outside import public_folder, without_rights
from tests.stores import kind_of, output, raised


def test_only_dead_attempts_are_cleared(tmp_path: Path) -> None:
    for attempt in ("dead-1", "dead-2", "alive"):
        folder = tmp_path / ".farm/tmp" / attempt
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(b"x")
    assert storage.clear_staging(str(tmp_path), keep="alive") == storage.Cleared(attempts=2, uploads=0)
    assert [path.name for path in (tmp_path / ".farm/tmp").iterdir()] == ["alive"]
    assert storage.clear_staging(str(tmp_path / "empty"), keep="alive") == storage.Cleared(attempts=0, uploads=0)


def test_outputs_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    mask = os.umask(0o022)
    try:
        output(str(tmp_path)).publish(str(tmp_path / "a.bin"), b"x")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o644


def test_without_a_root_the_temporary_file_lies_beside_its_target(tmp_path: Path) -> None:
    writer = storage.open_write(str(tmp_path / "deep/a.bin"), attempt="one")
    (temporary,) = (tmp_path / "deep").iterdir()
    assert temporary.name.startswith(".farm-one-")
    writer.write(b"x")
    writer.commit()
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.bin"]


def test_from_the_staging_of_another_file_system_an_output_is_published_all_the_same(tmp_path: Path) -> None:
    elsewhere = Path("/dev/shm") / f"farm-test-{os.getpid()}"
    assert elsewhere.parent.stat().st_dev != tmp_path.stat().st_dev, "temporary folders must not lie there: --basetemp"
    elsewhere.mkdir()
    (tmp_path / ".farm").symlink_to(elsewhere)
    target = tmp_path / "deep" / "a.bin"
    try:
        output(str(tmp_path)).publish(str(target), b"across")
        assert target.read_bytes() == b"across"
        assert [path.name for path in target.parent.iterdir()] == ["a.bin"]
        assert not [path for path in elsewhere.rglob("*") if path.is_file()]
    finally:
        shutil.rmtree(elsewhere)


def test_a_folder_that_is_a_link_out_of_the_root_is_no_place_for_an_output(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.mkdir()
    (root / "mount").symlink_to(other)
    error = raised(ItemError, lambda: output(str(root)).publish(str(root / "mount" / "a.bin"), b"out"))
    assert "leads out of the output root" in str(error)
    assert list(other.iterdir()) == []


def test_a_full_disk_is_an_error_of_the_run_with_path_and_bytes(tmp_path: Path) -> None:
    writer = storage.open_write(str(tmp_path / "a.bin"), attempt="one")
    full = os.open("/dev/full", os.O_RDWR)  # refuses every write with ENOSPC
    os.dup2(full, writer.fileno())
    os.close(full)

    def write() -> None:
        writer.write(bytes(3_000_000))
        writer.commit()

    error = raised(DiskError, write)
    writer.discard()
    assert str(tmp_path / "a.bin") in str(error)
    assert "3000000 bytes" in str(error)
    assert "free space" in str(error)
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "pipe"))) is ErrorKind.UNSUPPORTED
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "folder"))) is ErrorKind.MISSING
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / "folder/a/b"))) is ErrorKind.MISSING
    assert kind_of(lambda: storage.read_bytes(str(tmp_path / ("n" * 300)))) is ErrorKind.UNSAFE_PATH


def test_a_closed_file_is_forbidden() -> None:
    with public_folder() as folder:
        (folder / "a").write_bytes(b"x")
        (folder / "a").chmod(0)
        with without_rights():
            assert kind_of(lambda: storage.read_bytes(str(folder / "a"))) is ErrorKind.FORBIDDEN


def test_links_to_files_are_listed_and_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"abc")
    (tmp_path / "link.png").symlink_to(tmp_path / "a.png")
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing")
    (tmp_path / "circle").symlink_to(tmp_path)
    found = {storage.name(one.url): one.bytes for one in storage.list_files(str(tmp_path))}
    assert found == {"a.png": 3, "link.png": 3, "gone.png": 0}


def test_a_tree_deeper_than_pythons_stack_is_listed(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["d"] * 400)
    folder.mkdir(parents=True)
    (folder / "deep.png").touch()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(300)
    try:
        found = [storage.name(one.url) for one in storage.list_files(str(tmp_path))]
    finally:
        sys.setrecursionlimit(limit)
    assert found == ["deep.png"]


def test_open_read_of_a_local_file_is_a_plain_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    with storage.open_read(str(tmp_path / "a")) as file:
        assert file.fileno() > 0
    with storage.open_read((tmp_path / "a").as_uri()) as file:
        assert file.read() == b"abc"


def test_importing_storage_loads_no_store_client() -> None:
    code = "import sys, farm.storage; print([m for m in ('s3fs', 'fsspec', 'botocore', 'pyarrow') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


# --- URLs -----------------------------------------------------------------------------------------------------------


def test_urls_are_joined_and_split() -> None:
    assert storage.join("/out", "a", "b.png") == "/out/a/b.png"
    assert storage.join("s3://b/", "/a/", "", "b.png") == "s3://b/a/b.png"
    assert storage.join("/", "a") == "/a"
    table = {
        "/a/b.png": ("/a", "b.png"),
        "/a": ("/", "a"),
        "/": ("/", ""),
        "s3://bucket/a/b": ("s3://bucket/a", "b"),
        "s3://bucket/a": ("s3://bucket", "a"),
        "s3://bucket": ("s3://bucket", ""),
        "file:///a/b": ("file:///a", "b"),
    }
    assert {url: (storage.parent(url), storage.name(url)) for url in table} == table


def test_local_paths_are_paths() -> None:
    assert storage.local_path("/a/b c%20#?.png") == Path("/a/b c%20#?.png")
    assert storage.local_path("file:///a/b%20c.png") == Path("/a/b c.png")
    assert storage.local_path("S3://bucket/a") is None
    assert kind_of(lambda: storage.local_path("http://host/a")) is ErrorKind.UNSUPPORTED


def test_an_output_root_can_be_sent_to_a_worker() -> None:
    one = output("/out")
    assert pickle.loads(pickle.dumps(one)) == one
    assert one.staging == "/out/.farm/tmp/attempt-1"
    assert output("s3://b/out").staging == "s3://b/out/.farm/tmp/attempt-1"
