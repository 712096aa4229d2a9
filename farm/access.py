"""Which Ray may be used: its version, and authentication wherever it can be reached from elsewhere.

Whoever reaches a Ray that authenticates nobody runs what he likes on all of its nodes, with everything that they may
read. So a cluster is asked once, by somebody without a token, before ours is shown to it.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from farm.errors import ConfigurationError, UnreachableError, UsageError

MIN_RAY = (2, 52)
"""older versions have no token authentication"""
_CONNECT_S = 5.0
_ASK_S = 45.0
"""for a process that loads Ray on a busy machine and asks one question"""
_TABLES = (Path("/proc/net/tcp"), Path("/proc/net/tcp6"))
_LISTENS = "0A"
"""what these tables call a socket that waits for connections"""
_WORD = 4
_ASK = """
import json, sys
from ray._private.services import canonicalize_bootstrap_address_or_die
from ray._raylet import GcsClient
from ray.exceptions import AuthenticationError

try:
    GcsClient(address=canonicalize_bootstrap_address_or_die(sys.argv[1]))
    asks = False
except AuthenticationError:
    asks = True
print(json.dumps(asks))
"""
_CLIENT = "ray://"
"""how addresses of Ray Client begin: its server gives those without a token no answer at all"""


def check_version(version: str) -> None:
    """Raises UnreachableError for a Ray that cannot authenticate its users."""
    found = tuple(int(part) for part in version.split(".")[:2])
    if found < MIN_RAY:
        raise UnreachableError(f"ray {version} is too old; install ray >= 2.52, which authenticates its users")


def check_cluster(address: str, *, insecure: bool) -> None:
    """Refuse a cluster that lets everybody in, unless it can be reached from this machine alone, or that is wanted.

    Raises UnreachableError where nobody answers as Ray does, ConfigurationError for a refusal.
    """
    if insecure or listens_here_alone(address):
        return
    if address.startswith(_CLIENT):
        raise ConfigurationError(
            f"cluster {address} cannot be asked whether it authenticates its users, as it is reached through Ray "
            "Client; give the HOST:PORT of its head, or say --insecure"
        )
    if asks_for_token(address):
        return
    raise ConfigurationError(
        f"cluster {address} lets everybody in who can reach it (no token authentication); start it with "
        "RAY_AUTH_MODE=token (`ray get-auth-token --generate` makes a token), or say --insecure where nobody else "
        "can reach it"
    )


@cache
def asks_for_token(address: str) -> bool:
    """Whether a cluster refuses who shows no token. Asked once, in a process that has none.

    Raises UnreachableError where nobody answers as Ray does.
    """
    check_answers(address)
    hidden = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment["RAY_AUTH_MODE"] = "disabled"
    try:
        ran = subprocess.run(
            [sys.executable, "-c", _ASK, address], env=environment, capture_output=True, text=True, timeout=_ASK_S
        )
    except subprocess.TimeoutExpired:
        raise UnreachableError(_silent(address, f"nobody answers as Ray does within {_ASK_S:.0f} s")) from None
    lines = ran.stdout.splitlines()
    if ran.returncode != 0 or not lines:
        said = ran.stderr.strip().splitlines() or [f"ended with {ran.returncode}"]
        raise UnreachableError(_silent(address, said[-1][:200]))
    return bool(json.loads(lines[-1]))


def check_port(port: int, flag: str) -> None:
    """Raises UsageError where nothing can be served on a port of loopback that `flag` names: Ray itself would go on
    without, and say nothing."""
    with socket.socket() as tried:
        tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as whoever serves there
        try:
            tried.bind(("127.0.0.1", port))
        except OSError as error:
            raise UsageError(f"{flag}: cannot be had ({error.strerror}); choose another one") from error


def check_answers(address: str) -> None:
    """Raises UnreachableError where nobody listens; Ray itself would try for minutes."""
    host, port = split_address(address)
    if port is None:
        return
    try:
        socket.create_connection((host, port), timeout=_CONNECT_S).close()
    except OSError as error:
        raise UnreachableError(_silent(address, str(error))) from error


def _silent(address: str, found: str) -> str:
    return f"cluster {address} does not answer ({found}); check --address, and that the cluster runs"


def split_address(address: str) -> tuple[str, int | None]:
    """Host and port of an address, with or without a scheme; no port where it has none, such as `auto`."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    return host.strip("[]"), int(port) if port.isdigit() else None


def listens_here_alone(address: str) -> bool:
    """Whether an address is of a loopback interface, and nothing listens on its port for anybody else."""
    host, port = split_address(address)
    if port is None or not is_loopback(host):
        return False
    return all(found.is_loopback for found in listeners(port))


def is_here(address: str) -> bool:
    """Whether a cluster's head, by its HOST:PORT, is on this machine; so it is where no host is named."""
    host, port = split_address(address)
    if port is None or is_loopback(host):
        return True
    try:
        family = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
        with socket.socket(family[0], socket.SOCK_STREAM) as probe:
            probe.bind(family[4])  # only an address of this machine can be listened on
    except OSError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a name or a number is of this machine alone."""
    try:
        return host == "localhost" or _plain(ipaddress.ip_address(host)).is_loopback
    except ValueError:
        return False


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def listeners(port: int) -> Iterator[Address]:
    """Addresses on which this machine listens on a port; none where there is no /proc."""
    for table in _TABLES:
        lines = table.read_text().splitlines()[1:] if table.exists() else []
        for local, state in ((fields[1], fields[3]) for fields in map(str.split, lines)):
            host, _, number = local.partition(":")
            if state == _LISTENS and int(number, 16) == port:
                yield _address(host)


def _address(digits: str) -> Address:
    """From hexadecimal words, each in the byte order of this machine."""
    words = (digits[at : at + 2 * _WORD] for at in range(0, len(digits), 2 * _WORD))
    packed = b"".join(int(word, 16).to_bytes(_WORD, sys.byteorder) for word in words)
    return _plain(ipaddress.ip_address(packed))


def _plain(address: Address) -> Address:
    """Of an IPv4 address that is written as one of IPv6 the former."""
    return getattr(address, "ipv4_mapped", None) or address


def exposed_token() -> str | None:
    """What is wrong with the file that Ray reads the token from, if others may read it too; None where all is well."""
    path = _token_file()
    if path is None:
        return None
    try:
        mode = path.stat().st_mode
    except OSError:  # there is none, or Ray says what is wrong with it
        return None
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return f"{path}: others may read the token that opens the cluster ({stat.filemode(mode)}); chmod 600 {path}"


def _token_file() -> Path | None:
    """Where Ray looks for the token in this environment; None where it needs no file."""
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token" or os.environ.get("RAY_AUTH_TOKEN"):
        return None
    named = os.environ.get("RAY_AUTH_TOKEN_PATH")
    return Path(named) if named else Path.home() / ".ray" / "auth_token"
