"""No credential is in any error, traceback or log of the storage rooms, whatever goes wrong."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from farm import storage
from farm.errors import CredentialsError, FarmError
from farm.storage.objects import client, retry
from tests.faulty_proxy import FaultyProxy
from tests.stores import opened, output, raised

ID, SECRET, TOKEN = "CANARYID7f3a91", "CANARYSECRET4c2e", "CANARYTOKENb81d"

CALLS: dict[str, Callable[[str], object]] = {
    "stat": lambda root: storage.stat(f"{root}/a"),
    "read": lambda root: storage.read_bytes(f"{root}/a"),
    "publish": lambda root: output(root).publish(f"{root}/a", b"x"),
    "publish in parts": lambda root: output(root).publish(f"{root}/a", bytes(40 << 20)),
    "list": lambda root: list(storage.list_files(root)),
    "delete": lambda root: storage.delete(f"{root}/a"),
    "delete tree": lambda root: storage.delete_tree(root),
    "clear": lambda root: storage.clear_staging(root, keep=""),
    "probe": lambda root: storage.capabilities(root),
}


class _Everything(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(self.format(record))


@pytest.fixture
def log() -> Iterator[_Everything]:
    """All that any logger says while the root logger is at DEBUG."""
    root, handler = logging.getLogger(), _Everything()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture(autouse=True)
def _fresh_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(retry, "_PAUSE_S", 0.001)
    client.forget_stores()
    yield
    client.forget_stores()


def shown(error: BaseException) -> str:
    """All that anybody could print of an error, its causes and its frames' lines included."""
    texts = ["".join(traceback.format_exception(error))]
    one: BaseException | None = error
    while one is not None:
        texts += [str(one), repr(one), repr(one.args), repr(getattr(one, "__dict__", {}))]
        one = one.__cause__ or one.__context__
    return "\n".join(texts)


def assert_silent(text: str, *secrets: str) -> None:
    for secret in secrets:
        assert secret not in text


@pytest.mark.s3
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_refused_credentials_are_an_error_of_the_run_and_never_shown(
    call: Callable[[str], object], variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: _Everything
) -> None:
    with opened("s3-path", tmp_path, monkeypatch) as store:
        monkeypatch.setenv(variable, {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET}[variable])
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        error = raised(CredentialsError, lambda: call(store.root))
        assert_silent(str(error), ID, SECRET, TOKEN)
        assert_silent(shown(error), ID, SECRET, TOKEN)
        assert_silent("\n".join(log.said), ID, SECRET, TOKEN)


@pytest.mark.s3
@pytest.mark.parametrize(
    "fault", [{"status": 503}, {"status": 500}, {"reset": "request"}, {"status": 403, "code": "X"}]
)
def test_no_failure_of_a_store_shows_credentials(
    fault: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: _Everything
) -> None:
    with opened("s3-path", tmp_path, monkeypatch) as store:
        assert store.server is not None
        proxy = FaultyProxy(store.server.endpoint)
        proxy.inject(times=10_000, **fault)
        monkeypatch.setenv("FARM_S3_ENDPOINT_URL", proxy.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ID)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        monkeypatch.setenv("AWS_SESSION_TOKEN", TOKEN)
        try:
            for call in CALLS.values():
                error = raised(FarmError, lambda call=call: call(store.root))
                assert_silent(shown(error), ID, SECRET, TOKEN)
        finally:
            proxy.close()
        assert_silent("\n".join(log.said), ID, SECRET, TOKEN)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", "http://no-such-host.invalid:80"])
@pytest.mark.parametrize("scheme", ["s3", "cos"])
def test_a_store_that_is_not_there_shows_none(
    scheme: str, endpoint: str, monkeypatch: pytest.MonkeyPatch, log: _Everything
) -> None:
    monkeypatch.setenv(f"FARM_{scheme.upper()}_ENDPOINT_URL", endpoint)
    for prefix in ("AWS_ACCESS_KEY_ID", "TENCENTCLOUD_SECRET_ID"):
        monkeypatch.setenv(prefix, ID)
    for prefix in ("AWS_SECRET_ACCESS_KEY", "TENCENTCLOUD_SECRET_KEY"):
        monkeypatch.setenv(prefix, SECRET)
    for prefix in ("AWS_SESSION_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"):
        monkeypatch.setenv(prefix, TOKEN)
    error = raised(FarmError, lambda: storage.stat(f"{scheme}://photos-1250000000/a"))
    assert_silent(shown(error) + "\n".join(log.said), ID, SECRET, TOKEN)
    assert_silent(repr(client.target(f"{scheme}://photos-1250000000/a")), ID, SECRET, TOKEN)


def test_an_endpoint_with_credentials_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FARM_S3_ENDPOINT_URL", f"http://user:{SECRET}@127.0.0.1:9")
    assert_silent(shown(raised(FarmError, lambda: storage.stat("s3://bucket/a"))), SECRET)
