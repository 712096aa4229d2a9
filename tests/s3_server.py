"""The real S3 server of the tests, named by the environment; `scripts/s3-test-server` starts one."""

from __future__ import annotations

import os
import uuid
from dataclasses import dataclass
from typing import Any

import pytest

VARIABLES = ("FARM_TEST_S3_ENDPOINT", "FARM_TEST_S3_KEY", "FARM_TEST_S3_SECRET")
BUCKET = "farm-tests"


@dataclass(frozen=True, kw_only=True)
class S3Server:
    """A bucket on a real server."""

    endpoint: str
    key: str
    secret: str

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
        import botocore.session

        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=self.key,
            aws_secret_access_key=self.secret,
            region_name="us-east-1",
        )

    def new_prefix(self) -> str:
        """The URL of a fresh, empty folder in the tests' bucket."""
        self.client().create_bucket(Bucket=BUCKET)
        return f"s3://{BUCKET}/{uuid.uuid4().hex}"

    def open_uploads(self, url: str) -> list[str]:
        """Keys of multipart uploads below `url` that were neither completed nor aborted."""
        prefix = url.split("/", 3)[3]
        found = self.client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [one["Key"] for one in found.get("Uploads", [])]


def require_s3() -> S3Server:
    """The server that the environment names; skips the test where it names none."""
    values = [os.environ.get(name) for name in VARIABLES]
    if not all(values):
        pytest.skip(f"no S3 server: set {', '.join(VARIABLES)} (scripts/s3-test-server starts one and prints them)")
    endpoint, key, secret = (str(value) for value in values)
    return S3Server(endpoint=endpoint, key=key, secret=secret)
