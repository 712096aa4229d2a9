"""Where object stores are, and as whom we go there: the environment, over the user's configuration file.

    ~/.config/farm/config.toml      FARM_CONFIG names another file; XDG_CONFIG_HOME moves the folder
    [s3]   endpoint_url, region, addressing (path, virtual or auto), profile
    [cos]  endpoint_url, region, profile; the region alone gives the endpoint

For each setting the first that is set counts: FARM_* variable, the store's standard variables, the configuration
file, the profile in the files of the AWS tools, the store's default. Secrets are in none of ours: they stay in the
environment, in the files of the AWS tools, or with the machine's role.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from farm.errors import CredentialsError, UsageError
from farm.storage.schemes import SCHEMES, SchemeSpec

VARIABLE = "FARM_CONFIG"
ADDRESSINGS = ("auto", "path", "virtual")
_KEYS = ("endpoint_url", "region", "addressing", "profile")
_SECRET_WORDS = ("secret", "password", "token", "key", "credential")
_ADVICE = (
    "keys go into the environment (AWS_ACCESS_KEY_ID ...; TENCENTCLOUD_SECRET_ID ...) or a profile of the AWS tools"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """Credentials from a store's own variables; never shown."""

    id: str = field(repr=False)
    secret: str = field(repr=False)
    token: str | None = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreSettings:
    """How this process reaches the store of one URL scheme."""

    title: str
    endpoint_url: str | None
    """None: what the AWS tools find"""
    region: str | None
    addressing: str
    """auto, path, or virtual (the bucket is part of the host's name)"""
    profile: str | None
    """of the AWS tools' files; it goes before keys in the environment. None: what the AWS tools take"""
    keys: Keys | None
    """None: what the AWS tools find"""


def settings_of(scheme: str) -> StoreSettings:
    """The settings of a scheme's store as they are now.

    Raises UsageError for a configuration that cannot be meant, CredentialsError for half a pair of keys.
    """
    spec, table = SCHEMES[scheme], _tables().get(scheme, {})
    found = {name: _from_environment(spec, name) or table.get(name) for name in _KEYS}
    profile = _from_environment(spec, "profile")
    if profile is None and not any(os.environ.get(name) for name in spec.profile_rivals):
        profile = table.get("profile")
    return StoreSettings(
        title=spec.title,
        endpoint_url=_endpoint(scheme, found["endpoint_url"], found["region"]),
        region=found["region"],
        addressing=_addressing(scheme, found["addressing"]),
        profile=profile,
        keys=None if profile else _keys(spec),
    )


def _from_environment(spec: SchemeSpec, name: str) -> str | None:
    return next((value for one in spec.variables.get(name, ()) if (value := os.environ.get(one))), None)


def _endpoint(scheme: str, url: str | None, region: str | None) -> str | None:
    spec = SCHEMES[scheme]
    if url is None:
        if spec.host is None:
            return None
        if region is None:
            first = spec.variables["region"][0]
            raise UsageError(
                f"{scheme}://: the region is not known; set {first} or region in [{scheme}] of {config_path()}, "
                "for instance to ap-guangzhou"
            )
        url = spec.host.format(region=region)
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise UsageError(f"{scheme}://: the endpoint holds credentials; {_ADVICE}")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise UsageError(f"{scheme}://: the endpoint is no http:// or https:// address; write https://HOST[:PORT]")
    return url


def _addressing(scheme: str, value: str | None) -> str:
    if value is not None and value not in ADDRESSINGS:
        raise UsageError(f"{scheme}://: addressing is {value!r}; write {', '.join(ADDRESSINGS)}")
    if not SCHEMES[scheme].virtual_only:
        return value or "auto"
    if value == "path":
        raise UsageError(f"{scheme}://: {SCHEMES[scheme].title} answers under the bucket's host name only; drop it")
    return "virtual"


def _keys(spec: SchemeSpec) -> Keys | None:
    for names in spec.keys:
        key_id, secret = os.environ.get(names.id), os.environ.get(names.secret)
        if key_id and secret:
            token = os.environ.get(names.token) if names.token else None
            return Keys(id=key_id, secret=secret, token=token or None)
        if key_id or secret:
            missing = names.secret if key_id else names.id
            raise CredentialsError(f"{spec.title}: {missing} is not set, its other half is; set both or neither")
    return None


def config_path() -> Path:
    """The configuration file; it need not exist unless FARM_CONFIG names it."""
    named = os.environ.get(VARIABLE)
    if named:
        return Path(named).expanduser()
    base = os.environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "farm" / "config.toml"


def _tables() -> Mapping[str, Mapping[str, str]]:
    path = config_path()
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        if os.environ.get(VARIABLE):
            raise UsageError(f"{path}: there is no such configuration file; correct {VARIABLE}") from error
        return {}
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; allow this user to read it") from error
    return _read(path, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=4)
def _read(path: Path, _mtime_ns: int, _size: int) -> Mapping[str, Mapping[str, str]]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # pyright: ignore[reportMissingImports] # only Python 3.10 installs it
    toml = cast(Any, tomllib)
    try:
        tables: dict[str, Any] = toml.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; allow this user to read it") from error
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError
        raise UsageError(f"{path}: no TOML file; {_where(error)}") from None  # the error repeats the file
    for name, table in tables.items():
        _check(path, name, table)
    return tables


def _where(error: ValueError) -> str:
    line = re.search(r"line \d+", str(error))
    return f"look at {line.group()}" if line else "write it in UTF-8"


def _check(path: Path, name: str, table: object) -> None:
    """Raises UsageError, never with a value in it: somebody may have put a secret there."""
    if name not in SCHEMES or not isinstance(table, dict):
        raise UsageError(f"{path}: {name}: not known; the tables are {', '.join(f'[{one}]' for one in SCHEMES)}")
    for key, value in cast("dict[str, object]", table).items():
        if any(word in key.lower() for word in _SECRET_WORDS):
            raise UsageError(f"{path}: [{name}] {key}: no secrets in this file; {_ADVICE}")
        if key not in _KEYS:
            raise UsageError(f"{path}: [{name}] {key}: not known; known are {', '.join(_KEYS)}")
        if not isinstance(value, str) or not value:
            raise UsageError(f'{path}: [{name}] {key}: not a text; write {key} = "..."')
