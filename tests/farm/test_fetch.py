"""Weights arrive whole, once and verified, or the message says how to get them."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from farm import fetch, storage
from farm.errors import DiskError, ModelError
from farm.fetch import download, weight
from sr_kernel.models import BOX, DATA_FOLDER, MODELS, ModelSpec
from tests.s3_server import require_s3
from tests.seeded import save_srvgg
from tests.stores import reach

DATA = random.Random(3).randbytes(1_000_000)


class _Release(BaseHTTPRequestHandler):
    """A file server with ranges; its faults are set on the class."""

    ranges = True
    status = 0
    cut_after: int | None = None
    content = DATA
    seen: list[str | None]

    def do_GET(self) -> None:
        asked = self.headers["Range"]
        type(self).seen.append(asked)
        if self.status:
            self.send_error(self.status)
            return
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and self.ranges else 0
        body = self.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        self.wfile.write(body if self.cut_after is None else body[: self.cut_after])

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def release() -> Iterator[type[_Release]]:
    handler = type("Release", (_Release,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    handler.url = f"http://127.0.0.1:{server.server_port}/weights"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield handler
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FARM_WEIGHTS_DIR", raising=False)
    monkeypatch.delenv("FARM_WEIGHTS_MIRROR", raising=False)
    monkeypatch.setattr(download, "_PAUSE_S", 0.001)
    return tmp_path / "cache/farm/weights"


def spec_at(url: str, data: bytes = DATA) -> ModelSpec:
    digest = hashlib.sha256(data).hexdigest()
    return replace(MODELS["animevideov3"], file="tiny.pth", url=f"{url}/tiny.pth", bytes=len(data), sha256=digest)


def failure(spec: ModelSpec, weights_dir: str | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        fetch.ensure(spec, weights_dir)
    assert caught.value.exit_code == 78
    return str(caught.value)


def test_a_release_is_fetched_into_the_cache_and_only_once(release: type[_Release], cache: Path) -> None:
    spec = spec_at(release.url)
    told: list[tuple[int, int]] = []
    path = fetch.ensure(spec, None, lambda done, total: told.append((done, total)))
    assert path == cache / "tiny.pth"
    assert path.read_bytes() == DATA
    assert told == sorted(told)
    assert told[-1] == (len(DATA), len(DATA))
    assert fetch.ensure(spec) == path
    assert release.seen == [None]
    assert sorted(one.name for one in cache.iterdir()) == [".tiny.pth.lock", "tiny.pth"]


def test_an_interrupted_download_is_taken_up_where_it_ended(release: type[_Release], cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / ".tiny.pth.part").write_bytes(DATA[:400_000])
    assert fetch.ensure(spec_at(release.url)).read_bytes() == DATA
    assert release.seen == ["bytes=400000-"]


def test_a_connection_that_is_cut_again_and_again_ends_in_the_whole_file(release: type[_Release]) -> None:
    release.cut_after = 150_000
    assert fetch.ensure(spec_at(release.url)).read_bytes() == DATA
    assert release.seen == [None, *(f"bytes={150_000 * n}-" for n in range(1, 7))]


def test_a_server_without_ranges_is_read_from_the_start(release: type[_Release], cache: Path) -> None:
    release.ranges = False
    cache.mkdir(parents=True)
    (cache / ".tiny.pth.part").write_bytes(b"x" * 400_000)
    assert fetch.ensure(spec_at(release.url)).read_bytes() == DATA


def test_a_server_that_sends_nothing_is_given_up(release: type[_Release]) -> None:
    release.cut_after = 0
    text = failure(spec_at(release.url))
    assert len(release.seen) == download.TRIES
    assert f"failed {download.TRIES} times" in text


def test_another_file_under_the_name_is_refused_and_not_kept(release: type[_Release], cache: Path) -> None:
    release.content = DATA[:-1] + b"x"
    assert "holds another file" in failure(spec_at(release.url))
    assert not (cache / "tiny.pth").exists()
    assert not (cache / ".tiny.pth.part").exists()


def test_more_bytes_than_the_table_says_are_not_taken(release: type[_Release], cache: Path) -> None:
    release.content = DATA * 3
    assert "sends more than 1000000 bytes" in failure(spec_at(release.url))
    assert not (cache / "tiny.pth").exists()


def test_the_error_says_where_it_looked_and_what_to_do(
    release: type[_Release], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    release.status = 404
    monkeypatch.setenv("FARM_WEIGHTS_DIR", str(tmp_path / "env"))
    text = failure(spec_at(release.url), str(tmp_path / "flag"))
    assert "answered 404" in text
    for part in (str(tmp_path / "flag"), str(tmp_path / "env"), str(cache), "--weights-dir", "FARM_WEIGHTS_MIRROR"):
        assert part in text
    assert len(release.seen) == 1  # a refusal is not asked again


def test_a_mirrors_password_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_WEIGHTS_MIRROR", "http://user:CANARY@127.0.0.1:9/x?key=CANARY")
    assert "CANARY" not in failure(spec_at("http://127.0.0.1:9"))


def test_a_model_without_a_known_digest_is_not_downloaded(release: type[_Release], tmp_path: Path) -> None:
    spec = replace(spec_at(release.url), sha256="", bytes=0)
    assert "digest is not known" in failure(spec)
    assert release.seen == []
    (tmp_path / "tiny.pth").write_bytes(b"by hand")
    assert fetch.ensure(spec, str(tmp_path)) == tmp_path / "tiny.pth"


def test_folders_come_in_order_and_files_of_another_size_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    spec = spec_at("http://127.0.0.1:9")
    monkeypatch.setenv("FARM_WEIGHTS_DIR", str(tmp_path / "env"))
    assert fetch.locate(spec, None) is None
    for folder in (cache, tmp_path / "env", tmp_path / "flag"):
        folder.mkdir(parents=True)
        (folder / "tiny.pth").write_bytes(DATA)
        assert fetch.locate(spec, str(tmp_path / "flag")) == folder / "tiny.pth"
    (tmp_path / "flag/tiny.pth").write_bytes(DATA[:-1])
    assert fetch.locate(spec, str(tmp_path / "flag")) == tmp_path / "env/tiny.pth"


def test_a_damaged_file_in_a_folder_of_the_users_is_refused_and_one_in_the_cache_is_replaced(
    release: type[_Release], tmp_path: Path, cache: Path
) -> None:
    spec = spec_at(release.url)
    for folder in (tmp_path, cache):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tiny.pth").write_bytes(DATA[:-1] + b"x")
    assert "sha256 is" in failure(spec, str(tmp_path))
    assert (tmp_path / "tiny.pth").exists()
    assert fetch.ensure(spec).read_bytes() == DATA


@pytest.mark.parametrize("place", ["file", pytest.param("s3", marks=pytest.mark.s3)])
def test_a_mirror_may_be_a_folder_or_an_object_store(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    mirror = str(tmp_path / "mirror")
    if place == "s3":
        mirror = reach(require_s3(), monkeypatch).new_prefix()
    storage.publish(storage.join(mirror, "tiny.pth"), DATA, attempt="test")
    monkeypatch.setenv("FARM_WEIGHTS_MIRROR", mirror)
    cache.mkdir(parents=True)
    (cache / ".tiny.pth.part").write_bytes(DATA[:999])
    assert fetch.ensure(spec_at("http://127.0.0.1:9")).read_bytes() == DATA


def test_however_many_processes_ask_there_is_one_download(release: type[_Release], cache: Path) -> None:
    code = """
