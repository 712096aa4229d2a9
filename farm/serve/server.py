"""The service as a process: what it needs, its socket, and its end."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from farm import access
from farm.errors import ConfigurationError, UsageError
from farm.fleet import check_dashboard
from farm.serve.bearer import default_file, obtain_token
from farm.serve.settings import ServeConfig

if TYPE_CHECKING:
    from farm.serve.guard import App

_PACKAGES = ("fastapi", "uvicorn")
_BACKLOG = 128
_MOST_REQUESTS = 100
"""at once; whoever comes then is answered 503"""
_END_S = 3
"""that requests are given to end after a signal; a run that is being handed over is there or not, and is not harmed"""


def serve(config: ServeConfig, show: Callable[[str, Path, str], None]) -> int:
    """Serve until SIGINT or SIGTERM, whose number is returned. Runs go on. `show` is given URL, file of the token and
    roots once it listens.

    Raises UsageError where something is missing or the address cannot be had, ConfigurationError for one that is not
    of this machine alone, and for a token that is not safe.
    """
    _check_extra()
    check_dashboard("serve")
    _check_host(config.host, insecure=config.insecure)
    path = config.token_file or default_file()
    from farm.serve.app import make_app
    from farm.serve.guard import Guard
    from farm.serve.roots import Roots
    from farm.serve.runs import Runs, worker_of_environment

    roots = Roots(config.roots)
    with _listen(config) as listening:
        app = Guard(make_app(Runs(roots, worker_of_environment())), obtain_token(path))
        show(_url(listening), path, str(roots))
        return _run(app, listening)


def _run(app: App, listening: socket.socket) -> int:
    import uvicorn

    ended: list[int] = []

    def note(signum: int, _frame: FrameType | None) -> None:
        ended.append(signum)

    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, note)  # uvicorn ends at the first, and then raises it again for whoever had it before
    uvicorn.Server(
        uvicorn.Config(
            app,
            http="h11",
            ws="none",
            lifespan="off",
            log_level="warning",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=_MOST_REQUESTS,
            timeout_graceful_shutdown=_END_S,
        )
    ).run(sockets=[listening])
    return ended[0] if ended else 0


def _check_extra() -> None:
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(f"serve: {', '.join(missing)} missing; pip install 'sr-farm[serve]'")


def _check_host(host: str, *, insecure: bool) -> None:
    if not insecure and not access.is_loopback(host):
        raise ConfigurationError(
            f"--host: {host} can be reached from elsewhere, and nothing that is said to it is encrypted, the token "
            "included; listen on 127.0.0.1 behind a proxy with TLS, or say --insecure where nobody else listens"
        )


def _listen(config: ServeConfig) -> socket.socket:
    """Raises UsageError where that cannot be had, and ConfigurationError where a name is not what it seems."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            config.host, config.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
    except OSError as error:
        raise UsageError(f"--host {config.host} --port {config.port}: cannot be had ({error.strerror})") from error
    _check_host(listening.getsockname()[0], insecure=config.insecure)
    listening.listen(_BACKLOG)
    return listening


def _url(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"
