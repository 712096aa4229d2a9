"""The token of the service: a file that only this user may read, made when there is none."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from pathlib import Path

from farm.errors import ConfigurationError
from farm.jobs.head import state_folder

_BYTES = 32
_LEAST = 32
"""characters of a token that somebody else has written"""
_SCHEME = b"bearer "


def default_file() -> Path:
    """Beside the head's own."""
    return state_folder().with_name("serve") / "token"


def obtain_token(path: Path) -> str:
    """The token of a file, which is made, mode 0600, where there is none.

    Raises ConfigurationError for one that others may read or that is too short to be safe.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not os.path.lexists(path):
        _make(path)
    return _read(path)


def _make(path: Path) -> None:
    """Whole or not at all: of two services that start at once both read the same."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(_BYTES))
    try:
        os.link(partial, path)
    except FileExistsError:
        return  # the other's counts
    finally:
        partial.unlink()


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise ConfigurationError(f"--token-file: {path} is no file of this user's; name one that is")
        if found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            mode = stat.filemode(found.st_mode)
            raise ConfigurationError(f"--token-file: others may read {path} ({mode}); chmod 600 it, or remove it")
        token = file.read(4096).strip()
    if len(token) < _LEAST or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigurationError(
            f"--token-file: {path} holds no token of {_LEAST} or more printable characters; remove it and one is made"
        )
    return token


def shows(token: str, headers: list[bytes]) -> bool:
    """Whether the Authorization headers of a request are one, and it is `Bearer` with this token; in constant time."""
    if len(headers) != 1 or headers[0][: len(_SCHEME)].lower() != _SCHEME:
        return False
    return hmac.compare_digest(headers[0][len(_SCHEME) :].strip(), token.encode())