import sys
from dataclasses import replace
from farm import fetch
from sr_kernel.models import MODELS
url, size, digest = sys.argv[1:]
spec = replace(MODELS["animevideov3"], file="tiny.pth", url=url + "/tiny.pth", bytes=int(size), sha256=digest)
fetch.ensure(spec)
"""
    digest = hashlib.sha256(DATA).hexdigest()
    command = [sys.executable, "-c", code, release.url, str(len(DATA)), digest]
    processes = [subprocess.Popen(command) for _ in range(6)]
    assert [process.wait() for process in processes] == [0] * 6
    assert release.seen == [None]
    assert (cache / "tiny.pth").read_bytes() == DATA


def test_a_cache_that_cannot_be_written_is_a_disk_error(release: type[_Release], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DiskError, match="cache"):
        fetch.ensure(spec_at(release.url))


# --- names and files -------------------------------------------------------------------------------------------------


def test_models_are_found_by_short_and_official_name() -> None:
    for name in ("animevideov3", "realesr-animevideov3", "realesr-animevideov3.pth"):
        resolved = fetch.resolve(name)
        assert resolved.spec is MODELS["animevideov3"]
        assert resolved.path is None
        assert resolved.sha256 == MODELS["animevideov3"].sha256


def test_a_table_model_that_is_here_has_a_path(tmp_path: Path) -> None:
    spec = MODELS["animevideov3"]
    with (tmp_path / spec.file).open("wb") as file:
        file.truncate(spec.bytes)
    assert fetch.resolve("animevideov3", str(tmp_path)).path == str(tmp_path / spec.file)


def test_an_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(ModelError, match="did you mean x4plus-anime"):
        fetch.resolve("x4plus-anme")


def test_a_missing_or_foreign_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        fetch.resolve(str(tmp_path / "none.pth"))
    (tmp_path / "junk.pth").write_bytes(b"not weights")
    with pytest.raises(ModelError, match=r"junk\.pth"):
        fetch.resolve(str(tmp_path / "junk.pth"))


def test_a_link_keeps_its_name_and_a_pipe_is_no_file(tmp_path: Path) -> None:
    """Caches of models keep files by their digests and link to them by their names."""
    import torch
    from safetensors.torch import save_file

    made = save_srvgg(tmp_path / "net.pth", features=8, convs=2)
    save_file(torch.load(made, weights_only=True)["params"], tmp_path / "3f2a9c")
    (tmp_path / "net.safetensors").symlink_to("3f2a9c")
    assert fetch.resolve(str(tmp_path / "net.safetensors")).spec.name == "file:net"
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(ModelError, match="is no file"):
        fetch.resolve(str(tmp_path / "pipe.pth"))


def test_a_mirror_has_what_has_no_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = MODELS["esrgan-x4"]
    assert not spec.url
    (tmp_path / spec.file).write_bytes(b"weights")
    monkeypatch.setenv("FARM_WEIGHTS_MIRROR", str(tmp_path))
    assert fetch.ensure(spec, unverified=True).read_bytes() == b"weights"


def test_a_weight_file_is_described_without_torch_in_this_process(tmp_path: Path) -> None:
    file = save_srvgg(tmp_path / "mine.pth", features=48, convs=3)
    code = (
        "import sys; from farm import fetch; one = fetch.resolve(sys.argv[1]); again = fetch.resolve(sys.argv[1])\n"
        "assert one == again; s = one.spec\n"
        "print(s.name, s.arch, s.scale, s.features, s.blocks, s.halo_px, one.sha256, 'torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    answer = subprocess.check_output([sys.executable, "-c", code, str(file)], text=True, cwd=tmp_path, env=environment)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert answer.split() == ["file:mine", "srvgg", "4", "48", "3", "5", digest, "False"]


def test_of_the_model_that_ships_no_other_file_is_taken(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is called like it, here and at a mirror, and where the file is gone."""
    box = MODELS[BOX]
    for folder in (tmp_path, cache):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / box.file).write_bytes(b"x" * box.bytes)
    monkeypatch.setenv("FARM_WEIGHTS_DIR", str(tmp_path))
    monkeypatch.setenv("FARM_WEIGHTS_MIRROR", str(tmp_path))
    assert fetch.ensure(box, str(tmp_path)) == DATA_FOLDER / box.file
    monkeypatch.setattr(weight, "DATA_FOLDER", tmp_path / "empty")
    with pytest.raises(ModelError, match="ships with the farm and is not there; install it again"):
        fetch.ensure(box, str(tmp_path))
