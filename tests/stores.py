"""The stores of the contract suite: a disk, a real S3 server by path and by host name, and a weaker server."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from farm import storage
from farm.errors import ErrorKind, FarmError, ItemError
from farm.storage.objects.client import forget_stores
from tests.faulty_proxy import FaultyProxy
from tests.localhost_names import sitecustomize
from tests.s3_server import COS_BUCKET, LOCALHOST_NAMES, S3Server, rclone_server, require_s3

KINDS = (
    "file",
    pytest.param("s3-path", marks=pytest.mark.s3),
    pytest.param("s3-virtual", marks=pytest.mark.s3),
    pytest.param("cos", marks=pytest.mark.s3),
    "rclone",
)
"""of fixtures: every store"""
S3_KINDS = KINDS[1:4]
"""those that keep to the S3 API"""


@dataclass(frozen=True, kw_only=True)
class Store:
    """An empty root on one of them."""

    kind: str
    root: str
    server: S3Server | None = None
    """None for a disk"""


@contextmanager
def opened(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A store of that kind, reachable by farm.storage through the environment."""
    for name in ("FARM_S3_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FARM_CONFIG", str(_config(folder, "")))
    if kind == "file":
        yield Store(kind=kind, root=str(folder / "root"))
    elif kind == "rclone":
        (folder / "served").mkdir()
        with rclone_server(folder / "served") as server:
            yield _entered(kind, server, monkeypatch)
    elif kind == "s3-path":
        yield _entered(kind, require_s3(), monkeypatch)
    else:
        server = require_s3()
        monkeypatch.setattr(socket, "getaddrinfo", sitecustomize.getaddrinfo)
        paths = [LOCALHOST_NAMES, *filter(None, [os.environ.get("PYTHONPATH")])]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))  # for processes that the test starts
        proxy = FaultyProxy(server.endpoint)
        proxy.virtual_only = True
        try:
            yield _virtual(kind, server, f"http://s3.localhost:{proxy.port}", folder, monkeypatch)
        finally:
            forget_stores()
            proxy.close()


@pytest.fixture
def server() -> S3Server:
    """The real one, for whole runs."""
    return require_s3()


@pytest.fixture
def proxy(server: S3Server) -> Iterator[FaultyProxy]:
    """Counts what goes to the server; spoils nothing unless told to."""
    found = FaultyProxy(server.endpoint)
    yield found
    found.close()


@contextmanager
def behind_proxy(store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyProxy]:
    """The store's server, reached through a proxy."""
    assert store.server is not None
    proxy = FaultyProxy(store.server.endpoint)
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", proxy.url)
    try:
        yield proxy
    finally:
        forget_stores()
        proxy.close()


def output(root: str, attempt: str = "attempt-1") -> storage.OutputRoot:
    """The root as one attempt sees it."""
    return storage.OutputRoot(url=root, attempt=attempt)


def said_of(store: Store, url: str) -> dict[str, str]:
    """The user metadata of an object, as another client sees it; names in lower case, since rclone capitalises them."""
    assert store.server is not None
    key = url.split("/", 3)[3]
    found = store.server.client().head_object(Bucket=store.server.bucket, Key=key)["Metadata"]
    return {name.lower(): value for name, value in found.items()}


def raised(kind: type[FarmError], call: Callable[[], object]) -> FarmError:
    """The error of that kind that a call raises."""
    with pytest.raises(kind) as caught:
        call()
    return caught.value


def kind_of(call: Callable[[], object]) -> ErrorKind:
    """The class of the row's error that a call raises."""
    error = raised(ItemError, call)
    assert isinstance(error, ItemError)
    return error.kind


def reach(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Set the environment that leads to a server."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def _entered(kind: str, server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Store:
    reach(server, monkeypatch)
    return Store(kind=kind, root=server.new_prefix(), server=server)


def _virtual(kind: str, server: S3Server, endpoint: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """By host name only, as the configuration file says; `cos` with Tencent's own variables."""
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if kind == "cos":
        server = replace(server, bucket=COS_BUCKET)
        config = f'[cos]\nendpoint_url = "{endpoint}"\nregion = "ap-guangzhou"\n'
        monkeypatch.setenv("TENCENTCLOUD_SECRET_ID", server.key)
        monkeypatch.setenv("TENCENTCLOUD_SECRET_KEY", server.secret)
    else:
        config = f'[s3]\nendpoint_url = "{endpoint}"\naddressing = "virtual"\nregion = "us-east-1"\n'
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.key)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret)
    monkeypatch.setenv("FARM_CONFIG", str(_config(folder, config)))
    return Store(kind=kind, root=server.new_prefix("cos" if kind == "cos" else "s3"), server=server)


def _config(folder: Path, text: str) -> Path:
    path = folder / "farm.toml"
    path.write_text(text)
    return path
