"""What the service was told when it was started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from farm.errors import UsageError

HOST, PORT = "127.0.0.1", 8700


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """Where it listens, for whom, and what may be named to it."""

    roots: tuple[str, ...]
    """folders, or prefixes of stores, in which manifests and outputs lie; nothing else can be named"""
    host: str = HOST
    """address or name to listen on"""
    port: int = PORT
    """0: any that is free"""
    token_file: Path | None = None
    """made where it is not there; None: `serve/token` in the farm's folder for state"""
    insecure: bool = False
    """listen on an address that others can reach, although nothing is encrypted"""

    def __post_init__(self) -> None:
        if not self.roots:
            raise UsageError(
                "--allow-root: missing; name the folders or prefixes in which manifests and outputs lie, once each"
            )
        if not 0 <= self.port <= 65535:
            raise UsageError(f"--port: {self.port} is none of 0 to 65535")
