"""A Ray that stays on this machine: begun by the first detached run without a cluster, ended by `farm down`.

Its processes are children of one keeper (`farm.jobs.keeper`), which has no terminal. It listens on loopback alone and
asks for a token, which lies in a file that only this user may read. What is known of it is a file, HEAD below.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import farm
from farm import access, leftovers
from farm.errors import UnreachableError
from farm.fleet import LOOPBACK, PATIENCE
from farm.jobs.settings import PASSED
from farm.leftovers import Process

_HEAD, _TOKEN, _LOG, _STARTING = "head.json", "token", "head.log", "starting"
_START_LIMIT_S = 240.0
_END_LIMIT_S = 20.0
_POLL_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """A head that is there. All that it has started is below one process, its keeper."""

    pid: int
    started: str
    """of the keeper: start time as the kernel counts, which tells it from a later process of the same id"""
    address: str
    """HOST:PORT, for Ray"""
    dashboard: str
    """URL of its dashboard and Jobs API"""
    folder: str
    """where Ray keeps its files"""
    cpus: int
    gpus: int
    metrics_port: int | None = None
    """where it serves metrics on loopback, as was asked for; None: Ray chose one"""

    @property
    def keeper(self) -> Process:
        return Process(self.pid, self.started)


def state_folder() -> Path:
    """Where the head and its token are noted (XDG_STATE_HOME); it may not exist yet."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "farm" / "head"


def read_head() -> Head | None:
    """The head of this user on this machine; None where none is alive."""
    head = _noted()
    return head if head is not None and leftovers.is_alive(head.keeper) else None


def note_head(head: Head) -> None:
    """For the keeper: the head can be used from now on."""
    path = state_folder() / _HEAD
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(asdict(head)))
    partial.replace(path)


def forget_head() -> None:
    """For the keeper: it cannot be used any more."""
    (state_folder() / _HEAD).unlink(missing_ok=True)


def token_file() -> Path:
    """The token that the head asks for."""
    return state_folder() / _TOKEN


def as_client() -> None:
    """From now on Ray in this process shows the head's token. Before ray is imported."""
    os.environ.pop("RAY_AUTH_TOKEN", None)
    os.environ.update({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token_file())})


def start_head(cpus: int, gpus: int, metrics_port: int | None = None) -> Head:
    """The head that is there, or a new one with so many resources and that port. Raises UnreachableError where none
    comes, UsageError where the port is somebody's."""
    folder = state_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    with _alone(folder / _STARTING):
        head = read_head()
        if head is not None:
            return head
        _clear(_noted())
        if metrics_port is not None:
            access.check_port(metrics_port, f"--metrics-port {metrics_port}")
        _write_token()
        return _await_head(_start_keeper(cpus, gpus, metrics_port))


@contextmanager
def _alone(path: Path) -> Generator[None]:
    """Two that start a head at once start one."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_token() -> None:
    path = token_file()
    path.unlink(missing_ok=True)  # whoever has the old file open reads no new token
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))


def _start_keeper(cpus: int, gpus: int, metrics_port: int | None) -> subprocess.Popen[bytes]:
    """In a session of its own, so that it outlives every terminal."""
    folder = state_folder()
    home = str(Path(farm.__file__ or "").resolve().parent.parent)
    paths = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    environment = {name: value for name, value in os.environ.items() if name not in PASSED}
    for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_AUTH_TOKEN"):
        environment.pop(name, None)
    environment |= {
        **PATIENCE,
        **LOOPBACK,
        "PYTHONPATH": paths,
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token_file()),
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    log = os.open(folder / _LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "farm.jobs.keeper",
                *(str(one) for one in (cpus, gpus, metrics_port) if one is not None),
            ],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)


def _await_head(keeper: subprocess.Popen[bytes]) -> Head:
    """Wait until it can be used; a keeper that does not come so far is ended with all that it has started."""
    try:
        until = time.monotonic() + _START_LIMIT_S
        while time.monotonic() < until and keeper.poll() is None:
            head = read_head()
            if head is not None and head.pid == keeper.pid:
                return head
            time.sleep(_POLL_S)
        raise UnreachableError(f"no head of Ray starts on this machine: {_last_words(keeper)}")
    except BaseException:
        started = leftovers.process_of(keeper.pid)
        if started is not None:
            _end(frozenset({started}) | leftovers.descendants(keeper.pid), keeper.pid)
        keeper.wait()
        raise


def _last_words(keeper: subprocess.Popen[bytes]) -> str:
    log = state_folder() / _LOG
    lines = log.read_text("utf-8", "replace").strip().splitlines()
    found = lines[-1] if lines else f"ended with {keeper.returncode}"
    if keeper.returncode is None:
        found = f"it did not come within {_START_LIMIT_S:.0f} s"
    return f"{found}; see {log}, and `farm doctor`"


def end_head() -> tuple[Head | None, int]:
    """End the head, its keeper and everything that they have started, by id; what is left of one whose keeper was
    killed goes too. Returns what was there, and how many processes were ended."""
    folder = state_folder()
    if not folder.is_dir():
        return None, 0
    with _alone(folder / _STARTING):
        head = _noted()
        if head is None:
            return None, 0
        family = leftovers.started_in(Path(head.folder))
        if leftovers.is_alive(head.keeper):
            family |= leftovers.descendants(head.pid) | {head.keeper}
        alive = frozenset(filter(leftovers.is_alive, family))
        _end(alive, head.pid)
        _clear(head)
        return head, len(alive)


def _end(processes: frozenset[Process], keeper: int) -> None:
    """Ask the keeper, which ends what it has started; kill what is there after that. Raises UnreachableError for what
    even then does not go."""
    if any(process.pid == keeper for process in processes):
        with suppress(ProcessLookupError):
            os.kill(keeper, signal.SIGTERM)
    if not _wait_gone(processes, _END_LIMIT_S):
        leftovers.end(processes)
        if not _wait_gone(processes, _END_LIMIT_S):
            left = sorted(process.pid for process in processes if leftovers.is_alive(process))
            raise UnreachableError(f"processes {left} of the head do not end; is a disk of theirs hung?")


def _wait_gone(processes: frozenset[Process], limit_s: float) -> bool:
    until = time.monotonic() + limit_s
    while any(map(leftovers.is_alive, processes)):
        if time.monotonic() > until:
            return False
        time.sleep(_POLL_S)
    return True


def _clear(head: Head | None) -> None:
    """Remove the note and the token of a head that has ended, and Ray's files where nobody did."""
    if head is not None:
        leftovers.remove_folder(Path(head.folder))  # and whoever was being started in it just then
    forget_head()
    token_file().unlink(missing_ok=True)


def _noted() -> Head | None:
    """What the note says, whether or not it is still so."""
    try:
        return Head(**json.loads((state_folder() / _HEAD).read_text()))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError):
        return None  # of another version of the farm, or half written by a disk that was full
