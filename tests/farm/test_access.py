"""Which Ray may be used (S1): its version, and authentication wherever others can reach it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from farm import access
from farm.errors import ConfigurationError, UnreachableError
from tests.stores import raised


@pytest.mark.parametrize("version", ["1.13.0", "2.9.3", "2.51.9", "2.51.0rc1"])
def test_a_ray_without_authentication_is_refused(version: str) -> None:
    assert version in str(raised(UnreachableError, lambda: access.check_version(version)))


@pytest.mark.parametrize("version", ["2.52.0", "2.60.0", "3.0.0.dev0", "10.1"])
def test_a_ray_with_authentication_is_taken(version: str) -> None:
    access.check_version(version)


@contextmanager
def listening(host: str) -> Iterator[int]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int("ffff" not in host))
        server.bind((host, 0))
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "127.8.0.1"])
def test_what_listens_on_loopback_alone_is_reached_from_here_alone(host: str) -> None:
    with listening(host) as port:
        assert access.listens_here_alone(f"127.0.0.1:{port}")
        assert access.listens_here_alone(f"localhost:{port}")
        assert access.listens_here_alone(f"[::1]:{port}")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_what_listens_everywhere_is_no_loopback_by_whatever_name(host: str) -> None:
    with listening(host) as port:
        assert not access.listens_here_alone(f"127.0.0.1:{port}")


@pytest.mark.parametrize(
    "address", ["auto", "10.0.0.1:6379", "head:6379", "localhost.example.org:6379", "[2001:db8::1]:6379", "127.0.0.1"]
)
def test_other_addresses_are_no_loopback(address: str) -> None:
    assert not access.listens_here_alone(address)


def test_a_cluster_where_nobody_listens_does_not_answer() -> None:
    with listening("127.0.0.1") as port:
        pass
    error = raised(UnreachableError, lambda: access.asks_for_token(f"127.0.0.1:{port}"))
    assert "check --address" in str(error)


def test_what_answers_but_is_no_ray_is_not_shown_a_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_ASK_S", 3.0)
    monkeypatch.setenv("RAY_AUTH_TOKEN", "5ec2e7")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        error = raised(UnreachableError, lambda: access.asks_for_token(f"127.0.0.1:{port}"))
        assert "does not answer" in str(error)
        server.settimeout(1)
        heard = b""
        with suppress(TimeoutError):
            while True:
                taken, _ = server.accept()
                with taken, suppress(TimeoutError):
                    taken.settimeout(0.2)
                    heard += taken.recv(1 << 16)
    assert b"5ec2e7" not in heard


def test_ray_client_is_refused_unless_insecure_is_said() -> None:
    address = "ray://head.example.org:10001"
    assert "--insecure" in str(raised(ConfigurationError, lambda: access.check_cluster(address, insecure=False)))
    access.check_cluster(address, insecure=True)


@pytest.mark.parametrize(
    ("mode", "exposed"), [(0o600, False), (0o400, False), (0o644, True), (0o640, True), (0o602, True)]
)
def test_a_token_that_others_may_read_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, exposed: bool
) -> None:
    (tmp_path / ".ray").mkdir()
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert access.exposed_token() is None, "there is none"
    for path in (tmp_path / ".ray" / "auth_token", tmp_path / "elsewhere"):
        path.write_text("ab" * 32)
        path.chmod(mode)
        found = access.exposed_token()
        assert (f"chmod 600 {path}" in (found or "")) is exposed
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "cd" * 32)
    assert access.exposed_token() is None, "no file is read"


_PREPARED = """
import os, sys
from farm.config import WorkerConfig
from farm.fleet import prepare_ray
prepare_ray(WorkerConfig())
print(os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"])
"""


@pytest.mark.parametrize("mode", ["", "disabled", "token"])
def test_an_embedded_ray_has_a_token_of_its_own_on_no_disk(tmp_path: Path, mode: str) -> None:
    environment = {**os.environ, "HOME": str(tmp_path), **({"RAY_AUTH_MODE": mode} if mode else {})}
    environment.pop("RAY_ADDRESS", None)
    said = [
        subprocess.run(
            [sys.executable, "-c", _PREPARED], env=environment, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert [words[0] for words in said] == ["token", "token"]
    assert len(said[0][1]) == 64
    assert said[0][1] != said[1][1]
    assert list(tmp_path.iterdir()) == []
