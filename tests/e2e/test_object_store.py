"""The same command from a bucket to a bucket, on a real S3 server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ..s3_server import BUCKET, require_s3
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
