"""The same command from a bucket to a bucket, on a real S3 server."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from farm import storage

from ..clips import X264, clip
from ..faulty_proxy import FaultyProxy
from ..runs import Farm
from ..s3_server import BUCKET, S3Server, control
from ..stores import opened, said_of
from ..waiting import wait_for

Make = Callable[..., Path]
pytestmark = pytest.mark.s3


def upload(server: S3Server, folder: Path, url: str) -> None:
    client, prefix = server.client(), url.split("/", 3)[3]
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        client.put_object(Bucket=BUCKET, Key=f"{prefix}/{path.relative_to(folder)}", Body=path.read_bytes())


@pytest.fixture
def make_source(server: S3Server, make_picture: Make, tmp_path: Path) -> Callable[[int, int, int], str]:
    """(count, width, height) -> a fresh prefix with so many pictures below `in/`."""

    def make(count: int, width: int, height: int) -> str:
        for index in range(count):
            make_picture(tmp_path / "in" / f"{index:02d}.png", width, height, seed=index)
        source = server.new_prefix()
        upload(server, tmp_path / "in", f"{source}/in")
        return source

    return make


def submit(farm: Farm, source: str, workers: int) -> tuple[str | Path, ...]:
    """The command that restores the pictures of a prefix beside them."""
    flags = ("--model", farm.model, "--workers", str(workers), "--out", f"{source}/out")
    return ("submit", f"{source}/in/", *flags)


def download(server: S3Server, url: str) -> dict[str, bytes]:
    """Outputs below a prefix, without what the farm keeps for itself."""
    client, prefix = server.client(), url.split("/", 3)[3] + "/"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
    keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
    names = [key for key in keys if not key.startswith((f"{prefix}.farm/", f"{prefix}results.parquet"))]
    return {key.removeprefix(prefix): client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in names}


def outputs(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file() and ".farm" not in path.parts)
    return {str(path.relative_to(folder)): path.read_bytes() for path in found if path.name != "results.parquet"}


def told(table: Any) -> list[tuple[Any, ...]]:
    """What two runs over the same sources agree on, wherever these lie."""
    columns = ("row", "status", "error", "sha256", "bytes", "width", "height", "mode", "precision", "frames")
    return sorted(tuple(row[name] for name in columns) for row in table.to_pylist())


def test_from_a_bucket_to_a_bucket_outputs_are_those_of_the_disk_and_a_rerun_writes_nothing(
    farm: Farm, make_picture: Make, tmp_path: Path, server: S3Server, proxy: FaultyProxy
) -> None:
    """A manifest, pictures, one of them in bands, and a film; the bucket of the outputs is another."""
    near = tmp_path / "in"
    for index, name in enumerate(("a.png", "deep/b c.jpg", "large.png")):
        make_picture(near / name, *((300, 400) if name == "large.png" else (40, 30)), seed=index)
    (near / "film.mp4").write_bytes(clip("libx264", "mp4", options=X264, frames=20, size=(64, 48)))
    sources = ["a.png", "deep/b c.jpg", "large.png", "film.mp4", "missing.png"]
    pq.write_table(pa.table({"source": sources}), near / "manifest.parquet")
    source, out = server.new_prefix(), f"{server.new_prefix()}/out"
    upload(server, near, source)
    flags = ("--model", farm.model, "--workers", "2", "--band-px", "40000", "--tile-px", "64", "--segment-frames", "8")
    environment = {**server.environment, "FARM_S3_ENDPOINT_URL": proxy.url}

    far = farm.run("submit", f"{source}/manifest.parquet", *flags, "--out", out, env=environment)
    assert far.returncode == 3, far.stderr
    here = farm.run("submit", near / "manifest.parquet", *flags, "--out", tmp_path / "out")
    assert here.returncode == 3, here.stderr
    assert download(server, out) == outputs(tmp_path / "out")
    far_results = server.client().get_object(Bucket=BUCKET, Key=f"{out.split('/', 3)[3]}/results.parquet")["Body"]
    assert told(pq.read_table(io.BytesIO(far_results.read()))) == told(
        pq.read_table(tmp_path / "out" / "results.parquet")
    )
    assert not server.open_uploads(out)
    assert "lock" not in far.stderr, "there is one"
    kept = server.client().list_objects_v2(Bucket=BUCKET, Prefix=f"{out.split('/', 3)[3]}/.farm/parts")
    assert "Contents" not in kept

    proxy.clear()
    again = farm.run("submit", f"{source}/manifest.parquet", *flags, "--out", out, env=environment)
    assert again.returncode == 3, again.stderr
    assert "4 done before" in again.stderr
    lock = [one for one in proxy.seen if "%2F.farm%2Flock" in one.path or "/.farm/lock/" in one.path]
    probe = [one for one in proxy.seen if "/.farm/probe-" in one.path]
    others = [one for one in proxy.seen if one not in lock and one not in probe]
    assert [one.path for one in others if one.method not in ("GET", "HEAD")] == [], "a rerun writes nothing"
    assert len(others) <= 25, [f"{one.method} {one.path}" for one in others]
    assert len(probe) == 4, [f"{one.method} {one.path}" for one in probe]
    assert 6 <= len(lock) <= 12, "two more for every quarter of a minute"


@contextmanager
def others_read(server: S3Server, url: str) -> Iterator[None]:
    """Two others take all day over one large object, so that the server has two requests at once."""
    key = url.split("/", 3)[3]
    server.client().put_object(Bucket=BUCKET, Key=key, Body=bytes(64 << 20))
    bodies = [server.client().get_object(Bucket=BUCKET, Key=key)["Body"] for _ in range(2)]
    try:
        yield
    finally:
        for body in bodies:
            body.close()


def test_a_run_on_a_store_that_takes_two_requests_at_once_loses_nothing(
    farm: Farm, make_source: Callable[[int, int, int], str], server: S3Server, proxy: FaultyProxy
) -> None:
    source = make_source(24, 40, 30)
    environment = {**server.environment, "FARM_S3_ENDPOINT_URL": proxy.url}
    control("limit", "2")
    try:
        with others_read(server, f"{source}/large"):
            process = farm.start(*submit(farm, source, 2), env=environment)
            wait_for(lambda: proxy.statuses[503] > 0, "the server refuses")
        _, errors = process.communicate(timeout=120)
    finally:
        control("limit", "0")
    assert process.returncode == 0, errors
    made = server.client().get_object(Bucket=BUCKET, Key=f"{source.split('/', 3)[3]}/out/results.parquet")["Body"]
    rows = pq.read_table(io.BytesIO(made.read())).to_pylist()
    digests = {Path(row["output"]).name: row["sha256"] for row in rows}
    there = {name: hashlib.sha256(data).hexdigest() for name, data in download(server, f"{source}/out").items()}
    assert (len(there), there) == (24, digests)


def test_a_run_outlasts_a_disk_of_the_store_that_hangs(
    slow_farm: Farm, make_source: Callable[[int, int, int], str], server: S3Server
) -> None:
    source = make_source(12, 96, 64)
    process = slow_farm.start(*submit(slow_farm, source, 1), env=server.environment)
    try:
        deadline = time.monotonic() + 60
        while not download(server, f"{source}/out") and time.monotonic() < deadline:
            time.sleep(0.1)
        control("pause")
        time.sleep(20)
    finally:
        control("resume")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert len(download(server, f"{source}/out")) == 12


def test_a_full_store_ends_the_run_with_one_clear_error(
    farm: Farm, make_source: Callable[[int, int, int], str], server: S3Server, proxy: FaultyProxy
) -> None:
    source = make_source(6, 96, 64)
    environment = {**server.environment, "FARM_S3_ENDPOINT_URL": proxy.url}
    command = submit(farm, source, 2)
    control("quota", "1")
    try:
        far = farm.run(*command, env=environment)
    finally:
        control("quota", "0")
    assert far.returncode == 74, far.stderr
    assert far.stderr.count("no room (QuotaExceeded)") == 1, far.stderr
    assert proxy.statuses[403] <= 8, "each of what was in flight was asked once"
    again = farm.run(*command, env=environment)
    assert again.returncode == 0, again.stderr
    assert len(download(server, f"{source}/out")) == 6


def test_cos_with_its_own_keys_host_names_and_weights_on_the_store(
    farm: Farm, make_picture: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The endpoint, which refuses paths, stands in a configuration file; the keys are Tencent's variables."""
    with opened("cos", tmp_path, monkeypatch) as store:
        weights = farm.model.read_bytes()
        storage.publish(f"{store.root}/models/tiny.pth", weights, attempt="test")
        picture = make_picture(tmp_path / "a.png", 40, 30)
        storage.publish(f"{store.root}/in/a.png", picture.read_bytes(), attempt="test")
        out = f"{store.root}/out"
        model = f"{store.root}/models/tiny.pth#sha256={hashlib.sha256(weights).hexdigest()}"
        cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
        ran = farm.run("submit", f"{store.root}/in/", "--model", model, "--workers", "1", "--out", out, env=cache)
        assert ran.returncode == 0, ran.stderr
        local = farm.submit(tmp_path / "a.png", tmp_path / "local")
        assert local.returncode == 0, local.stderr
        assert storage.read_bytes(f"{out}/a_4x.png") == (tmp_path / "local/a_4x.png").read_bytes()
        said = said_of(store, f"{out}/a_4x.png")
        with storage.open_read(f"{out}/results.parquet") as file:
            (row,) = pq.read_table(file).to_pylist()
        assert said["farm-sha256"] == row["sha256"]
        assert storage.stat(f"{out}/a_4x.png").bytes == row["bytes"]
        assert said["farm-key"], "the output says which item it is"
        doctor = farm.run("doctor", out)
        assert doctor.returncode == 0, doctor.stderr
        assert "its own host name" in doctor.stdout
        assert "!!" not in doctor.stdout
        assert farm.run("gc", out).stdout.startswith("0 dead attempts cleared, 0 open uploads aborted, 0 pieces")
