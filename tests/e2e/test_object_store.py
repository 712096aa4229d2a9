"""The same command from a bucket to a bucket, on a real S3 server."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from farm import storage

from ..s3_server import BUCKET, require_s3
from ..stores import opened
from .conftest import Farm

Make = Callable[..., Path]
pytestmark = pytest.mark.s3


def test_a_prefix_is_restored_into_a_prefix_and_the_second_run_does_nothing(
    farm: Farm, make_picture: Make, tmp_path: Path
) -> None:
    server = require_s3()
    prefix = server.new_prefix()
    client = server.client()
    for index, name in enumerate(("a.png", "deep/b c.jpg", "large.png")):
        picture = make_picture(tmp_path / name, *((300, 400) if name == "large.png" else (40, 30)), seed=index)
        client.put_object(Bucket=BUCKET, Key=f"{prefix.split('/', 3)[3]}/in/{name}", Body=picture.read_bytes())
    flags = ("--model", farm.model, "--workers", "2", "--out", f"{prefix}/out", "--band-px", "40000", "--tile-px", "64")
    first = farm.run("submit", f"{prefix}/in/", *flags, env=server.environment)
    assert first.returncode == 0, first.stderr
    assert "3 done of 3" in first.stderr
    assert "no lock yet" in first.stderr, "what a store cannot promise is said"
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix.split('/', 3)[3]}/out/")["Contents"]
    keys = {one["Key"].split("/out/", 1)[1]: one["LastModified"] for one in listed}
    assert {key for key in keys if not key.startswith(".farm/")} == {
        "a_4x.png",
        "deep/b c_4x.jpg",
        "large_4x.png",
        "results.parquet",
    }
    assert not [key for key in keys if key.startswith(".farm/parts")]
    assert not server.open_uploads(f"{prefix}/out")

    second = farm.run("submit", f"{prefix}/in/", *flags, env=server.environment)
    assert second.returncode == 0, second.stderr
    assert "3 done before" in second.stderr
    again = client.list_objects_v2(Bucket=BUCKET, Prefix=f"{prefix.split('/', 3)[3]}/out/")["Contents"]
    assert {one["Key"].split("/out/", 1)[1]: one["LastModified"] for one in again} == keys


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
        found = storage.stat_published(f"{out}/a_4x.png")
        assert found is not None
        with storage.open_read(f"{out}/results.parquet") as file:
            (row,) = pq.read_table(file).to_pylist()
        assert (found.sha256, found.stat.bytes) == (row["sha256"], row["bytes"])
        assert found.key, "the output says which item it is"
        doctor = farm.run("doctor", out)
        assert doctor.returncode == 0, doctor.stderr
        assert "its own host name" in doctor.stdout
        assert "!!" not in doctor.stdout
        assert farm.run("gc", out).stdout.startswith("0 dead attempts cleared, 0 open uploads aborted, 0 pieces")
